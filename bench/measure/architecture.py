"""What depends on the architecture alone: its latency and its summary. Measured once for each device and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.backbones._inputs import tensors
from bench.backbones._network import Network
from bench.cell import Cell, canonical
from bench.measure.environment import environment
from bench.measure.flops import macs_by_fvcore
from bench.measure.kept import kept
from bench.measure.latency import latency
from bench.record import Latency

BATCHES = (1, 32)


@dataclass(frozen=True)
class Architecture:
    """Latency of the deployed model at batch 1 and 32, torchinfo's table of its layers, and fvcore's count of MACs.

    The count that the costs use is `measure.flops`; fvcore's stands beside it as a check, None where it has no answer.
    """

    latency: tuple[Latency, ...]
    summary: str
    macs_by_fvcore: int | None


def architecture_of(
    network: Network, cell: Cell, precision: str, device: torch.device, artifacts: Path
) -> Architecture:
    """Return what an earlier cell of the same architecture, size of examples and device measured, or measure it."""
    made_of = {
        "backbone": [cell.backbone["source"], cell.backbone["name"], cell.backbone.get("version")],
        "layers": network.layers_digest,
        **network.inputs.extent,
        "precision": precision,
        "environment": environment(device.type)["fingerprint"],
    }
    path = artifacts / "architecture" / f"{hashlib.sha256(canonical(made_of)).hexdigest()[:16]}.json"

    def measure() -> Architecture:
        return Architecture(
            tuple(latency(network, batch, precision, device) for batch in BATCHES),
            summarise(network),
            macs_by_fvcore(network.model, network.placed(network.inputs.blank(1))),
        )

    return kept(path, _from_json, measure, made_of=made_of)


def summarise(network: Network) -> str:
    """Return torchinfo's summary of the model for one example, two levels deep."""
    from torchinfo import summary

    was_training = network.training
    found = summary(
        network.model,
        input_data=list(tensors(network.placed(network.inputs.blank(1)))),
        depth=2,
        verbose=0,
        col_names=("output_size", "num_params", "mult_adds"),
        device=next(network.model.parameters()).device,
        mode="eval",
    )
    network.train(was_training)
    return str(found)


def _from_json(data: Mapping[str, Any]) -> Architecture:
    entries = tuple(Latency(**{**entry, "samples_ms": tuple(entry["samples_ms"])}) for entry in data["latency"])
    return Architecture(entries, data["summary"], data["macs_by_fvcore"])

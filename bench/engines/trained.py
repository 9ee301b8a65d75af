"""Networks as cells describe them: new, or with the weights that a cell has learnt. Device half."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.backbones._heads import network_of
from bench.backbones._network import Network
from bench.cell import Cell
from bench.errors import WeightsError
from bench.files import replacing
from bench.tensors import UNSEALED, is_whole, notes, seal


@dataclass(frozen=True)
class Kept:
    """What stands beside trained weights, so that they can be used where nothing else is.

    `classes` are the names in the order of the logits, `precision` is that of the forward pass, and `inputs` says how
    the data set's examples are prepared.
    """

    classes: tuple[str, ...]
    precision: str
    inputs: Mapping[str, Any]


def built(cell: Cell, classes: int, pretrained: bool, size: int | None, device: torch.device) -> Network:
    """Return the network of a cell with a new head."""
    return network_of(cell, classes, pretrained, size).to(device).arrange(torch.channels_last)


def trained(cell: Cell, path: Path, classes: int, size: int | None, device: torch.device) -> Network:
    """Return the network of a cell with the weights that it learnt, in eval mode. Raises WeightsError."""
    from safetensors.torch import load_file

    network = built(cell, classes, False, size, device)
    if not is_whole(path):
        raise WeightsError(f"the weights of {cell.id} are damaged or gone: {path}; run the suite again")
    network.load(load_file(path))
    return network.eval()


def keep(network: Network, path: Path, about: Kept) -> None:
    """Write a network's weights, and what stands beside them. Raises OSError."""
    from safetensors.torch import save_file

    told = {
        "classes": json.dumps(about.classes),
        "precision": about.precision,
        "inputs": json.dumps(about.inputs, sort_keys=True),
    }
    with replacing(path) as temporary:
        save_file({k: v.contiguous() for k, v in network.model.state_dict().items()}, temporary, {**told, **UNSEALED})
        seal(temporary)


def kept(path: Path) -> Kept:
    """Return what stands beside trained weights. Raises WeightsError where there is nothing, or it is damaged."""
    try:
        told = notes(path)
        classes, inputs = json.loads(told["classes"]), json.loads(told["inputs"])
        return Kept(tuple(map(str, classes)), told["precision"], dict(inputs))
    except (OSError, ValueError, KeyError, TypeError):
        why = "are damaged, or an earlier version has kept them"
        raise WeightsError(f"{path}: these weights {why}; remove the file and run the suite again") from None

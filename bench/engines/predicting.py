"""What a trained cell takes new inputs for. Device half."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.backbones._inputs import Flow, PictureInputs, TextInputs
from bench.backbones._network import Network
from bench.cell import Cell
from bench.datasets import datasets, extent
from bench.datasets._pictures import decode, problem
from bench.engines.job import tell
from bench.engines.trained import kept, trained
from bench.errors import Skip
from bench.machine import cores
from bench.quality.probabilities import softmax
from bench.training.feed import Normalise
from bench.training.passes import forward_size, infer
from bench.training.pictures import squared
from bench.training.texts import tokens_of


def predict(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the classes of `{cell, weights, inputs, top}`, and for each input its likeliest, or why it can't be read.

    That is `{"classes": [name], "answers": [{"top": [[class, probability]]} | {"problem": text}]}`, in the order of the
    inputs. Raises WeightsError, and Skip for a kind of inputs that is not known.
    """
    cell, device, given = Cell.from_json(job["cell"]), torch.device(job["device"]), job["inputs"]
    about = kept(Path(job["weights"]))
    reader = READERS.get(about.inputs["modality"])
    if reader is None:
        raise Skip(f"inputs of the kind {about.inputs['modality']!r} cannot be read yet")
    extent_of = extent(datasets.create(cell.plugin("dataset")))
    network = trained(cell, Path(job["weights"]), len(about.classes), extent_of, device)
    read = reader(network, about.inputs, device)
    answers: list[dict[str, Any]] = []
    size = forward_size(device)
    for begin in range(0, len(given), size):
        batch, problems = read(given[begin : begin + size])
        found = iter([] if batch is None else _likeliest(network, batch, about.precision, job["top"]))
        answers += [{"top": next(found)} if why is None else {"problem": why} for why in problems]
        tell(job["progress"], "read", {"count": len(answers)})
    return {"classes": list(about.classes), "answers": answers}


def _likeliest(network: Network, batch: Flow, precision: str, top: int) -> list[list[tuple[int, float]]]:
    """Return the classes of the highest probability of each input, and these, highest first."""
    logits = infer(network, network.arranged(batch), 0, None, precision)
    assert isinstance(logits, Tensor)
    probabilities = softmax(logits.cpu().numpy())
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [[(int(c), float(p[c])) for c in best] for best, p in zip(order, probabilities, strict=True)]


# Gives those inputs that can be read as one batch, or None, and of each what is wrong with it, or None.
Read = Callable[[Sequence[str]], tuple[Flow | None, list[str | None]]]


def _pictures(network: Network, about: Mapping[str, Any], device: torch.device) -> Read:
    """Return what reads picture files as the training did: float32 [n, 3, edge, edge] on the device."""
    inputs = network.inputs
    assert isinstance(inputs, PictureInputs)
    normalise = Normalise(inputs, device)

    def one(name: str) -> Tensor | str:
        path = Path(name)
        try:
            if not path.is_file():  # a pipe would be waited for
                return "is no file" if path.exists() else "there is no such file"
            pixels = squared(decode(path), about["colour"], inputs.resolution, inputs.interpolation)
        except Exception as error:  # noqa: BLE001 - on hostile bytes a decoder may raise anything
            return problem(error)
        return torch.from_numpy(pixels)

    def read(names: Sequence[str]) -> tuple[Tensor | None, list[str | None]]:
        with ThreadPoolExecutor(cores()) as pool:
            found = list(pool.map(one, names))
        whole = [row for row in found if isinstance(row, Tensor)]
        batch = normalise(torch.stack(whole).to(device)) if whole else None
        return batch, [None if isinstance(row, Tensor) else row for row in found]

    return read


def _texts(network: Network, about: Mapping[str, Any], device: torch.device) -> Read:
    """Return what turns texts into tokens as the training did, padded to the longest of them."""
    inputs = network.inputs
    assert isinstance(inputs, TextInputs)

    def read(texts: Sequence[str]) -> tuple[Flow | None, list[str | None]]:
        odd = [re.search("[\ud800-\udfff]", text) is not None for text in texts]  # bytes that were no letters
        kept = [text.strip() for text, is_odd in zip(texts, odd, strict=True) if not is_odd]
        batch = network.placed(tokens_of(kept, inputs)) if kept else None
        return batch, ["is not UTF-8 text" if is_odd else None for is_odd in odd]

    return read


# What reads new inputs, by the modality of the data that the cell has learnt from.
READERS: dict[str, Callable[[Network, Mapping[str, Any], torch.device], Read]] = {"image": _pictures, "text": _texts}

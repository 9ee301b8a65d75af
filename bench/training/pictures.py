"""Pictures: decoded and resized once into uint8 rows, normalised on the device as the last thing before the model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.datasets import Dataset, Examples
from bench.machine import cores
from bench.measure.clock import Clock
from bench.training.rows import Rows

if TYPE_CHECKING:
    from bench.backbones._network import Inputs


_opened: dict[tuple[str, str, str], Examples] = {}
# Data sets that are held at a time; the one that was asked for longest ago makes room.
_room = 1


def make_room(count: int) -> None:
    """Hold so many data sets at a time from now on: those of one cell."""
    global _room
    _room = count


def opened(dataset: Dataset, digest: str, split: str) -> Examples:
    """Return a split of a data set of this content; a process that runs many cells reads and checks it once."""
    key = (repr(dataset), digest, split)
    _opened[key] = found = _opened.pop(key) if key in _opened else dataset.examples(split)
    held = list(dict.fromkeys(k[:2] for k in reversed(_opened)))
    for old in [k for k in _opened if k[:2] in held[_room:]]:
        del _opened[old]
    return found


class Pictures:
    """The pictures of a data set at one resolution, as uint8 rows [channels, height, width] by split and index."""

    def __init__(self, dataset: Dataset, resolution: int, interpolation: str, artifacts: Path, clock: Clock) -> None:
        self.dataset, self.resolution, self.interpolation = dataset, resolution, interpolation
        self.artifacts, self.clock = artifacts, clock
        self.digest = dataset.facts().digest
        self._rows: dict[str, Rows] = {}

    def examples(self, split: str) -> Examples:
        """Return the examples of a split, not decoded."""
        return opened(self.dataset, self.digest, split)

    def identity(self, split: str) -> dict[str, Any]:
        """Return everything that can change a prepared pixel."""
        return {
            "dataset": [self.dataset.name, self.dataset.version, self.digest],
            "split": split,
            "resolution": self.resolution,
            "interpolation": self.interpolation,
        }

    def rows(self, split: str) -> Rows:
        """Return the store of a split's prepared pixels."""
        if split not in self._rows:
            self._rows[split] = Rows(self.artifacts, "pixels", self.identity(split))
        return self._rows[split]

    def pixels(self, split: str, index: NDArray[np.int64], phase: str = "prepare") -> Tensor:
        """Return uint8 [n, channels, height, width], decoding what was never decoded before, on the clock's `phase`."""
        return self.prepared(split, index, phase).take(index)

    def prepared(self, split: str, index: NDArray[np.int64], phase: str) -> Rows:
        """Return the store of a split's pixels, those of `index` among them."""
        rows = self.rows(split)
        rows.ensure(index, lambda missing: self._decode(split, missing), self.clock, phase)
        return rows

    def save(self) -> None:
        """Keep what was decoded."""
        for rows in self._rows.values():
            rows.save()

    def _decode(self, split: str, index: NDArray[np.int64]) -> Tensor:
        examples = self.examples(split)
        colour = examples.read(0).ndim == 3
        with ThreadPoolExecutor(cores()) as pool:
            pictures = pool.map(lambda i: self._resize(examples.read(int(i)), colour), index)
            return torch.from_numpy(np.stack(list(pictures)))

    def _resize(self, picture: NDArray[np.uint8], colour: bool) -> NDArray[np.uint8]:
        """Scale the short edge to the resolution and cut the middle square out; uint8 [channels, height, width]."""
        from PIL import Image

        image = Image.fromarray(picture).convert("RGB" if colour else "L")
        scale = self.resolution / min(image.size)
        wide, high = (max(self.resolution, round(edge * scale)) for edge in image.size)
        image = image.resize((wide, high), Image.Resampling[self.interpolation.upper()])
        left, top = (wide - self.resolution) // 2, (high - self.resolution) // 2
        square = np.asarray(image.crop((left, top, left + self.resolution, top + self.resolution)))
        return np.ascontiguousarray(square.transpose(2, 0, 1)) if colour else square[None]


class Normalise:
    """Scales pictures to what a model wants to see, on its device."""

    def __init__(self, inputs: Inputs, device: torch.device) -> None:
        self.mean, self.std = (
            torch.tensor(values, device=device)[:, None, None] * 255 for values in (inputs.mean, inputs.std)
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return float32 [batch, 3, height, width] of uint8 [batch, 1 or 3, height, width]."""
        return (pixels.float() - self.mean) / self.std

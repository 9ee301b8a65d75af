"""Pictures: decoded and resized once into uint8 rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.backbones._inputs import PictureInputs
from bench.backbones._network import Network
from bench.datasets import Dataset
from bench.machine import cores
from bench.measure.clock import Clock
from bench.training.feed import PictureFeed
from bench.training.material import Material
from bench.training.sources import Source
from bench.training.views import Views


class Pictures(Material):
    """The pictures of a data set at one resolution, as uint8 rows [channels, height, width] by split and index."""

    kind: ClassVar[str] = "pixels"

    def __init__(self, dataset: Dataset, resolution: int, interpolation: str, artifacts: Path, clock: Clock) -> None:
        super().__init__(dataset, artifacts, clock)
        self.resolution, self.interpolation = resolution, interpolation

    @classmethod
    def of(cls, dataset: Dataset, inputs: PictureInputs, artifacts: Path, clock: Clock) -> Pictures:
        """Return the pictures as a model wants to see them."""
        return cls(dataset, inputs.resolution, inputs.interpolation, artifacts, clock)

    def identity(self, split: str) -> dict[str, Any]:
        """Return everything that can change a prepared pixel."""
        return {
            "dataset": [self.dataset.name, self.dataset.version, self.digest],
            "split": split,
            "resolution": self.resolution,
            "interpolation": self.interpolation,
        }

    def feed(self, source: Source, index: NDArray[np.int64], views: Views, network: Network) -> PictureFeed:
        """Return the pictures in views, normalised as the network wants them."""
        return PictureFeed(source, index, views, network)

    def pixels(self, split: str, index: NDArray[np.int64], phase: str = "prepare") -> Tensor:
        """Return uint8 [n, channels, height, width], decoding what was never decoded before, on the clock's `phase`."""
        return self.prepared(split, index, phase).take(index)

    def prepare(self, split: str, index: NDArray[np.int64]) -> Tensor:
        """Return pixels, decoded and resized."""
        examples, colour = self.examples(split), self._colour
        with ThreadPoolExecutor(cores()) as pool:
            pictures = pool.map(
                lambda i: squared(examples.read(int(i)), colour, self.resolution, self.interpolation), index
            )
            return torch.from_numpy(np.stack(list(pictures)))

    @property
    def told(self) -> dict[str, Any]:
        """Return how a picture is prepared, beside what the model wants: grey stays grey, as one channel."""
        return {**super().told, "colour": self._colour}

    @property
    def _colour(self) -> bool:
        return bool(self.examples("train").read(0).ndim == 3)


def squared(picture: NDArray[np.uint8], colour: bool, resolution: int, interpolation: str) -> NDArray[np.uint8]:
    """Scale the short edge to the resolution and cut the middle square out; uint8 [channels, height, width]."""
    from PIL import Image

    image = Image.fromarray(picture).convert("RGB" if colour else "L")
    scale = resolution / min(image.size)
    wide, high = (max(resolution, round(edge * scale)) for edge in image.size)
    image = image.resize((wide, high), Image.Resampling[interpolation.upper()])
    left, top = (wide - resolution) // 2, (high - resolution) // 2
    square = np.asarray(image.crop((left, top, left + resolution, top + resolution)))
    return np.ascontiguousarray(square.transpose(2, 0, 1)) if colour else square[None]

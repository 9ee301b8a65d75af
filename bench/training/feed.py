"""What a stretch of training or evaluation is fed with: pictures, or the activations of a frozen prefix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.backbones._network import Network
from bench.measure.clock import Clock
from bench.tasks import Selection
from bench.training.pictures import Pictures, normalise
from bench.training.rows import Rows, id_of
from bench.training.views import Views

# Examples of a forward pass without gradients. On 2 CPU cores at 64 pixels tf_efficientnet_lite0 does 900 to 1,200
# pictures a second with 32 to 64, which fit the cache, and 700 with 256. A GPU has to be kept busy.
FORWARD_BATCH = {"cpu": 64, "cuda": 256}


class Feed(Protocol):
    """Batches for the stages from `cut` on, by position in a selection and view."""

    cut: int

    def batch(self, position: Tensor, view: Tensor) -> Tensor: ...


class PictureFeed:
    """Pictures resident on the device as uint8; views and normalisation are applied to each batch."""

    cut = 0

    def __init__(self, pixels: Tensor, index: NDArray[np.int64], views: Views, network: Network) -> None:
        self.pixels, self.index, self.views, self.network = pixels, index, views, network

    def batch(self, position: Tensor, view: Tensor) -> Tensor:
        """Return normalised pictures, float [batch, 3, height, width]."""
        pixels = self.pixels[position.to(self.pixels.device)]
        pixels = self.views.apply(pixels, self.index[position.numpy()], view.numpy())
        return normalise(pixels, self.network.inputs)


class ActivationFeed:
    """Outputs of the first `cut` stages, resident on the device, one row for each view of each example."""

    def __init__(self, rows: Tensor, cut: int) -> None:
        self.rows, self.cut = rows, cut

    def batch(self, position: Tensor, view: Tensor) -> Tensor:
        """Return activations, float [batch, ...]."""
        rows: Tensor = self.rows[position.to(self.rows.device), view.to(self.rows.device)]
        if rows.dim() == 4:
            return rows.contiguous(memory_format=torch.channels_last)
        return rows


@dataclass(frozen=True)
class Forward:
    """A pass of a network up to stage `cut`, or to the logits when `cut` is None, whose rows are kept.

    `identity` is everything that can change the network's numbers there.
    """

    network: Network
    cut: int | None
    kind: str
    identity: Mapping[str, Any]
    precision: str

    def __call__(self, x: Tensor) -> Tensor:
        return infer(self.network, x, 0, self.cut, self.precision)


def infer(network: Network, x: Tensor, start: int, stop: int | None, precision: str) -> Tensor:
    """Run stages `start` up to `stop`, or to the logits when that is None, in eval mode without gradients; float32."""
    if network.training:
        network.eval()
    with torch.inference_mode(), autocast(x.device, precision):
        if stop is None:
            return network.suffix(x, start).float()
        for stage in network.stages[start:stop]:
            x = stage.run(x)
        return x.float()


class Cache:
    """Rows that forward passes left, shared by subsets, seeds and heads."""

    def __init__(self, pictures: Pictures, artifacts: Path, device: torch.device, clock: Clock) -> None:
        self.pictures, self.artifacts, self.device, self.clock = pictures, artifacts, device, clock
        self._rows: dict[str, Rows] = {}

    def rows(self, forward: Forward, split: str, views: Mapping[str, Any]) -> Rows:
        """Return the store of a pass's rows on a split."""
        made_of = {**forward.identity, **self.pictures.identity(split), "views": dict(views)}
        made_of |= {"cut": forward.cut, "precision": forward.precision}
        name = id_of(forward.kind, made_of)
        if name not in self._rows:
            self._rows[name] = Rows(self.artifacts, forward.kind, made_of)
        return self._rows[name]

    def get(
        self, forward: Forward, selection: Selection, views: Views, key: Mapping[str, Any], phase: str, shown: int
    ) -> Tensor:
        """Return float [n, shown, ...] on the device: the pass's output on the first `shown` views of a selection."""
        rows = self.rows(forward, selection.split, key)
        keys = (selection.index[:, None] * views.count + np.arange(shown)).ravel()
        self.pictures.pixels(selection.split, selection.index, "evaluate" if phase == "evaluate" else "prepare")

        def compute(missing: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.concatenate(list(self._passes(forward, selection.split, missing, views)))

        found = rows.get(keys, compute, self.clock, phase)
        return torch.from_numpy(found.reshape(len(selection), shown, *found.shape[1:])).to(self.device)

    def _passes(
        self, forward: Forward, split: str, keys: NDArray[np.int64], views: Views
    ) -> Iterator[NDArray[np.float32]]:
        size = FORWARD_BATCH[self.device.type]
        for start in range(0, len(keys), size):
            index, view = np.divmod(keys[start : start + size], views.count)
            pixels = self.pictures.pixels(split, index).to(self.device)
            x = normalise(views.apply(pixels, index, view), forward.network.inputs)
            yield forward(x).cpu().numpy()

    def save(self) -> None:
        """Keep what was computed."""
        for rows in self._rows.values():
            rows.save()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a forward pass runs at a precision."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()

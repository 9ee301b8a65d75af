"""What a stretch of training or evaluation is fed with: pictures, texts, or the activations of a frozen prefix.

A feed is told the order of an epoch once, and gives its batches without a word from the device in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.backbones._inputs import Flow, PictureInputs
from bench.backbones._network import Network
from bench.training.mixing import Mixing
from bench.training.sources import Source
from bench.training.views import Views

# Pictures of so many bytes are moved at once: an operation on the few of a batch takes longer to ask for than to do.
MOVED_BYTES = {"cpu": 2 * 1024**2, "cuda": 64 * 1024**2}


class Feed(Protocol):
    """Batches for the stages from `cut` on, by position in a selection and view; stages from `start` on make them.

    What they are read from, the `source`, knows which order of an epoch suits it.
    """

    start: int
    cut: int

    @property
    def source(self) -> Source: ...

    def epoch(
        self, order: Tensor, view: Tensor, parts: Sequence[slice], mixing: Mixing | None = None
    ) -> Iterator[Flow]:
        """Yield the batch of each part of an order of positions and views, int64 [n] on the CPU.

        `mixing` says how the pictures of each batch are mixed; what was kept of single pictures can't be.
        """
        ...


class Normalise:
    """Scales pictures to what a model wants to see, on its device."""

    def __init__(self, inputs: PictureInputs, device: torch.device) -> None:
        self.mean, self.std = (
            torch.tensor(values, device=device)[:, None, None] * 255 for values in (inputs.mean, inputs.std)
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return float32 [batch, 3, height, width] of uint8 [batch, 1 or 3, height, width]."""
        return (pixels.float() - self.mean) / self.std


class PictureFeed:
    """Pictures as uint8; views, normalisation and layout are applied to each batch on the device."""

    start = cut = 0

    def __init__(self, source: Source, index: NDArray[np.int64], views: Views, network: Network) -> None:
        self.source, self.index, self.views, self.network = source, index, views, network
        assert isinstance(network.inputs, PictureInputs)
        self.device = network.device
        self.normalise = Normalise(network.inputs, self.device)
        self._most = MOVED_BYTES[self.device.type] // (3 * network.inputs.resolution**2)

    def epoch(
        self, order: Tensor, view: Tensor, parts: Sequence[slice], mixing: Mixing | None = None
    ) -> Iterator[Tensor]:
        """Yield normalised pictures, float [batch, 3, height, width]."""
        for part, pixels in zip(parts, self._shown(order, view, parts), strict=True):
            mixed = pixels if mixing is None else mixing.pictures(pixels, part)
            yield self.network.arranged(self.normalise(mixed))

    def _shown(self, order: Tensor, view: Tensor, parts: Sequence[slice]) -> Iterator[Tensor]:
        """Yield the views of each part, uint8; those of several parts are made at once."""
        moves = self.views.moves(self.index[order.numpy()], view.numpy(), self.device)
        groups = _groups(parts, self._most if moves else 0)
        wholes = [slice(group[0].start, group[-1].stop) for group in groups]
        for whole, group, pixels in zip(wholes, groups, self.source.batches(order, wholes), strict=True):
            assert isinstance(pixels, Tensor)
            shown = moves[whole].apply(pixels)
            for part in group:
                yield shown[part.start - whole.start : part.stop - whole.start]


class ActivationFeed:
    """Outputs of the first `cut` stages, `shown` rows for each example: one for each of its first views.

    Those of no stage at all are prepared examples that need nothing more: texts.
    """

    def __init__(self, source: Source, shown: int, cut: int, network: Network) -> None:
        self.source, self.shown, self.start, self.cut, self.network = source, shown, cut, cut, network

    def epoch(
        self, order: Tensor, view: Tensor, parts: Sequence[slice], mixing: Mixing | None = None
    ) -> Iterator[Flow]:
        """Yield activations, float [batch, ...], in the precision that they were computed in."""
        assert mixing is None
        for rows in self.source.batches(order * self.shown + view, parts):
            yield self.network.arranged(rows)


def _groups(parts: Sequence[slice], most: int) -> list[list[slice]]:
    """Put neighbouring parts together, as many as have `most` examples, and at least one."""
    groups: list[list[slice]] = []
    for part in parts:
        if groups and part.stop - groups[-1][0].start <= most:
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def batches(count: int, size: int) -> list[slice]:
    """Cut `count` examples into batches; a last one of one joins the one before: BatchNorm has no variance of one."""
    starts = list(range(0, count, size))
    if size > 1 and len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(begin, end) for begin, end in zip(starts, [*starts[1:], count], strict=True)]

"""Keyed views: what a picture looks like in view v is a function of (data seed, view, example) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.augment import Augment
from bench.registry import plain
from bench.training import transforms
from bench.training.policies import Act, Indices, by_policy, coloured, rotated

# Views that are each shown but once are numbered at random, from 1 to this.
ENDLESS = 2**62
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# What of an augmentation says nothing of a view that comes again.
_BESIDE = ("fresh", "mixup", "cutmix")


@dataclass(frozen=True)
class _Placed:
    """An act whose pictures, int64 [m], and numbers, float32 [m, k], are on the device too."""

    act: Act
    pictures: Tensor
    numbers: Tensor


class Moves:
    """What makes views of pictures, on a device: operations one after the other, each on those that it is drawn for."""

    def __init__(self, acts: tuple[_Placed, ...], begin: int = 0) -> None:
        self._acts, self._begin = acts, begin

    def __bool__(self) -> bool:
        return bool(self._acts)

    def __getitem__(self, part: slice) -> Moves:
        """Return what makes the views of a batch."""
        cut = []
        for placed in self._acts:
            begin, end = np.searchsorted(placed.act.pictures, [part.start, part.stop]).tolist()
            if begin < end:
                cut.append(_Placed(placed.act, placed.pictures[begin:end], placed.numbers[begin:end]))
        return Moves(tuple(cut), part.start)

    def apply(self, pixels: Tensor) -> Tensor:
        """Return each of the pictures, uint8 [n, channels, height, width], in its view."""
        shown = pixels.clone() if self._acts else pixels
        for placed in self._acts:
            if len(placed.pictures) == len(pixels):
                shown = placed.act.operation(shown, placed.numbers)
            else:
                here = placed.pictures - self._begin
                shown.index_copy_(0, here, placed.act.operation(shown.index_select(0, here), placed.numbers))
        return shown


class Views:
    """Draws the views of examples, per example and not per batch; view 0 is the picture itself.

    `count` of them come again, and rows are kept of no others; `shown` is how many pictures of an example learning
    sees, or None where these are not all.
    """

    def __init__(self, augment: Augment, data_seed: int) -> None:
        self.augment, self.data_seed = augment, data_seed
        self.count = augment.count or 1
        self.shown = augment.count if augment.lasting else None

    @property
    def key(self) -> dict[str, object]:
        """What names the views that come again: rows computed on them are stored under it.

        Flips alone do not depend on the seed, so all seeds share them.
        """
        if self.augment.count is None:
            return PLAIN.key
        if not self.augment.drawn:
            vertical = {"vertical_flip": True} if self.augment.vertical_flip else {}
            return {"flip": self.augment.flip, **vertical}
        drawn = {name: value for name, value in plain(self.augment).items() if name not in _BESIDE}
        return {**drawn, "seed": self.data_seed}

    def random(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw a view for each of `count` examples, int64 [count] on the CPU."""
        low, high = (1, ENDLESS) if self.augment.count is None else (0, self.count)
        return torch.randint(low, high, (count,), generator=generator)

    def moves(self, examples: Indices, views: Indices, device: torch.device) -> Moves:
        """Return what makes view v of example i of each pair (i, v), int64 [n]."""
        acts = [act for act in self._acts(examples, views) if len(act.pictures)]

        def there(array: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(array).to(device, non_blocking=True)

        return Moves(tuple(_Placed(act, there(act.pictures), there(act.numbers)) for act in acts))

    def draw(
        self, examples: Indices, views: Indices
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return the flip, the offsets in pixels, right and down, and the flip upside down of each (example, view)."""
        augment, moved = self.augment, views > 0
        s, none = augment.shift, np.zeros_like(views)
        if not augment.drawn:  # a view for each way to flip
            upside = (views >> int(augment.flip)) & 1 == 1
            return augment.flip & (views & 1 == 1), none, none, augment.vertical_flip & upside
        bits = _hash(examples, views, self.data_seed)
        flip = moved & augment.flip & ((bits & np.uint64(1)) == 1)
        vertical = moved & augment.vertical_flip & ((bits >> np.uint64(1) & np.uint64(1)) == 1)
        x = ((bits >> np.uint64(8)) % np.uint64(2 * s + 1)).astype(np.int64) - s
        y = ((bits >> np.uint64(32)) % np.uint64(2 * s + 1)).astype(np.int64) - s
        return flip, np.where(moved, x, 0), np.where(moved, y, 0), vertical

    def _acts(self, examples: Indices, views: Indices) -> Iterator[Act]:
        """Yield what is done to the pictures, in order."""
        flip, right, down, vertical = self.draw(examples, views)
        offsets = np.stack([right, down], axis=1).astype(np.float32)
        for operation, some in (
            (transforms.shift, offsets.any(axis=1)), (transforms.flip, flip), (transforms.vertical_flip, vertical)
        ):  # fmt: skip
            here = np.flatnonzero(some)
            yield Act(operation, here, offsets[here])
        if self.augment.drawn:
            bits, moved = _hash(examples, views, self.data_seed), np.flatnonzero(views > 0)

            def draw(place: int) -> NDArray[np.float64]:
                with np.errstate(over="ignore"):
                    mixed = _mixed(bits + GOLDEN * np.uint64(place + 1)) >> np.uint64(11)
                return mixed.astype(np.float64) * 2.0**-53

            for of in (rotated, coloured, by_policy):
                yield from of(self.augment, moved, draw)


PLAIN = Views(Augment(), 0)


def _hash(examples: Indices, views: Indices, seed: int) -> NDArray[np.uint64]:
    """Mix (seed, view, example) to 64 bits each."""
    with np.errstate(over="ignore"):
        x = examples.astype(np.uint64) * GOLDEN
        return _mixed(x + views.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03) + np.uint64(seed % 2**64))


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64 bits by the finaliser of SplitMix64 (Steele et al., 2014)."""
    with np.errstate(over="ignore"):
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        return x ^ (x >> np.uint64(31))

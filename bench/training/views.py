"""Keyed views: what a picture looks like in view v is a function of (data seed, view, example) alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.recipe import Augment


def key_of(augment: Augment, data_seed: int) -> dict[str, int | bool]:
    """Return what names the views of an augmentation: rows computed on views are stored under it.

    Flips alone do not depend on the seed, so all seeds share them.
    """
    if not augment.shift:
        return {"flip": augment.flip}
    return {"flip": augment.flip, "shift": augment.shift, "views": augment.views, "seed": data_seed}


@dataclass(frozen=True)
class Moves:
    """What makes views of pictures: bool and int64 [n], offsets in pixels; None where no picture is moved so."""

    flip: Tensor | None
    right: Tensor | None
    down: Tensor | None

    def to(self, device: torch.device) -> Moves:
        """Return the same on a device."""
        return Moves(*(t if t is None else t.to(device, non_blocking=True) for t in self._parts()))

    def __getitem__(self, part: slice) -> Moves:
        return Moves(*(t if t is None else t[part] for t in self._parts()))

    def apply(self, pixels: Tensor) -> Tensor:
        """Return each of the pictures, uint8 [n, channels, height, width], in its view."""
        if self.down is not None and self.right is not None:
            pixels = _shift(pixels, self.down, self.right)
        if self.flip is not None:
            pixels = torch.where(self.flip[:, None, None, None], pixels.flip(3), pixels)
        return pixels

    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.flip, self.right, self.down


class Views:
    """Draws the views of examples, per example and not per batch; view 0 is the picture itself."""

    def __init__(self, augment: Augment, data_seed: int) -> None:
        self.augment, self.data_seed = augment, data_seed
        self.count = augment.count

    def moves(self, examples: NDArray[np.int64], views: NDArray[np.int64]) -> Moves:
        """Return what makes view v of example i of each pair (i, v), int64 [n]."""
        flip, right, down = self.draw(examples, views)
        shifted = self.augment.shift > 0 and (views > 0).any()
        offsets = (torch.from_numpy(right), torch.from_numpy(down)) if shifted else (None, None)
        return Moves(torch.from_numpy(flip) if flip.any() else None, *offsets)

    def draw(
        self, examples: NDArray[np.int64], views: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        """Return the flip and the offsets in pixels, right and down, of each (example, view)."""
        s, moved = self.augment.shift, views > 0
        if not s:
            return moved & self.augment.flip, np.zeros_like(views), np.zeros_like(views)
        bits = _hash(examples, views, self.data_seed)
        flip = moved & self.augment.flip & ((bits & np.uint64(1)) == 1)
        x = ((bits >> np.uint64(8)) % np.uint64(2 * s + 1)).astype(np.int64) - s
        y = ((bits >> np.uint64(32)) % np.uint64(2 * s + 1)).astype(np.int64) - s
        return flip, np.where(moved, x, 0), np.where(moved, y, 0)


def _shift(pixels: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move each picture by its own offset, filling with 0."""
    _, _, height, width = pixels.shape
    rows = torch.arange(height, device=pixels.device)[None] - down[:, None]
    columns = torch.arange(width, device=pixels.device)[None] - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    batch = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    moved = pixels.permute(0, 2, 3, 1)[
        batch, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]
    return (moved * inside[..., None]).permute(0, 3, 1, 2)


def _hash(examples: NDArray[np.int64], views: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Mix (seed, view, example) to 64 bits each, by the finaliser of SplitMix64 (Steele et al., 2014)."""
    with np.errstate(over="ignore"):
        x = examples.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x += views.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03) + np.uint64(seed % 2**64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        return x ^ (x >> np.uint64(31))

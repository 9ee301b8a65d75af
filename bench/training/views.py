"""Keyed views: what a picture looks like in view v is a function of (data seed, view, example) alone."""

from __future__ import annotations

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


class Views:
    """Draws the views of examples, per example and not per batch, and applies them to a batch of pictures."""

    def __init__(self, augment: Augment, data_seed: int) -> None:
        self.augment, self.data_seed = augment, data_seed
        self.count = augment.count

    def apply(self, pixels: Tensor, examples: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """Return each picture, uint8 [batch, channels, height, width], in its view, int64 [batch]; view 0 is itself."""
        flip, shift_x, shift_y = self.draw(examples, views)
        if self.augment.shift and (views > 0).any():
            pixels = _shift(pixels, _to(shift_y, pixels), _to(shift_x, pixels))
        if flip.any():
            chosen = _to(flip, pixels)[:, None, None, None]
            pixels = torch.where(chosen, pixels.flip(3), pixels)
        return pixels

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


def _to(values: NDArray[np.generic], like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device)


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

"""Pictures mixed from two, and their labels with them: mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019).

All is drawn at the beginning of an epoch, from the generator that orders it: a partner in the batch by a permutation of
it, since a batch may be sorted by class, and a share for each example and not for each batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.augment import Augment


@dataclass(frozen=True)
class Mixing:
    """How the examples of an epoch are mixed, on the device.

    `partner` int64 [n] is a position in the example's own batch, `share` float32 [n] the part of the label that is its
    own, `box` int64 [n, 4] what is cut out of it: left, top, right and bottom in pixels; `cut` says of a batch, by
    where it begins, whether boxes are cut or pictures are averaged; labels are of so many `classes`.
    """

    partner: Tensor
    share: Tensor
    box: Tensor
    cut: dict[int, bool]
    classes: int

    def pictures(self, pixels: Tensor, part: slice) -> Tensor:
        """Return a batch mixed, of uint8 [batch, channels, height, width]: uint8, or float32 where it is averaged."""
        partner, own = pixels[self.partner[part]], self.share[part, None, None, None]
        if not self.cut[part.start]:
            return pixels * own + partner * (1 - own)
        left, top, right, bottom = self.box[part].unbind(1)
        rows, columns = (torch.arange(edge, device=pixels.device) for edge in pixels.shape[2:])
        down = (rows >= top[:, None]) & (rows < bottom[:, None])
        across = (columns >= left[:, None]) & (columns < right[:, None])
        return torch.where((down[:, :, None] & across[:, None, :])[:, None], partner, pixels)

    def targets(self, labels: Tensor, part: slice) -> Tensor:
        """Return what a batch of labels, int64 [batch], becomes: float32 [batch, classes], each row of sum 1."""
        own, every = self.share[part, None], torch.arange(self.classes, device=labels.device)
        partner = labels[self.partner[part]]
        return (labels[:, None] == every) * own + (partner[:, None] == every) * (1 - own)


class Mixer:
    """Draws how the examples of epochs are mixed: square pictures of `edge` pixels, labels of so many `classes`."""

    def __init__(self, augment: Augment, edge: int, classes: int, device: torch.device) -> None:
        self.augment, self.edge, self.classes, self.device = augment, edge, classes, device

    def draw(self, parts: Sequence[slice], generator: torch.Generator) -> Mixing:
        """Draw the mixing of an epoch that is cut into batches. Numbers come from the generator alone."""
        draw = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        mixup, cutmix = self.augment.mixup, self.augment.cutmix
        cut = {part.start: not mixup or (bool(cutmix) and draw.random() < 0.5) for part in parts}
        sizes = [part.stop - part.start for part in parts]
        partner = np.concatenate([draw.permutation(size) for size in sizes])
        alpha = np.repeat([cutmix if each else mixup for each in cut.values()], sizes)
        share = draw.beta(alpha, alpha)
        box, kept = boxes(share, draw.random((len(share), 2)), self.edge)
        share = np.where(np.repeat(list(cut.values()), sizes), kept, share)

        def there(array: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(array).to(self.device, non_blocking=True)

        return Mixing(there(partner), there(share.astype(np.float32)), there(box), cut, self.classes)


def mixer_of(augment: Augment, edge: int, classes: int, device: torch.device) -> Mixer | None:
    """Return what mixes examples, if the recipe does."""
    return Mixer(augment, edge, classes, device) if augment.mixes else None


def boxes(
    share: NDArray[np.float64], middle: NDArray[np.float64], edge: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the boxes, int64 [n, 4], that leave `share` [n] of square pictures, and what is left of each after all.

    `middle` [n, 2] in [0, 1) is where the middle of each is. What would be outside of the picture is cut off.
    """
    at = np.floor(middle * edge)
    half = np.floor(edge * 0.5 * np.sqrt(1 - share))[:, None]
    box = np.concatenate([at - half, at + half], axis=1).clip(0, edge).astype(np.int64)
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    return box, 1 - area / edge**2

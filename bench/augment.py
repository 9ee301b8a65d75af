"""Augmentation: what a picture may look like when it is learnt from, and what that leaves others to count on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.errors import OptionError
from bench.registry import later, strict

# Steps of a magnitude in RandAugment and TrivialAugment, from 0.
MAGNITUDES = 31


@strict
@dataclass(frozen=True)
class Augment:
    """Keyed views of each example, and pictures mixed from two, the same for all strategies.

    View 0 is the untouched picture. Any other view has a draw of its own for each (seed, view, example), of all that is
    asked for, in this order:

    shift          pixels, right or left and down or up; filled with 0
    flip, vertical_flip  left-right, upside down, each for half of the pictures
    rotate         an angle in [-rotate, rotate], in degrees, about the middle; bilinear, filled with 0
    brightness, contrast, saturation  a factor in [max(0, 1 - x), 1 + x], in an order that is drawn, as is
    hue            a turn in [-hue, hue] of the colour wheel, at most 0.5
    policy         rand_augment: `number` operations of `magnitude` (Cubuk et al., 2020, arXiv 1909.13719);
                   trivial_augment: one of any magnitude, wide (Müller and Hutter, 2021, arXiv 2103.10158);
                   auto_augment: the 25 pairs found on ImageNet (Cubuk et al., 2019, arXiv 1805.09501)

    Flips alone are a view for each way to flip: 2, or 4. All else is drawn over `views` views, or with `fresh` anew
    each time an example is shown. A finite set is what lets frozen activations and teacher logits be computed once for
    the very pictures that a student sees.

    mixup          x = l x_i + (1 - l) x_j, and so the labels; l ~ Beta(mixup, mixup) for each example, and j by a
                   permutation of the batch (Zhang et al., 2018, arXiv 1710.09412)
    cutmix         a box of x_j in the place of the same of x_i, 1 - l of the area before it is cut at the edges, labels
                   by the area after that; l ~ Beta(cutmix, cutmix) for each example, j as for mixup (Yun et al., 2019,
                   arXiv 1905.04899)

    0 is none of it. With both, each batch is mixed in one of the two ways, half of them in each.
    """

    flip: bool = False
    shift: int = 0
    views: int = 8
    vertical_flip: bool = later(False)
    rotate: float = later(0.0)
    brightness: float = later(0.0)
    contrast: float = later(0.0)
    saturation: float = later(0.0)
    hue: float = later(0.0)
    policy: Literal["rand_augment", "auto_augment", "trivial_augment"] | None = later(None)
    magnitude: int = later(9)
    number: int = later(2)
    fresh: bool = later(False)
    mixup: float = later(0.0)
    cutmix: float = later(0.0)

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise OptionError("shift must be 0 or more pixels", ("augment", "shift"))
        for name in ("views", "number"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be 1 or more", ("augment", name))
        for name, most in (("rotate", 180), ("hue", 0.5), ("magnitude", MAGNITUDES - 1)):
            if not 0 <= getattr(self, name) <= most:
                raise OptionError(f"{name} must be between 0 and {most}, not {getattr(self, name)}", ("augment", name))
        for name in ("brightness", "contrast", "saturation", "mixup", "cutmix"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise OptionError(f"{name} must be 0 or more, not {getattr(self, name)}", ("augment", name))

    @property
    def drawn(self) -> bool:
        """Whether a view is a draw of many, and not one of all the ways to flip a picture."""
        colour = self.brightness or self.contrast or self.saturation or self.hue
        return bool(self.shift or self.rotate or colour or self.policy)

    @property
    def count(self) -> int | None:
        """How many views an example has; None where each is shown but once."""
        if self.drawn:
            return None if self.fresh else self.views
        return (1 + self.flip) * (1 + self.vertical_flip)

    @property
    def mixes(self) -> bool:
        """Whether what is shown is made of more than one example."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def lasting(self) -> bool:
        """Whether the pictures that are shown come again, so that what is computed from one can be kept."""
        return self.count is not None and not self.mixes

    @property
    def spoils(self) -> frozenset[str]:
        """What a strategy may need, and does not find in the batches any more."""
        return frozenset({"hard_labels"}) if self.mixes else frozenset()

"""The textbook's rule of thumb as a strategy, so that the rule itself is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.errors import OptionError
from bench.strategies import Look, Phase, Strategy, strategies


@strategies.register
@dataclass(frozen=True)
class Advised(Strategy):
    """Do what a textbook says for so many labels, so much like the pretraining's (for example Stanford's CS231n, 2015).

    Few labels a class, alike: the head alone on frozen features. Few, unlike: the last `unfreeze` stages with it, since
    late features are about other classes. Some: the last stages. Many: all of them.

    Up to `few` labels a class are few, and `many` or more are many, as in the report's own words. Data are alike when
    the classes are better told apart, linearly, by frozen features than by pixels: a ridge regression on each (pixels
    averaged to 16 x 16 points), scored on every training example left out in turn, in closed form. The textbook names
    no measure; this one costs a pass over the examples that the head needs anyway. It is only taken where it counts.
    The record says what was found and decided.
    """

    name: ClassVar[str] = "advised"
    version: ClassVar[int] = 1
    modality: ClassVar[str | None] = "image"

    few: int = 50
    many: int = 500
    unfreeze: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.few < self.many:
            raise OptionError(f"few must be 0 or more and less than many, not {self.few} and {self.many}", ("few",))
        if self.unfreeze < 1:
            raise OptionError(f"unfreeze must be 1 or more, not {self.unfreeze}", ("unfreeze",))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(decide=self.advice),)

    def advice(self, look: Look) -> Phase:
        """Return the phase that the rule names for a round."""
        each = len(look.labels) / look.classes
        amount = "few" if each <= self.few else "many" if each >= self.many else "some"
        look.note(labels_per_class=round(each, 2), amount=amount)
        if amount == "many":
            return self._full(look)
        if amount == "few" and self._alike(look):
            look.note(decided="feature_extract")
            return Phase(unfrozen=0, standardize=True)
        if self.unfreeze >= len(look.stages):
            return self._full(look)
        look.note(decided="partial_finetune", unfreeze=self.unfreeze)
        return Phase(unfrozen=self.unfreeze)

    def _full(self, look: Look) -> Phase:
        look.note(decided="full_finetune")
        return Phase(unfrozen=None)

    def _alike(self, look: Look) -> bool:
        from bench.strategies._probe import separability

        by_features = separability(look.features(), look.labels, look.classes)
        by_pixels = separability(look.pixels(), look.labels, look.classes)
        look.note(separable_by_features=round(by_features, 4), separable_by_pixels=round(by_pixels, 4))
        return by_features > by_pixels

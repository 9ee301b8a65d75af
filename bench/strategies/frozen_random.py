"""A frozen backbone of random weights: what feature extraction owes to the pictures' pixels and the layers' shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.strategies import Phase, Strategy, strategies


@strategies.register
@dataclass(frozen=True)
class FrozenRandom(Strategy):
    """Train the head alone on features of a backbone that was drawn at random (Saxe et al., 2011, ICML).

    A control, not a method: what `feature_extract` has above it, it has from the pretraining. The seed draws the
    weights anew. The head learns on standardised features, as there.
    """

    name: ClassVar[str] = "frozen_random"
    version: ClassVar[int] = 1
    start: ClassVar[Literal["pretrained", "random"]] = "random"

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=0, standardize=True),)

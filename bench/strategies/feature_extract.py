"""Feature extraction: a linear head on a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.strategies import Phase, Strategy, strategies


@strategies.register
@dataclass(frozen=True)
class FeatureExtract(Strategy):
    """Train the head alone, on features of the frozen backbone in eval mode.

    Use it when labels are few or time is short: the backbone runs once per picture. With `standardize` the head
    learns on features of mean 0 and deviation 1 over the training examples, and the scaling is folded into its weights
    afterwards, so the model that comes out is the library's own.
    """

    name: ClassVar[str] = "feature_extract"
    version: ClassVar[int] = 1

    standardize: bool = True

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=0, standardize=self.standardize),)

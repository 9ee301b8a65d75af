"""Surgical fine-tuning: some stages learn, wherever they are, and the others stay as they were pretrained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.errors import OptionError, Skip
from bench.strategies import Phase, Strategy, strategies

WAYS = ("stages", "first", "last")


@strategies.register
@dataclass(frozen=True)
class Surgical(Strategy):
    """Train the stages that have to change, and the head (Lee et al., 2023, arXiv 2210.11466).

    Say which in one way: `stages` by name, the `first` so many, or the `last` so many. The paper finds that the first
    ones do best where pictures look otherwise than in the pretraining, and the last ones where the classes differ.
    All other stages, those after the trained ones too, are frozen: weights, and statistics as well.
    """

    name: ClassVar[str] = "surgical"
    version: ClassVar[int] = 1

    stages: tuple[str, ...] = ()
    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        for name in ("first", "last"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} must be 0 or more, not {getattr(self, name)}", (name,))
        ways = [name for name in WAYS if getattr(self, name)]
        if len(ways) != 1:
            raise OptionError(f"surgical needs one of {', '.join(WAYS)}, and has {' and '.join(ways) or 'none'}")

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(stages=self._chosen(stages)),)

    def _chosen(self, stages: Sequence[str]) -> tuple[str, ...]:
        has = f"this backbone has {len(stages)} stage(s), {', '.join(stages)}"
        unknown = [name for name in self.stages if name not in stages]
        if unknown:
            raise Skip(f"no stage is called {unknown[0]!r}: {has}")
        if max(self.first, self.last) > len(stages):
            raise Skip(f"{max(self.first, self.last)} stages are asked for, but {has}")
        if self.stages:
            return self.stages
        return tuple(stages[: self.first] if self.first else stages[-self.last :])

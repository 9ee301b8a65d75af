"""Gradual unfreezing: the head first, then more and more stages with it, from the head down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from bench.errors import OptionError, Skip
from bench.strategies import Norms, Phase, Strategy, strategies


@strategies.register
@dataclass(frozen=True)
class GradualUnfreeze(Strategy):
    """Train the head, then more of the last stages in each phase (Howard and Ruder, 2018, arXiv 1801.06146).

    Phase i trains the last u_i stages and the head, u_1 < u_2 < ...: `unfreeze` has them, or they are `steps` counts
    spread evenly from 0 to all stages. The phases share the recipe's epochs alike. Each has a schedule of its own, so
    what it unfreezes warms up. The paper unfreezes one layer an epoch, and gives each layer further from the head
    1 / 2.6 of the rate; `decay` is that factor, 1 unless it is asked for, so that one thing is measured at a time.

    The first phase leaves a head that fits, so that the others go on as `lp_ft` does after its own: at `lr` times the
    recipe's rate, with `norms` as BatchNorm's policy.
    """

    name: ClassVar[str] = "gradual_unfreeze"
    version: ClassVar[int] = 2

    steps: int = 3
    unfreeze: tuple[int, ...] = ()
    decay: float = 1.0
    lr: float = 0.1
    norms: Norms = "frozen"

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise OptionError(f"steps must be 2 or more, not {self.steps}", ("steps",))
        if any(count < 0 for count in self.unfreeze) or any(a >= b for a, b in pairwise(self.unfreeze)):
            counts = list(self.unfreeze)
            raise OptionError(f"unfreeze must be counts of stages that grow, from 0 on, not {counts}", ("unfreeze",))
        if not 0 < self.decay <= 1:
            raise OptionError(f"decay must be in (0, 1], not {self.decay}", ("decay",))
        if not self.lr > 0:
            raise OptionError(f"lr must be positive, not {self.lr}", ("lr",))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        depth = len(stages)
        counts = self.unfreeze or tuple(sorted({round(i * depth / (self.steps - 1)) for i in range(self.steps)}))
        if counts[-1] > depth:
            raise Skip(f"unfreeze: {counts[-1]}, but this backbone has {depth} stage(s), {', '.join(stages)}")
        return tuple(self._phase(count, alone=counts[0]) for count in counts)

    def _phase(self, count: int, alone: int) -> Phase:
        """Return the phase of so many stages; `alone` is the count of the first."""
        if count == 0:
            return Phase(unfrozen=0, standardize=True)
        first = count == alone
        return Phase(unfrozen=count, decay=self.decay, lr=1.0 if first else self.lr, norms=self.norms)

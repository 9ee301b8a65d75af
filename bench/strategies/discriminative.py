"""Discriminative fine-tuning: every stage learns, each at a rate of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.errors import OptionError, Skip
from bench.strategies import Phase, Strategy, strategies


@strategies.register
@dataclass(frozen=True)
class Discriminative(Strategy):
    """Train every stage, those near the input at lower rates (Howard and Ruder, 2018, arXiv 1801.06146).

    By `decay`, stage i of L learns at lr * decay^(L - i + 1), and the head at lr: layer decay, as fine-tuned
    transformers have it (Bao et al., 2022, arXiv 2106.08254, 0.65 to 0.75). By `rates`, the stages are cut into as many
    groups as there are rates, input to output and of like length, and each group learns at its multiple of lr. Use it
    where the first stages are right already and only the last have to change. Biases and norms have no weight decay,
    here as everywhere.
    """

    name: ClassVar[str] = "discriminative"
    version: ClassVar[int] = 1

    decay: float = 0.75
    rates: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise OptionError(f"decay must be in (0, 1], not {self.decay}", ("decay",))
        if not all(rate > 0 for rate in self.rates):
            raise OptionError(f"rates must be positive, not {list(self.rates)}", ("rates",))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        if not self.rates:
            return (Phase(unfrozen=None, decay=self.decay),)
        groups, depth = len(self.rates), len(stages)
        if groups > depth:
            raise Skip(f"{groups} rates, but this backbone has {depth} stage(s), {', '.join(stages)}")
        return (Phase(unfrozen=None, rates=tuple(self.rates[i * groups // depth] for i in range(depth))),)

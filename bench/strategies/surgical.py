"""Surgical fine-tuning: some stages learn, wherever they are, and the others stay as they were pretrained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.errors import OptionError, Skip
from bench.strategies import Look, Phase, Strategy, strategies

WAYS = ("stages", "first", "last", "auto")


@strategies.register
@dataclass(frozen=True)
class Surgical(Strategy):
    """Train the stages that have to change, and the head (Lee et al., 2023, arXiv 2210.11466).

    Say which in one way: `stages` by name, the `first` so many, or the `last` so many. The paper finds that the first
    ones do best where pictures look otherwise than in the pretraining, and the last ones where the classes differ.
    All other stages, those after the trained ones too, are frozen: weights, and statistics as well.

    With `auto` every stage learns at lr * r_i / max r, where r_i = |g_i| / |w_i| is the relative gradient norm of stage
    i (Auto-RGN there): a stage that has little to change is next to frozen. The paper measures r at every epoch, on a
    model whose head fits already; here the head is new, is trained alone for the part `probe` of the epochs, and r is
    measured once after that, with the pretrained statistics of BatchNorm, which stay. From there on lr is `lr` times
    the recipe's, as in `lp_ft`. The record says what r was.
    """

    name: ClassVar[str] = "surgical"
    version: ClassVar[int] = 2

    stages: tuple[str, ...] = ()
    first: int = 0
    last: int = 0
    auto: bool = False
    probe: float = 0.25
    lr: float = 0.1

    def __post_init__(self) -> None:
        for name in ("first", "last"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} must be 0 or more, not {getattr(self, name)}", (name,))
        if not 0 < self.probe < 1:
            raise OptionError(f"probe must be between 0 and 1, not {self.probe}", ("probe",))
        if not self.lr > 0:
            raise OptionError(f"lr must be positive, not {self.lr}", ("lr",))
        ways = [name for name in WAYS if getattr(self, name)]
        if len(ways) != 1:
            raise OptionError(f"surgical needs one of {', '.join(WAYS)}, and has {' and '.join(ways) or 'none'}")

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        if self.auto:
            head = Phase(unfrozen=0, standardize=True, share=self.probe)
            return (head, Phase(decide=self._by_gradient, share=1 - self.probe))
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

    def _by_gradient(self, look: Look) -> Phase:
        """Return the phase in which each stage learns at the rate of its relative gradient norm, 1 the largest."""
        found = look.relative_gradients()
        most = max(found)
        rates = tuple(each / most if most > 0 else 1.0 for each in found)
        look.note(relative_rates=[round(rate, 4) for rate in rates])
        return Phase(unfrozen=None, lr=self.lr, rates=rates, norms="frozen")

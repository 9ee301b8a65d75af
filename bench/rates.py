"""Schedules of the learning rate: what part of its peak a step has. One class each, with its options.

They are plain arithmetic and import no torch. The steps are those of one phase, since each phase has a schedule of its
own, and as many as it is planned to have: what stops early leaves the end of its schedule out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, inf, pi
from typing import Any, ClassVar, Literal

from bench.errors import OptionError
from bench.registry import choice, strict


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """The contract of a schedule. Where it `watches` validation, the recipe has to hold examples out for that."""

    watches: ClassVar[bool] = False

    name: str

    @abstractmethod
    def part(self, step: int, steps: int, epoch: int, cuts: int) -> float:
        """Return the rate of a step as a part of its peak, in [0, 1].

        `step` is its number of `steps`, and `epoch` that of its epoch, both from 0; `cuts` is what `cuts_after` said
        of the evaluations before it.
        """

    def cuts_after(self, judged: Sequence[tuple[float, float]]) -> int:
        """Return how often the rate is cut after evaluations, each a loss and an accuracy."""
        return 0


@strict
@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up by a cosine from 1/25 over the first 30 % of steps, and down by a cosine to almost 0.

    Smith and Topin, 2017, arXiv 1708.07120; the momentum is left alone. This schedule and those with a warm-up take the
    rate of the middle of each step, so that one of one or two steps, too, learns.
    """

    name: Literal["one_cycle"] = "one_cycle"

    def part(self, step: int, steps: int, epoch: int, cuts: int) -> float:
        done, rise = (step + 0.5) / steps, 0.3
        if done < rise:
            return _blend(1 / 25, 1.0, done / rise)
        return _blend(1.0, 1e-5, (done - rise) / (1 - rise))


@strict
@dataclass(frozen=True, kw_only=True)
class Warmed(Schedule):
    """Up in a straight line over the first steps, and then what `after` says.

    `warmup` below 1 is the part of the steps that this takes, and from 1 on it is so many steps (Goyal et al., 2017,
    arXiv 1706.02677).
    """

    warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup < 0 or (self.warmup >= 1 and self.warmup != int(self.warmup)):
            raise OptionError(
                f"warmup must be a part of the steps, below 1, or a whole number of them, not {self.warmup:g}",
                ("warmup",),
            )

    def part(self, step: int, steps: int, epoch: int, cuts: int) -> float:
        first = min(round(self.warmup * steps) if self.warmup < 1 else int(self.warmup), steps)
        return (step + 0.5) / first if step < first else self.after((step - first + 0.5) / (steps - first))

    @abstractmethod
    def after(self, done: float) -> float:
        """Return the part of the peak when a part of the steps after the warm-up is done, in (0, 1)."""


@strict
@dataclass(frozen=True, kw_only=True)
class Cosine(Warmed):
    """Down from the peak by half a cosine (Loshchilov and Hutter, 2017, arXiv 1608.03983, without restarts)."""

    name: Literal["cosine"] = "cosine"

    def after(self, done: float) -> float:
        return 0.5 * (1 + cos(pi * done))


@strict
@dataclass(frozen=True, kw_only=True)
class Linear(Warmed):
    """Down from the peak in a straight line."""

    name: Literal["linear"] = "linear"

    def after(self, done: float) -> float:
        return 1.0 - done


@strict
@dataclass(frozen=True, kw_only=True)
class Constant(Warmed):
    """The peak throughout."""

    name: Literal["constant"] = "constant"

    def after(self, done: float) -> float:
        return 1.0


@strict
@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """Times `gamma` after each `every` epochs of a phase (torch's StepLR)."""

    name: Literal["step"] = "step"
    every: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise OptionError(f"every must be 1 epoch or more, not {self.every}", ("every",))
        _check_part("gamma", self.gamma)

    def part(self, step: int, steps: int, epoch: int, cuts: int) -> float:
        return float(self.gamma ** (epoch // self.every))


@strict
@dataclass(frozen=True, kw_only=True)
class Plateau(Schedule):
    """Times `factor` when more than `patience` evaluations in a row brought nothing better (torch's ReduceLROnPlateau).

    Better is a loss lower, or an accuracy higher, than the best so far by a part `threshold` of that.
    """

    watches: ClassVar[bool] = True

    name: Literal["plateau"] = "plateau"
    on: Literal["loss", "accuracy"] = "loss"
    factor: float = 0.1
    patience: int = 2
    threshold: float = 1e-4

    def __post_init__(self) -> None:
        _check_part("factor", self.factor)
        for name in ("patience", "threshold"):
            if not 0 <= getattr(self, name) < inf:
                raise OptionError(f"{name} must be 0 or more, not {getattr(self, name)}", (name,))

    def part(self, step: int, steps: int, epoch: int, cuts: int) -> float:
        return float(self.factor**cuts)

    def cuts_after(self, judged: Sequence[tuple[float, float]]) -> int:
        best, waited, cuts = None, 0, 0
        for loss, accuracy in judged:
            now = loss if self.on == "loss" else accuracy
            if best is None or self._better(now, best):
                best, waited = now, 0
            else:
                waited += 1
            if waited > self.patience:
                cuts, waited = cuts + 1, 0
        return cuts

    def _better(self, now: float, best: float) -> bool:
        if self.on == "loss":
            return now < best * (1 - self.threshold)
        return now > best * (1 + self.threshold)


SCHEDULES: dict[str, type[Schedule]] = {
    "one_cycle": OneCycle,
    "cosine": Cosine,
    "linear": Linear,
    "constant": Constant,
    "step": Step,
    "plateau": Plateau,
}


class Rates:
    """The rate of each step of one phase, of so many epochs of so many steps."""

    def __init__(self, schedule: str | Schedule, epochs: int, steps_an_epoch: int) -> None:
        self._schedule: Schedule = choice("schedule", schedule, SCHEDULES)
        self._steps, self._each = epochs * steps_an_epoch, steps_an_epoch
        self._judged: list[tuple[float, float]] = []
        self._cuts = 0

    def part(self, step: int) -> float:
        """Return the rate of a step, from 0, as a part of its peak."""
        return self._schedule.part(step, self._steps, step // self._each, self._cuts)

    def judged(self, loss: float, accuracy: float) -> None:
        """Take in what an evaluation on validation said."""
        self._judged.append((loss, accuracy))
        self._cuts = self._schedule.cuts_after(self._judged)


def _check_part(name: str, value: Any) -> None:
    if not 0 < value <= 1:
        raise OptionError(f"{name} must be in (0, 1], not {value}", (name,))


def _blend(start: float, end: float, part: float) -> float:
    return end + (start - end) * 0.5 * (1 + cos(pi * part))

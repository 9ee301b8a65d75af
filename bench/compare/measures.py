"""What the gate can compare of two records, and the limits that people write: `accuracy:-1pp`, `latency_p50:+10%`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.errors import OptionError, did_you_mean, nearest, quoted
from bench.record import Better, Record

# score   a metric of the task: varies with the seed, the same on any machine
# count   of the model or its training: exact, the same on any machine
# time    of one machine, and noisy; memory: of one machine
Family = Literal["score", "count", "time", "memory"]
STATUS = "status"
# What any machine gives. Times of two sessions differ by more than most changes of code: they are compared when asked.
DEFAULTS = (
    "accuracy:-1pp",
    "params_total:+0",
    "params_trained:+0",
    "macs_forward:+0",
    "flops_forward:+0",
    "flops_train:+0",
    "weights_bytes:+0",
    STATUS,
)


@dataclass(frozen=True)
class Measure:
    """One number of a record, and the raw samples that it is of, if it has some. `better` says which way is good."""

    name: str
    family: Family
    better: Better
    read: Callable[[Record], float | None]
    raw: Callable[[Record], tuple[float, ...]] | None = None


@dataclass(frozen=True)
class Limit:
    """How far a measure may get worse: by so much, or with `relative` by such a share of the base."""

    measure: Measure
    amount: float
    relative: bool
    text: str

    def allows(self, base: float) -> float:
        """Return the largest change for the worse that passes, in the measure's unit."""
        return self.amount * abs(base) if self.relative else self.amount


def _cost(name: str) -> Callable[[Record], float | None]:
    return lambda record: getattr(record.cost, name)


def _seconds(name: str) -> Callable[[Record], float | None]:
    return lambda record: getattr(record.seconds, name) if record.timing_valid else None


def _latency_p50(record: Record) -> float | None:
    return next((entry.p50_ms for entry in record.latency if entry.batch == 1), None)


def _samples(record: Record) -> tuple[float, ...]:
    return next((entry.samples_ms for entry in record.latency if entry.batch == 1), ())


def _score(name: str) -> Callable[[Record], float | None]:
    return lambda record: record.metrics.get(name)


COUNTS = ("params_total", "params_trained", "macs_forward", "flops_forward", "flops_train", "weights_bytes")
MEASURES: dict[str, Measure] = {
    **{name: Measure(name, "count", "lower", _cost(name)) for name in COUNTS},
    **{f"seconds_{n}": Measure(f"seconds_{n}", "time", "lower", _seconds(n)) for n in ("train", "standalone")},
    "latency_p50": Measure("latency_p50", "time", "lower", _latency_p50, _samples),
    "peak_memory_bytes": Measure("peak_memory_bytes", "memory", "lower", _cost("peak_memory_bytes")),
}


def measure_of(name: str, better: Better = "higher") -> Measure:
    """Return a measure by its name; whatever is none of the known ones is a metric of a task, good in this way."""
    return MEASURES.get(name) or Measure(name, "score", better, _score(name))


def parse(texts: Iterable[str], metrics: Mapping[str, Better]) -> tuple[tuple[Limit, ...], bool]:
    """Read limits; say as well whether a change of status for the worse is one. Raises OptionError.

    `metrics` are the names of the task's metrics, and which way each is good.
    """
    limits: dict[str, Limit] = {}
    status = False
    for number, text in enumerate(texts):
        if text.strip() == STATUS:
            status = True
            continue
        limit = _limit(text.strip(), metrics, number)
        if limit.measure.name in limits:
            raise OptionError(
                f"{limit.measure.name} has two limits: {limits[limit.measure.name].text} and {text}", (number,)
            )
        limits[limit.measure.name] = limit
    return tuple(limits.values()), status


_AMOUNT = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
_GRAMMAR = re.compile(rf"(?P<name>[A-Za-z]\w*):(?P<sign>[+-])(?P<amount>{_AMOUNT})(?P<unit>%|pp)?")


def limit_pattern(metrics: Iterable[str]) -> str:
    """Return a regular expression of what a limit may be, for editors."""
    names = "|".join(dict.fromkeys([*MEASURES, *metrics]))
    return rf"^({STATUS}|({names}):[+-]{_AMOUNT}(%|pp)?)$"


def _limit(text: str, metrics: Mapping[str, Better], number: int) -> Limit:
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        hint = did_you_mean(nearest(text, [*MEASURES, *metrics, STATUS], 1))
        example = "write accuracy:-1pp, latency_p50:+10%, params_total:+0 or status"
        raise OptionError(f"{quoted(text)} is no limit: {example}{hint}", (number,))
    name, unit, amount = found["name"], found["unit"], float(found["amount"])
    known = [*MEASURES, *metrics]
    if name not in known:
        raise OptionError(f"unknown measure {quoted(name)}{did_you_mean(nearest(name, [*known, STATUS]))}", (number,))
    measure = measure_of(name, metrics.get(name, "higher"))
    worse = "-" if measure.better == "higher" else "+"
    if found["sign"] != worse:
        way, right = "lower" if worse == "-" else "higher", f"{name}:{worse}{found['amount']}{unit or ''}"
        raise OptionError(f"{text!r}: {name} is worse when it is {way}; write {right}", (number,))
    if unit == "pp" and measure.family != "score":
        raise OptionError(f"{text!r}: points are for metrics of the task; write a number or a percentage", (number,))
    if measure.family == "score" and ((unit is None and amount) or (unit == "pp" and amount > 100)):
        raise OptionError(
            f"{text!r}: write points, {name}:{worse}1pp, or a share of its value, {name}:{worse}1%", (number,)
        )
    if unit == "pp":
        amount /= 100
    return Limit(measure, amount / 100 if unit == "%" else amount, unit == "%", text)

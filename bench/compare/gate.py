"""Whether something got worse between two sets of records: what changed, is it shown, is it beyond a limit.

A regression is a change for the worse that is beyond its limit *and* significant, over the family of all points of
its measure (Holm). Counts are exact. Scores are paired by seed, and by test example where there is one seed. Times
are ratios, on one machine as they are and as ratios to the calibration kernels, whichever is smaller; between
machines the latter with twice the limit.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.compare.answers import mcnemar, right_of
from bench.compare.measures import Limit
from bench.compare.moderated import Prior
from bench.compare.statistics import ALPHA, MIN_SEEDS, difference, holm
from bench.naming import differing, natural, titles
from bench.naming import points as points_of
from bench.record import Record

Verdict = Literal["regression", "improvement", "no change shown", "within the limit", "not comparable"]
# Between machines, what the calibration kernels do not tell of is allowed for by so many times the limit.
ACROSS_MACHINES = 2.0
# The exit code when nothing could be compared.
NOTHING = 4
# A difference of two floats is not beyond a limit by rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Change:
    """One measure at one point: the strategy, size, data and backbone that its seeds share.

    `base` and `new` are means over the seeds that both have (of a count the pair that differs most for the worse),
    `change` their difference, of times the ratio less 1; `p` is adjusted. `note` says how it was compared, or why not.
    """

    measure: str
    point: str
    limit: str
    base: float | None
    new: float | None
    change: float | None
    p: float | None
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True)
class Moved:
    """A cell that is in one of the two only, or ended otherwise: what happened to it, and whether it fails the gate."""

    title: str
    what: Literal["vanished", "new", "identity", "status"]
    note: str
    fails: bool


@dataclass(frozen=True)
class Gate:
    """The outcome: every change that was looked at, and every cell that is not where it was.

    `cells` is how many both have; `again` how many of them are the very records of the base and no new run; `status`
    says that cells which ended otherwise fail it. `points` has the cells of each point that ended ok in both.
    """

    changes: tuple[Change, ...]
    moved: tuple[Moved, ...]
    cells: int
    again: int
    status: bool
    points: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def regressions(self) -> tuple[Change, ...]:
        """The changes for the worse that are shown and beyond their limits."""
        return tuple(change for change in self.changes if change.verdict == "regression")

    @property
    def failures(self) -> int:
        """How many regressions there are, and cells that are gone or failing."""
        return len(self.regressions) + sum(moved.fails for moved in self.moved)

    @property
    def compared(self) -> int:
        """How many measures at how many points could be compared."""
        return sum(change.verdict != "not comparable" for change in self.changes)

    @property
    def exit_code(self) -> int:
        """0 all good, 1 a regression, 4 when nothing could be compared."""
        if self.failures:
            return 1
        alone = self.status and not self.changes  # asked for how cells end, and nothing else
        return 0 if self.compared or (alone and self.cells) else NOTHING


Scales = Mapping[tuple[object, object], float]


@dataclass(frozen=True)
class _Pair:
    """One cell in both: its number in each."""

    base: Record
    new: Record
    x: float
    y: float


@dataclass(frozen=True)
class Found:
    """A change before its family is known: `worse` is how far it got worse, in the limit's unit.

    One that is not `sure`, of times on different machines, is no improvement, however fast. Points that have one
    measurement between them, as the latency of one network, name it in `shared`: together they are one test.
    """

    change: Change
    worse: float
    allowed: float
    p: float | None
    sure: bool = True
    shared: object = None


def compare(base: Sequence[Record], new: Sequence[Record], limits: Sequence[Limit], status: bool) -> Gate:
    """Hold new records against base ones."""
    old, now = {r.cell_id: r for r in base}, {r.cell_id: r for r in new}
    named = titles([r.cell for r in {**old, **now}.values()])
    both = [(old[cell_id], record) for cell_id, record in now.items() if cell_id in old]
    called = points_of([record.cell for _, record in both])
    points: dict[str, list[tuple[Record, Record]]] = {}
    for before, record in both:
        if before.status == record.status == "ok":
            points.setdefault(called[record.cell_id], []).append((before, record))
    scales = _scales([pair for pairs in points.values() for pair in pairs])
    changes: list[Change] = []
    for limit in limits:
        changes += _family(limit, points, scales)
    again = sum(b.started_at is not None and (b.started_at, b.seconds) == (n.started_at, n.seconds) for b, n in both)
    cells = {point: tuple(record.cell_id for _, record in pairs) for point, pairs in points.items()}
    return Gate(tuple(changes), tuple(_moved(old, now, named, status)), len(both), again, status, cells)


def _family(limit: Limit, points: Mapping[str, Sequence[tuple[Record, Record]]], scales: Scales) -> list[Change]:
    """Return the changes of one measure at all points, with their verdicts."""
    read = limit.measure.read
    found: list[Found] = []
    pairs: dict[str, list[_Pair]] = {}
    for point, records in points.items():
        numbers = [(b, n, read(b), read(n)) for b, n in records]
        held = [_Pair(b, n, x, y) for b, n, x, y in numbers if x is not None and y is not None]
        lost = next((n for _, n, x, y in numbers if x is not None and y is None), None)
        if lost is not None and limit.measure.family in ("score", "count"):
            why = lost.reasons.get(f"metrics.{limit.measure.name}") or "the new side gives no reason"
            change = change_of(limit, point, None, None, None, f"it has no value any more: {why}")
            found.append(Found(change, math.inf, 0.0, 0.0))
        elif held:
            pairs[point] = held
        else:
            found.append(not_comparable(limit, point, "one of the two has no valid number"))
    ways = {"count": _counted, "score": _scored, "time": _timed, "memory": _timed}
    found += ways[limit.measure.family](limit, pairs, scales)
    return judged(found)


def judged(found: Sequence[Found]) -> list[Change]:
    """Return the changes of one measure at all points with their verdicts, p values adjusted by Holm."""
    keys = [i if each.shared is None else each.shared for i, each in enumerate(found)]
    tested = {key: each.p for key, each in zip(keys, found, strict=True) if each.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    changes = []
    for key, each in zip(keys, found, strict=True):
        p = None if each.p is None else adjusted[key]
        if p is None:
            changes.append(each.change)
            continue
        verdict: Verdict = "no change shown" if p >= ALPHA else "within the limit"
        if p < ALPHA and abs(each.worse) > each.allowed:
            verdict = "regression" if each.worse > 0 else "improvement" if each.sure else "within the limit"
        changes.append(replace(each.change, p=p, verdict=verdict))
    return changes


def _sign(limit: Limit) -> float:
    """Return what makes a change positive when it is for the worse."""
    return -1.0 if limit.measure.better == "higher" else 1.0


def _counted(limit: Limit, points: Mapping[str, Sequence[_Pair]], _: Scales) -> list[Found]:
    """Judge each pair by itself: any that is beyond its limit is a regression, whatever the others are."""
    found = []
    for point, held in points.items():
        pair = max(held, key=lambda h: _sign(limit) * (h.y - h.x) - limit.allows(h.x))
        if pair.x == pair.y:
            pair = min(held, key=lambda h: _sign(limit) * (h.y - h.x))
        change = change_of(limit, point, pair.x, pair.y, pair.y - pair.x)
        p = 0.0 if pair.x != pair.y else 1.0
        found.append(Found(change, _sign(limit) * (pair.y - pair.x), limit.allows(pair.x), p))
    return found


def _scored(limit: Limit, points: Mapping[str, Sequence[_Pair]], _: Scales) -> list[Found]:
    """Judge means over seeds by their paired differences; of one seed, by who was right on the test examples."""
    gaps = {point: [pair.y - pair.x for pair in held] for point, held in points.items()}
    prior = Prior.of(gaps.values())
    found = []
    for point, held in points.items():
        base, new = _means(held)
        p, note = _p(gaps[point], prior), ""
        if p is None and len(held) == 1 and limit.measure.name == "accuracy":
            p, note = _by_examples(held[0]), "McNemar on the test examples of one seed"
        if p is None:
            found.append(
                not_comparable(limit, point, f"{len(held)} of the {MIN_SEEDS} seeds that a verdict needs", base, new)
            )
            continue
        change = change_of(limit, point, base, new, new - base, note)
        found.append(Found(change, _sign(limit) * (new - base), limit.allows(base) + ROUNDING, p))
    return found


def _p(found: Sequence[float], prior: Prior) -> float | None:
    d = difference(found, prior) if len(found) >= MIN_SEEDS else None
    return d.p if d else None


def _by_examples(pair: _Pair) -> float | None:
    try:
        x, y = right_of(pair.base.details), right_of(pair.new.details)
    except ValueError:
        return None
    return mcnemar(x, y).p if x is not None and y is not None and len(x) == len(y) else None


def _timed(limit: Limit, points: Mapping[str, Sequence[_Pair]], scales: Scales) -> list[Found]:
    """Judge ratios, as they are and less what the calibration kernels tell of the machine."""
    timed = {point: [_Timed.of(h, limit, scales) for h in held] for point, held in points.items()}
    priors = [Prior.of([t.ratio - by * t.shift for t in held] for held in timed.values()) for by in (0, 1)]
    found = []
    for point, held in timed.items():
        base, new = _means([t.pair for t in held])
        why = next((t.why for t in held if t.why), None)
        same = all(t.same for t in held)
        ways = [(by, _timed_p(limit, held, by, priors[by], len(points))) for by in ((0, 1) if same else (1,))]
        if why is None and any(p is None for _, p in ways):
            raw = limit.measure.raw is not None
            why = "too few raw samples for a verdict" if raw else f"{len(held)} of the {MIN_SEEDS} seeds that it needs"
        if why is not None:
            found.append(not_comparable(limit, point, why, base, new))
            continue
        changes = [math.exp(statistics.fmean(t.ratio - by * t.shift for t in held)) - 1 for by, _ in ways]
        change = min(changes, key=abs) if len({c > 0 for c in changes}) == 1 else 0.0
        told, shift = changes[-1], statistics.fmean(t.shift for t in held)
        note = f"{told:+.1%} when the calibration kernels ({math.exp(shift):.2f} times) are taken off"
        note = note if abs(shift) >= 0.005 else ""
        note = note if same else f"other machines, so twice the limit: {note or 'equally fast'}"
        allowed = (limit.amount if limit.relative else limit.amount / base) * (1.0 if same else ACROSS_MACHINES)
        p = max(p for _, p in ways if p is not None)
        told_of = change_of(limit, point, base, new, change, note)
        shared = limit.measure.raw and tuple(
            (limit.measure.raw(t.pair.base), limit.measure.raw(t.pair.new)) for t in held
        )
        found.append(Found(told_of, _sign(limit) * change, allowed + ROUNDING, p, same, shared))
    return found


@dataclass(frozen=True)
class _Timed:
    """A pair's ratio new to base and the kernels', as logarithms; `why` it can't be told."""

    pair: _Pair
    ratio: float
    shift: float
    same: bool
    why: str | None

    @classmethod
    def of(cls, pair: _Pair, limit: Limit, scales: Scales) -> _Timed:
        """Return what a pair says."""
        machines = _machine(pair.base), _machine(pair.new)
        same, kernels = machines[0] == machines[1] is not None, limit.measure.family == "time"
        scale = scales.get(machines) if kernels else None
        if pair.x <= 0 or pair.y <= 0:
            return cls(pair, 0.0, 0.0, same, "it is zero")
        why = None if same or scale else "the machines differ, and no calibration kernels tell how"
        return cls(pair, math.log(pair.y / pair.x), math.log(scale) if scale else 0.0, same, why)


def _timed_p(limit: Limit, held: Sequence[_Timed], by: int, prior: Prior, family: int) -> float | None:
    """Return p of a point's ratios, with the kernels taken off where `by` is 1.

    Of raw samples it is that of Mann and Whitney's test (1947). A model is timed once for all cells that have it:
    samples that came before are not counted again. None where there is too little to show any difference.
    """
    from scipy.stats import mannwhitneyu

    raw = limit.measure.raw
    if raw is None:
        return _p([t.ratio - by * t.shift for t in held], prior)
    both = {raw(t.pair.base): (raw(t.pair.new), math.exp(by * t.shift)) for t in held}
    x = [s for samples in both for s in samples]
    y = [s / scale for samples, scale in both.values() for s in samples]
    fewest = min(len(x), len(y))
    if not fewest or (fewest < 20 and 2 / math.comb(len(x) + len(y), len(x)) * family >= ALPHA):
        return None
    return 1.0 if x == y else float(mannwhitneyu(x, y).pvalue)


def _scales(pairs: Iterable[tuple[Record, Record]]) -> Scales:
    """Return how many times as long the calibration kernel took on the new side, for each pair of machines."""
    found: dict[tuple[object, object], tuple[list[float], list[float]]] = {}
    for base, new in pairs:
        before, after = found.setdefault((_machine(base), _machine(new)), ([], []))
        before += _kernels(base)
        after += _kernels(new)
    return {k: statistics.median(y) / statistics.median(x) for k, (x, y) in found.items() if x and y}


def _kernels(record: Record) -> list[float]:
    held = record.details.get("calibration")
    found = held.get("matmul_ms") if isinstance(held, Mapping) else None
    return [k for k in found if isinstance(k, float) and k > 0] if isinstance(found, list | tuple) else []


def _machine(record: Record) -> object:
    return record.environment.get("fingerprint")


def _means(held: Sequence[_Pair]) -> tuple[float, float]:
    return statistics.fmean(h.x for h in held), statistics.fmean(h.y for h in held)


def _moved(old: Mapping[str, Record], now: Mapping[str, Record], named: Mapping[str, str], status: bool) -> list[Moved]:
    """Return the cells that vanished, appeared, changed their identity or ended otherwise."""
    found: list[Moved] = []
    fresh = [r for cell_id, r in now.items() if cell_id not in old]
    for cell_id, before in old.items():
        record = now.get(cell_id)
        if record is not None:
            if record.status != before.status:
                note = f"{before.status} before, now {_ended(record)}"
                found.append(Moved(named[cell_id], "status", note, status and before.status == "ok"))
            continue
        alike = [r for r in fresh if _place(r) == _place(before)]
        if not alike:
            told = "it is in the base only"
            found.append(Moved(named[cell_id], "vanished", told, status and before.status == "ok"))
            continue
        record = min(alike, key=lambda r: len(_differences(before, r)))
        fresh.remove(record)
        note = "; ".join(_differences(before, record))
        worse = before.status == "ok" and record.status != "ok"
        note += f"; {before.status} before, now {_ended(record)}" if worse else ""
        found.append(Moved(named[record.cell_id], "identity", note, status and worse))
    for record in fresh:
        bad = record.status not in ("ok", "skipped")
        note = "it is in the new only" + (f"; {_ended(record)}" if bad else "")
        found.append(Moved(named[record.cell_id], "new", note, status and bad))
    return sorted(found, key=lambda moved: (not moved.fails, moved.what, natural(moved.title)))


def _ended(record: Record) -> str:
    return record.status + (f": {record.reason}" if record.reason else "")


def _place(record: Record) -> tuple[object, ...]:
    """Return what two cells of different identity have in common that are the same place of a suite."""
    c = record.cell
    parts = (c.task, c.dataset, c.backbone, c.strategy)
    return (*(part.get("name") for part in parts), c.backbone.get("weights") == "random", c.size, c.seed)


def _differences(before: Record, now: Record) -> list[str]:
    return [f"{path}: {old!r} before, now {new!r}" for path, old, new in differing(before.cell, now.cell)]


def change_of(
    limit: Limit, point: str, base: float | None, new: float | None, change: float | None, note: str = ""
) -> Change:
    """Return a change whose verdict is not known yet."""
    return Change(limit.measure.name, point, limit.text, base, new, change, None, "no change shown", note)


def not_comparable(limit: Limit, point: str, why: str, base: float | None = None, new: float | None = None) -> Found:
    """Return what could not be compared, and why."""
    change = replace(change_of(limit, point, base, new, None, why), verdict="not comparable")
    return Found(change, 0.0, 0.0, None)

"""Whether something got worse between two sets of records: what changed, is it shown, is it beyond a limit.

A regression is a change for the worse that is beyond its limit *and* significant, over the family of all points of
its measure (Holm). Counts are exact. Scores are paired by seed, and by test example where there is one seed. Times
are ratios, on one machine as they are and as ratios to the calibration kernels, whichever is smaller; between
machines the latter with twice the limit.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.cell import canonical
from bench.compare.answers import mcnemar, right_of
from bench.compare.measures import Limit
from bench.compare.moderated import Prior
from bench.compare.statistics import ALPHA, MIN_SEEDS, difference, holm
from bench.naming import flat, titles
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
    says that cells which ended otherwise fail it.
    """

    changes: tuple[Change, ...]
    moved: tuple[Moved, ...]
    cells: int
    again: int
    status: bool

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
        return 0 if self.compared or (self.status and self.cells) else NOTHING


Scales = Mapping[tuple[object, object], float]


@dataclass(frozen=True)
class _Pair:
    """One cell in both: its number in each."""

    base: Record
    new: Record
    x: float
    y: float


@dataclass(frozen=True)
class _Found:
    """A change before its family is known: `worse` is how far it got worse, in the limit's unit."""

    change: Change
    worse: float
    allowed: float
    p: float | None


def compare(base: Sequence[Record], new: Sequence[Record], limits: Sequence[Limit], status: bool) -> Gate:
    """Hold new records against base ones."""
    old, now = {r.cell_id: r for r in base}, {r.cell_id: r for r in new}
    named = titles([r.cell for r in {**old, **now}.values()])
    both = [(old[cell_id], record) for cell_id, record in now.items() if cell_id in old]
    points: dict[bytes, list[tuple[Record, Record]]] = {}
    for before, record in both:
        if before.status == record.status == "ok":
            points.setdefault(_point(record), []).append((before, record))
    called = {key: _title(named, pairs[0][1]) for key, pairs in points.items()}
    scales = _scales([pair for pairs in points.values() for pair in pairs])
    changes: list[Change] = []
    for limit in limits:
        changes += _family(limit, {called[key]: pairs for key, pairs in points.items()}, scales)
    again = sum(b.started_at is not None and (b.started_at, b.seconds) == (n.started_at, n.seconds) for b, n in both)
    return Gate(tuple(changes), tuple(_moved(old, now, named, status)), len(both), again, status)


def _point(record: Record) -> bytes:
    """Return what the seeds of a point share: the identity, seeds and the parents that go with them aside."""
    return canonical({k: v for k, v in record.cell.identity().items() if k not in ("seed", "parents")})


def _title(named: Mapping[str, str], record: Record) -> str:
    return named[record.cell_id].replace(f" · seed {record.cell.seed}", "", 1)


def _family(limit: Limit, points: Mapping[str, Sequence[tuple[Record, Record]]], scales: Scales) -> list[Change]:
    """Return the changes of one measure at all points, with their verdicts."""
    read = limit.measure.read
    found: list[_Found] = []
    pairs: dict[str, list[_Pair]] = {}
    for point, records in points.items():
        numbers = [(b, n, read(b), read(n)) for b, n in records]
        held = [_Pair(b, n, x, y) for b, n, x, y in numbers if x is not None and y is not None]
        lost = next((n for _, n, x, y in numbers if x is not None and y is None), None)
        if lost is not None and limit.measure.family in ("score", "count"):
            why = lost.reasons.get(f"metrics.{limit.measure.name}") or "the new side gives no reason"
            change = _change(limit, point, None, None, None, f"it has no value any more: {why}")
            found.append(_Found(change, math.inf, 0.0, 0.0))
        elif held:
            pairs[point] = held
        else:
            found.append(_none(limit, point, "one of the two has no valid number"))
    ways = {"count": _counted, "score": _scored, "time": _timed, "memory": _timed}
    found += ways[limit.measure.family](limit, pairs, scales)
    return _judged(found)


def _judged(found: Sequence[_Found]) -> list[Change]:
    tested = [i for i, each in enumerate(found) if each.p is not None]
    adjusted = dict(zip(tested, holm([found[i].p or 0.0 for i in tested]), strict=True))
    changes = []
    for i, each in enumerate(found):
        p = adjusted.get(i)
        if p is None:
            changes.append(each.change)
            continue
        verdict: Verdict = "no change shown" if p >= ALPHA else "within the limit"
        if p < ALPHA and abs(each.worse) > each.allowed:
            verdict = "regression" if each.worse > 0 else "improvement"
        changes.append(replace(each.change, p=p, verdict=verdict))
    return changes


def _sign(limit: Limit) -> float:
    """Return what makes a change positive when it is for the worse."""
    return -1.0 if limit.measure.better == "higher" else 1.0


def _counted(limit: Limit, points: Mapping[str, Sequence[_Pair]], _: Scales) -> list[_Found]:
    """Judge each pair by itself: any that is beyond its limit is a regression, whatever the others are."""
    found = []
    for point, held in points.items():
        pair = max(held, key=lambda h: _sign(limit) * (h.y - h.x) - limit.allows(h.x))
        if pair.x == pair.y:
            pair = min(held, key=lambda h: _sign(limit) * (h.y - h.x))
        change = _change(limit, point, pair.x, pair.y, pair.y - pair.x)
        p = 0.0 if pair.x != pair.y else 1.0
        found.append(_Found(change, _sign(limit) * (pair.y - pair.x), limit.allows(pair.x), p))
    return found


def _scored(limit: Limit, points: Mapping[str, Sequence[_Pair]], _: Scales) -> list[_Found]:
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
            found.append(_none(limit, point, f"{len(held)} of the {MIN_SEEDS} seeds that a verdict needs", base, new))
            continue
        change = _change(limit, point, base, new, new - base, note)
        found.append(_Found(change, _sign(limit) * (new - base), limit.allows(base) + ROUNDING, p))
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


def _timed(limit: Limit, points: Mapping[str, Sequence[_Pair]], scales: Scales) -> list[_Found]:
    """Judge ratios. Latencies have raw samples; other times one number a cell."""
    ratios = {point: [math.log(h.y / h.x) for h in held if h.x > 0 and h.y > 0] for point, held in points.items()}
    prior = Prior.of(ratios.values())
    found = []
    for point, held in points.items():
        base, new = _means(held)
        same = all(_machine(h.base) == _machine(h.new) is not None for h in held)
        scale = scales.get((_machine(held[0].base), _machine(held[0].new)))
        kernels = limit.measure.family == "time"
        if not ratios[point] or (not same and (scale is None or not kernels)):
            why = "it is zero" if not ratios[point] else "the machines differ, and no calibration kernels tell how"
            found.append(_none(limit, point, why, base, new))
            continue
        shift = math.log(scale) if scale and kernels else 0.0
        logs = [value - shift for value in ratios[point]]
        raw_of = limit.measure.raw
        p = _p(logs, prior) if raw_of is None else _raw_p(held, raw_of, shift, len(points))
        if p is None:
            needed = f"{len(held)} of the {MIN_SEEDS} seeds" if raw_of is None else "fewer raw samples than"
            found.append(_none(limit, point, f"{needed} that a verdict needs", base, new))
            continue
        plain, told = math.exp(statistics.fmean(ratios[point])) - 1, math.exp(statistics.fmean(logs)) - 1
        ratio = told if not same else min(plain, told, key=abs) if plain * told > 0 else 0.0
        note = (
            "" if abs(shift) < 0.005 else f"{told:+.1%} when the calibration kernels, {scale:.2f} times, are taken off"
        )
        allowed = (limit.amount if limit.relative else limit.amount / base) * (1.0 if same else ACROSS_MACHINES)
        change = _change(limit, point, base, new, ratio, note if same else f"other machines: {note or 'equally fast'}")
        found.append(_Found(change, _sign(limit) * ratio, allowed + ROUNDING, p))
    return found


def _raw_p(
    held: Sequence[_Pair], raw: Callable[[Record], tuple[float, ...]], shift: float, family: int
) -> float | None:
    """Return p of Mann and Whitney's test (1947) between the raw samples, the new ones with the shift taken off.

    A model is timed once for all cells that have it: samples that came before are not counted again. None where there
    are so few samples that no difference could be shown in a family of this size.
    """
    from scipy.stats import mannwhitneyu

    both = {raw(h.base): raw(h.new) for h in held}
    x = [s for samples in both for s in samples]
    y = [s / math.exp(shift) for samples in both.values() for s in samples]
    if not x or not y or 2 / math.comb(len(x) + len(y), len(x)) * family >= ALPHA:
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
    return sorted(found, key=lambda moved: not moved.fails)


def _ended(record: Record) -> str:
    return record.status + (f": {record.reason}" if record.reason else "")


def _place(record: Record) -> tuple[object, ...]:
    """Return what two cells of different identity have in common that are the same place of a suite."""
    c = record.cell
    parts = (c.task, c.dataset, c.backbone, c.strategy)
    return (*(part.get("name") for part in parts), c.backbone.get("weights") == "random", c.size, c.seed)


def _differences(before: Record, now: Record) -> list[str]:
    old, new = dict(flat(before.cell.identity())), dict(flat(now.cell.identity()))
    fields = sorted(old.keys() | new.keys())
    return [f"{f}: {old.get(f)!r} before, now {new.get(f)!r}" for f in fields if old.get(f) != new.get(f)]


def _change(
    limit: Limit, point: str, base: float | None, new: float | None, change: float | None, note: str = ""
) -> Change:
    return Change(limit.measure.name, point, limit.text, base, new, change, None, "no change shown", note)


def _none(limit: Limit, point: str, why: str, base: float | None = None, new: float | None = None) -> _Found:
    change = replace(_change(limit, point, base, new, None, why), verdict="not comparable")
    return _Found(change, 0.0, 0.0, None)

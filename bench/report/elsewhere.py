"""Elsewhere: what strategies that learnt one data set are worth on others, and what they lose on the way there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.cell import canonical
from bench.compare.answers import Resampled, apart, right_of
from bench.compare.statistics import MIN_SEEDS, compare_all, difference, summarise
from bench.naming import labels
from bench.record import Record
from bench.report.examples import BY_EXAMPLE
from bench.report.page import Block, Heading, Notes, Paragraph, Span, Table
from bench.report.study import Line, Section
from bench.report.tables import ids
from bench.report.units import MISSING, listing, metric, seeds, signed, spread

Entry = Mapping[str, Any]
Names = Mapping[bytes, str]


def entries(record: Record) -> dict[bytes, Entry]:
    """Return what a record says of each other data set that its cell was tested on; nothing in an older one."""
    found = record.details.get("also_test", ()) if record.status == "ok" else ()
    return {canonical(entry["dataset"]): entry for entry in found}


def names(records: Sequence[Record]) -> Names:
    """Name each data set that records were tested on, by what sets it apart from the others and from those learnt."""
    found = {key: entry["dataset"] for record in records for key, entry in entries(record).items()}
    if not found:
        return {}
    learnt = [{k: v for k, v in record.cell.dataset.items() if k != "resolution"} for record in records]
    every = {canonical(spec): spec for spec in learnt} | found
    named = dict(zip(every, labels(list(every.values())), strict=True))
    return {key: named[key] for key in found}


def columns(record: Record, named: Names) -> dict[str, Any]:
    """Return the numbers of a record's tests elsewhere as flat columns: `also_test.NAME.METRIC`."""
    row: dict[str, Any] = {}
    for key, entry in entries(record).items():
        stem = f"also_test.{named[key]}"
        row |= {f"{stem}.n": entry["n"], **{f"{stem}.{k}": v for k, v in sorted(entry["metrics"].items())}}
    return row


@dataclass(frozen=True)
class Place:
    """A strategy at a size on one other data set: what the records of its seeds say of it."""

    line: Line
    size: int
    primary: str
    tested: tuple[tuple[Record, Entry], ...]

    @cached_property
    def pairs(self) -> dict[int, tuple[float, float]]:
        """The metric at home and there, by the seeds that have both."""
        both = ((r.cell.seed, r.metrics.get(self.primary), e["metrics"].get(self.primary)) for r, e in self.tested)
        return {seed: (home, there) for seed, home, there in both if home is not None and there is not None}

    @property
    def lost(self) -> dict[int, float]:
        """How much lower the metric is there, by seed."""
        return {seed: home - there for seed, (home, there) in self.pairs.items()}


def places(section: Section, primary: str) -> dict[bytes, list[Place]]:
    """Return each strategy and size by the other data set that it was tested on."""
    found: dict[bytes, list[Place]] = {}
    for line in section.lines:
        for size in section.sizes:
            tested: dict[bytes, list[tuple[Record, Entry]]] = {}
            for record in line.at(size):
                for key, entry in entries(record).items():
                    tested.setdefault(key, []).append((record, entry))
            for key, held in tested.items():
                found.setdefault(key, []).append(Place(line, size, primary, tuple(held)))
    return found


def blocks(section: Section, primary: str, named: Names, level: int) -> list[Block]:
    """Return a table for each other data set, under a heading; nothing where there is none."""
    found = places(section, primary)
    made = [_table(section, named[key], held) for key, held in found.items()]
    return [Heading("Elsewhere", level), *made] if made else []


def _table(section: Section, name: str, found: Sequence[Place]) -> Table:
    """Return strategy x size: the metric at home and there, and what is lost."""
    notes = Notes()
    rows = []
    for place in found:
        home, there = (_spread([pair[side] for pair in place.pairs.values()]) for side in (0, 1))
        whys = dict.fromkeys(entry["reasons"].get(f"metrics.{place.primary}") for _, entry in place.tested)
        reasons = [why for why in whys if why]
        there += f" {notes.mark('; '.join(reasons))}" if reasons else ""
        texts = (home, there, _spread(list(place.lost.values())), _interval(place, notes))
        cells = ids(place.line, place.size)
        rows.append((Span(place.line.label), Span(str(place.size)), *(Span(text, cells=cells) for text in texts)))
    head = ("strategy", "n", f"on {section.dataset}", f"on {name}", "lost", "lost (95 %)")
    return Table("elsewhere", head, tuple(rows), 1, _caption(section, name, found), tuple(notes.texts))


def _spread(values: Sequence[float]) -> str:
    return spread(summarise(values)).replace("-", "−")


def _interval(place: Place, notes: Notes) -> str:
    """Return the interval of what is lost: over seeds, or over test examples where there are too few of those."""
    d = difference(list(place.lost.values()))
    if d is not None and d.n >= MIN_SEEDS and d.low is not None and d.high is not None:
        return f"{signed(d.low)} to {signed(d.high)}"
    over = _over_examples(place) if place.primary == BY_EXAMPLE else None
    if over is None:
        return MISSING
    mark = notes.mark(f"over test examples (bootstrap of both test sets): under {MIN_SEEDS} seeds give none over seeds")
    return f"{signed(over.low)} to {signed(over.high)} {mark}"


def _over_examples(place: Place) -> Resampled | None:
    """Return what is lost with its interval over test examples of both data sets; None where records don't tell."""
    held = [(r, e) for r, e in place.tested if r.cell.seed in place.pairs]
    home, there = [right_of(r.details) for r, _ in held], [right_of(e["details"]) for _, e in held]
    told = [[right for right in side if right is not None] for side in (home, there)]
    whole = all(len(side) == len(held) and len({len(right) for right in side}) == 1 for side in told)
    return apart(*told) if whole else None


def _caption(section: Section, name: str, found: Sequence[Place]) -> str:
    """Say what was learnt, what it was tested on, and what was left out."""
    tested = [entry for place in found for _, entry in place.tested]
    counts = sorted({entry["n"] for entry in tested if entry["n"]})
    most = max((len(place.pairs) for place in found), default=0)
    text = f"Learnt on {section.dataset}, tested on {name} as well"
    text += f" ({listing([f'{n:,}' for n in counts])} examples)" if counts else ""
    text += f": {metric(found[0].primary)}, "
    text += f"mean ± standard deviation over {most} seeds" if most > 1 else "one seed"
    text += ". What is lost is the value at home less the value there, paired by seed"
    left = next((entry["left_out"] for entry in tested if entry.get("left_out")), None)
    if left:
        text += f". {left['examples']:,} examples are left out, of classes that are not learnt: "
        text += listing([str(name) for name in left["classes"]])
    return f"{text}."


def answer(section: Section, primary: str, named: Names) -> tuple[Block, ...]:
    """Say in one sentence which strategy loses least at the largest size, over all other data sets, and how sure."""
    found = places(section, primary)
    size = max((place.size for held in found.values() for place in held if place.pairs), default=0)
    every = [Means.of(line, [p for held in found.values() for p in held if p.line is line and p.size == size])
             for line in section.lines]  # fmt: skip
    held = [means for means in every if means.others == len(found) and means.lost]
    if not held:
        return ()
    least = min(held, key=lambda means: (means.mean_lost, means.label))
    best = max(held, key=lambda means: (means.there, means.label))
    words = [Span(f"Tested on {listing([named[key] for key in found])} at n = {size}, "), Span(least.label, "strong")]
    text = f" loses least: {_spread(list(least.lost.values()))} ({least.home:.3f} at home, {least.there:.3f} there)"
    words.append(Span(f"{text}; {_shown(least, held)}"))
    if best is not least:
        words += [Span(". The best there is "), Span(best.label, "strong"), Span(f" with {best.there:.3f}")]
    return (Paragraph((*words, Span("."))),)


@dataclass(frozen=True)
class Means:
    """A strategy at a size over its other data sets: what is lost by seed, and the means at home and there."""

    label: str
    others: int
    lost: Mapping[int, float]
    home: float
    there: float

    @classmethod
    def of(cls, line: Line, found: Sequence[Place]) -> Means:
        """Return the means over data sets, of the seeds that were tested on all."""
        common = sorted(set.intersection(*(set(place.pairs) for place in found))) if found else []
        if not common:
            return cls(line.label, len(found), {}, math.nan, math.nan)
        pairs = {seed: [place.pairs[seed] for place in found] for seed in common}
        lost = {seed: math.fsum(h - t for h, t in held) / len(held) for seed, held in pairs.items()}
        both = [pair for held in pairs.values() for pair in held]
        home, there = (math.fsum(pair[side] for pair in both) / len(both) for side in (0, 1))
        return cls(line.label, len(found), lost, home, there)

    @property
    def mean_lost(self) -> float:
        """What is lost in the mean over seeds."""
        return math.fsum(self.lost.values()) / len(self.lost)


def _shown(least: Means, held: Sequence[Means]) -> str:
    """Say which strategies are shown to lose more: differences paired by seed, all pairs one family (Holm)."""
    if len(held) == 1:
        return "there is nothing to compare it with"
    # Of two the higher is the better: what is lost, turned round.
    compared = compare_all({means.label: {seed: -lost for seed, lost in means.lost.items()} for means in held})
    verdicts = {means.label: compared[least.label, means.label].verdict for means in held if means is not least}
    if not any(verdict in ("better", "no difference shown") for verdict in verdicts.values()):
        return f"no verdict from {seeds(max(len(means.lost) for means in held))}"
    more = [label for label, verdict in verdicts.items() if verdict == "better"]
    open_ends = [label for label in verdicts if label not in more]
    if not open_ends:
        return f"{listing(more)} {'are' if len(more) > 1 else 'is'} shown to lose more (p < 0.05, paired by seed, Holm)"
    told = f"{listing(more)} {'are' if len(more) > 1 else 'is'} shown to lose more, " if more else ""
    return f"{told}no difference is shown from {listing(open_ends)} (paired by seed, Holm)"

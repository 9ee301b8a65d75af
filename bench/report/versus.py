"""Two studies side by side: two suites, or two runs of one. What both have is paired by seed, point by point."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.compare.statistics import ALPHA, Comparison, compare_pairs, summarise
from bench.naming import flat
from bench.report import evidence
from bench.report.canvas import INK, PARENT_GREY, Drawing, one_plot, own_style, saved
from bench.report.page import Block, Bullets, Figure, Heading, Page, Paragraph, Span, Table, Verbatim, Words
from bench.report.study import Line, Section, Study, sections
from bench.report.units import MISSING, duration, listing, metric, p_value, seeds, sentence, signed, significant, spread

# More gaps than this are no longer looked through in a picture.
MOST_GAPS = 40


@dataclass(frozen=True)
class Point:
    """A gap of one figure: what it is of, its mean and its 95 % interval, if it has one."""

    label: str
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Side:
    """One of the two, with the name that the page has for it."""

    name: str
    study: Study


Key = tuple[str, str, int]


@dataclass(frozen=True)
class _Pair:
    """One strategy at one size of one section, in both studies."""

    where: str
    size: int
    a: Line
    b: Line

    @property
    def title(self) -> str:
        return f"{self.b.label} · n = {self.size}"


def page(a: Side, b: Side) -> Page:
    """Return the page that puts `b` beside `a`. Both must be ranked by the same metric."""
    primary = b.study.primary
    both = sections(a.study), sections(b.study)
    pairs = _pairs(*both)
    path = f"metrics.{primary}"
    scores = {key: (pair.b.by_seed(pair.size, path), pair.a.by_seed(pair.size, path)) for key, pair in pairs.items()}
    found = compare_pairs({key: both for key, both in scores.items() if all(both)})
    blocks: list[Block] = [Heading("Point by point"), _table(a, b, primary, pairs, found)] if found else []
    several = len({pair.where for pair in pairs.values()}) > 1
    points = [
        Point(f"{pairs[key].where} · {pairs[key].title}" if several else pairs[key].title, d.mean, d.low, d.high)
        for key, comparison in found.items() if (d := comparison.difference) is not None
    ]  # fmt: skip
    drawn = forest(points, f"{metric(primary)}: {b.name} − {a.name}", "gaps")
    if drawn is not None:
        blocks.append(drawn)
    blocks += _settings(a, b, pairs)
    blocks += _alone(((a, both[0]), (b, both[1])), pairs)
    blocks += [Heading("Environments"), _environments(a, b)]
    again = "\n".join(f"{side.study.command}  # {side.name}" for side in (a, b))
    blocks += [Heading("How to reproduce"), Verbatim(again)]
    facts = tuple(f"{side.name}: {evidence.outcome(side.study)}" for side in (a, b))
    return Page(f"{b.name} beside {a.name}", facts, _answer(a, b, primary, pairs, found), tuple(blocks))


def _pairs(a: Sequence[Section], b: Sequence[Section]) -> dict[Key, _Pair]:
    """Return what both studies have, by section, strategy and size, in the order of `b`.

    A line is found by its cells where the other study has the very same, else by what it is called. Cells that stand
    in several sections, such as a teacher's, are compared once.
    """
    by_cell = {r.cell_id: line for section in a for line in section.rows for r in line.records}
    by_name = {(section.title, line.label): line for section in a for line in section.rows}
    made: dict[Key, _Pair] = {}
    told: set[frozenset[str]] = set()
    for section in b:
        for line in section.rows:
            for size in section.sizes:
                cells = frozenset(record.cell_id for record in line.at(size))
                same = next((by_cell[cell_id] for cell_id in cells if cell_id in by_cell), None)
                other = same or by_name.get((section.title, line.label))
                if other is not None and other.at(size) and cells and cells not in told:
                    told.add(cells)
                    made[section.title, line.label, size] = _Pair(section.title, size, other, line)
    return made


def _answer(
    a: Side, b: Side, primary: str, pairs: Mapping[Key, _Pair], found: Mapping[Key, Comparison]
) -> tuple[Block, ...]:
    if not found:
        told = "They have no strategy, size and data in common that ended ok in both, so there is nothing to compare."
        return (Paragraph((Span(told),), "lead"),)
    verdicts = [comparison.verdict for comparison in found.values()]
    counts = [
        f"{word} at {count}" for verdict, word in
        (("better", "better"), ("worse", "worse"), ("no difference shown", "not shown to differ"),
         (None, "without a verdict"), ("not comparable", "without a seed in common"))
        if (count := sum(v == verdict for v in verdicts))
    ]  # fmt: skip
    lead: Words = (
        Span(f"Of {len(found)} points that both have, "),
        Span(b.name, "strong"),
        Span(f" is {listing(counts)} in {metric(primary)}."),
    )
    blocks: list[Block] = [Paragraph(lead, "lead")]
    shown = [key for key, comparison in found.items() if comparison.verdict in ("better", "worse")]
    shown.sort(key=lambda key: -abs(_gap(found[key])))
    blocks.append(Bullets(tuple(_told(pairs[key], found[key]) for key in shown[:12]))) if shown else None
    ratio = _time_ratio(list(pairs.values()))
    if ratio is not None:
        blocks.append(Paragraph((Span(_slower(ratio, a, b)),)))
    note = (
        f"Differences are {b.name} − {a.name}, paired by seed; one is shown when p < {ALPHA:g} in a paired t test "
        f"whose deviations lean on each other, adjusted by Holm over all {len(found)} points."
    )
    return (*blocks, Paragraph((Span(note),), "note"))


def _told(pair: _Pair, comparison: Comparison) -> Words:
    d = comparison.difference
    assert d is not None
    assert d.low is not None
    assert d.high is not None
    assert comparison.p_adjusted is not None
    words = f" {signed(d.mean)} (95 % interval {signed(d.low)} to {signed(d.high)}, {p_value(comparison.p_adjusted)})"
    return Span(pair.title, "strong"), Span(f" on {pair.where}:{words}")


def _gap(comparison: Comparison) -> float:
    return comparison.difference.mean if comparison.difference else 0.0


def _seconds(line: Line, size: int) -> float | None:
    return line.median(size, lambda record: record.seconds.standalone if record.timing_valid else None)


def _time_ratio(pairs: Sequence[_Pair]) -> float | None:
    """Return the median ratio of standalone seconds, b to a; None where no point has both."""
    both = [(_seconds(pair.a, pair.size), _seconds(pair.b, pair.size)) for pair in pairs]
    ratios = [second / first for first, second in both if first and second]
    return statistics.median(ratios) if ratios else None


def _slower(ratio: float, a: Side, b: Side) -> str:
    """Say how the seconds compare, and when they can't be."""
    told = f"In the median a point of {b.name} takes {significant(ratio, 2)} times the standalone seconds of {a.name}"
    machines = [{r.environment.get("fingerprint") for r in side.study.records if r.environment} for side in (a, b)]
    same = machines[0] == machines[1] and len(machines[0]) == 1
    return f"{told}." if same else f"{told}; the environments differ, so that says little."


def _table(a: Side, b: Side, primary: str, pairs: Mapping[Key, _Pair], found: Mapping[Key, Comparison]) -> Table:
    rows = []
    for key, comparison in found.items():
        pair = pairs[key]
        means = [spread(summarise(ln.values(pair.size, f"metrics.{primary}"))) for ln in (pair.a, pair.b)]
        seconds = [_seconds(line, pair.size) for line in (pair.a, pair.b)]
        times = [MISSING if s is None else duration(s) for s in seconds]
        verdict = (
            comparison.verdict or f"no verdict from {seeds(comparison.difference.n if comparison.difference else 0)}"
        )
        style = "strong" if comparison.verdict in ("better", "worse") else ""
        words = (pair.where, str(pair.size), *means, _interval(comparison))
        rows.append((Span(pair.b.label), *map(Span, words), Span(verdict, style), *map(Span, times)))  # type: ignore[arg-type]
    head = ("strategy", "on", "n", a.name, b.name, "difference", "verdict", f"{a.name}: time", f"{b.name}: time")
    caption = f"{sentence(metric(primary))} on test, mean ± standard deviation; times are median standalone seconds."
    return Table("versus", head, tuple(rows), 2, caption)


def _interval(comparison: Comparison) -> str:
    d = comparison.difference
    if d is None:
        return MISSING
    return (
        signed(d.mean) if d.low is None or d.high is None else f"{signed(d.mean)} ({signed(d.low)} to {signed(d.high)})"
    )


def _settings(a: Side, b: Side, pairs: Mapping[Key, _Pair]) -> list[Block]:
    """Return what the cells of points that both have were asked differently."""
    differing: dict[str, tuple[set[str], set[str]]] = {}
    for pair in pairs.values():
        sides = [_asked(line, pair.size) for line in (pair.a, pair.b)]
        for field in sorted(sides[0].keys() | sides[1].keys()):
            first, second = (side.get(field, {MISSING}) for side in sides)
            if first != second:
                held = differing.setdefault(field, (set(), set()))
                held[0].update(first)
                held[1].update(second)
    heading = Heading("What was asked differently")
    if not pairs:
        return []
    if not differing:
        return [heading, Paragraph((Span("Nothing: the same cells, run twice."),))]
    rows = tuple(
        (Span(f, "code"), *(Span(", ".join(sorted(v))) for v in both)) for f, both in sorted(differing.items())
    )
    return [heading, Table("settings", ("field", a.name, b.name), rows, 3)]


def _asked(line: Line, size: int) -> dict[str, set[str]]:
    """Return the values of each field of the cells of a line at a size, seeds aside."""
    found: dict[str, set[str]] = {}
    for record in line.at(size):
        parts = {k: v for k, v in record.cell.identity().items() if k not in ("seed", "size")}
        for field, value in flat(parts):
            found.setdefault(field, set()).add(str(value))
    return found


def _alone(sides: Sequence[tuple[Side, Sequence[Section]]], pairs: Mapping[Key, _Pair]) -> list[Block]:
    """Return what only one of the two has."""
    paired = [{r.cell_id for p in pairs.values() for r in line_of(p).at(p.size)} for line_of in (_first, _second)]
    items = []
    for (side, found), known in zip(sides, paired, strict=True):
        held = [
            f"{line.label} at n = {size} on {section.title}" for section in found for line in section.rows
            for size in section.sizes if any(r.cell_id not in known for r in line.at(size))
        ]  # fmt: skip
        if held:
            items.append((Span(side.name, "strong"), Span(f": {'; '.join(held[:40])}{' and more' * (len(held) > 40)}")))
    return [Heading("In one of them only"), Bullets(tuple(items))] if items else []


def _first(pair: _Pair) -> Line:
    return pair.a


def _second(pair: _Pair) -> Line:
    return pair.b


def _environments(a: Side, b: Side) -> Table:
    """Return the facts of both environments, those that differ in bold."""
    kept = [next((dict(flat(r.environment)) for r in side.study.records if r.environment), {}) for side in (a, b)]
    rows = []
    for field in dict.fromkeys([*kept[0], *kept[1]]):
        texts = [str(found.get(field, MISSING)) for found in kept]
        style = "strong" if texts[0] != texts[1] else ""
        rows.append((Span(field), *(Span(text, style) for text in texts)))  # type: ignore[arg-type]
    return Table("environments", ("fact", a.name, b.name), tuple(rows), 3, "Of the first record of each; bold differs.")


def forest(points: Sequence[Point], axis: str, name: str) -> Figure | None:
    """Return gaps with their intervals beside a line at 0, one below the other; None for none or too many."""
    if not 0 < len(points) <= MOST_GAPS:
        return None
    with own_style():
        canvas, axes = one_plot(8.0, 1.2 + 0.32 * len(points))
        places = range(len(points), 0, -1)
        axes.axvline(0, color=PARENT_GREY, linewidth=1)
        for place, point in zip(places, points, strict=True):
            if point.low is not None and point.high is not None:
                axes.plot([point.low, point.high], [place, place], color=INK, linewidth=2)
            axes.plot(point.mean, place, "o", color=INK)
        axes.set_yticks(list(places), [point.label for point in points])
        axes.set_xlabel(axis)
        alt = f"Gaps in {axis}: {listing([f'{point.label} {point.mean:+.3f}' for point in points])}."
        caption = "Right of the line is better. Bars are 95 % intervals over seeds, each by itself."
        return saved(Drawing(canvas, name, alt, caption))

"""Tables of what costs what: Pareto fronts, labels needed for an accuracy, ranks over data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.compare.pareto import front
from bench.compare.ranks import Ranks, ranks
from bench.compare.scaling import MIN_SIZES, Interval, Law, fit
from bench.compare.statistics import ALPHA
from bench.record import Record
from bench.report.board import Board
from bench.report.page import Span, Table
from bench.report.study import Line, Section, latency_ms
from bench.report.units import MISSING, metric, p_value, significant

COSTS: dict[str, str | Callable[[Record], float | None]] = {
    "standalone seconds": "seconds.standalone",
    "training FLOPs": "cost.flops_train",
    "forward FLOPs": "cost.flops_forward",
    "latency, batch 1": latency_ms,
    "trained parameters": "cost.params_trained",
    "peak memory": "cost.peak_memory_bytes",
    "stored weights": "cost.weights_bytes",
}


def fronts(standing: Sequence[Board], primary: str) -> Table | None:
    """Return, for each cost and size, the strategies that no other beats in both; None where there is one strategy."""
    rows = []
    for title, number in COSTS.items():
        cells = []
        for board in standing:
            priced = [(line.label, summary.mean, line.median(board.size, number)) for line, summary in board.ranked]
            points = {label: (mean, cost) for label, mean, cost in priced if cost is not None}
            # One on the front of many that cost the same is no trade.
            told = len(points) > 1 and len({cost for _, cost in points.values()}) > 1
            cells.append(" → ".join(front(points)) if told else MISSING)
        if any(cell != MISSING for cell in cells):
            rows.append((Span(title), *(Span(cell) for cell in cells)))
    if not rows:
        return None
    caption = (
        f"Which strategies are worth their cost: those that no other beats in mean {metric(primary)} and in cost, from "
        "the cheapest to the best. FLOPs, parameters and bytes do not depend on the machine."
    )
    return Table("fronts", ("cost", *(f"n = {b.size}" for b in standing)), tuple(rows), len(standing) + 1, caption)


def labels_needed(section: Section, standing: Sequence[Board], primary: str) -> Table | None:
    """Return how many labels each strategy needs for the best mean at each size, by a law fitted to its errors.

    None where fewer than three sizes were measured, or where the metric is no share of right answers.
    """
    laws = {line.label: law for line in section.lines if (law := law_of(line, section.sizes, primary)) is not None}
    if len(laws) < 2:
        return None
    rows, beyond = [], False
    for line in section.lines:
        if line.label not in laws:
            continue
        texts = []
        for board in standing:
            if not board.ranked:
                texts.append(MISSING)
            elif board.ranked[0][0] is line:
                texts.append(f"{board.size} (best)")
            else:
                needed = laws[line.label].labels_for(1 - board.ranked[0][1].mean)
                texts.append(_labels(needed, max(section.sizes)))
                beyond |= "*" in texts[-1]
        rows.append((Span(line.label), *(Span(text) for text in texts)))
    caption = (
        f"How many labels a strategy needs for the best mean {metric(primary)} at n: from error = floor + scale · "
        "n^−slope, fitted to its means, with the 95 % interval that the spread of seeds leaves."
    )
    caption += f" * is beyond the largest size measured, {max(section.sizes)}: an extrapolation." if beyond else ""
    head = ("strategy", *(f"best at n = {board.size}" for board in standing))
    return Table("labels", head, tuple(rows), 1, caption)


def law_of(line: Line, sizes: Sequence[int], primary: str) -> Law | None:
    """Return the law of a strategy's error over sizes, or None when it can't be fitted."""
    scores = {n: line.values(n, f"metrics.{primary}") for n in sizes}
    held = {n: [1 - score for score in found] for n, found in scores.items() if found}
    if len(held) < MIN_SIZES or any(not 0 <= error <= 1 for errors in held.values() for error in errors):
        return None
    return fit(held)


def _labels(needed: Interval, largest: int) -> str:
    """Format labels with their interval; what lies beyond the measured sizes has a star."""
    if needed.value is None:
        return "more than anyone can tell" if needed.low is None else f"more than {significant(needed.low, 2)}*"
    star = "*" if needed.value > largest else ""
    if needed.low is None and needed.high is None:
        return f"{significant(needed.value, 2)}{star}"
    low = "less" if needed.low is None else significant(needed.low, 2)
    high = "no end" if needed.high is None else significant(needed.high, 2)
    return f"{significant(needed.value, 2)}{star} ({low} to {high})"


def ranking(found: Sequence[Section], standings: Sequence[Sequence[Board]], primary: str) -> Table | None:
    """Return the mean rank of each strategy over the sections that have it, by size; None under two sections."""
    sizes = sorted({board.size for standing in standings for board in standing})
    by_size: dict[int, Ranks] = {}
    for size in sizes:
        boards = [board for standing in standings for board in standing if board.size == size]
        means = [{line.label: summary.mean for line, summary in board.ranked} for board in boards]
        common = set.intersection(*(set(each) for each in means)) if means else set()
        names = [line.label for line, _ in boards[0].ranked if line.label in common]
        ranked = ranks({name: [each[name] for each in means] for name in names})
        if ranked is not None:
            by_size[size] = ranked
    if not by_size:
        return None
    labels = list(dict.fromkeys(name for ranked in by_size.values() for name in ranked.mean))
    rows = [
        (Span(name), *(Span(f"{r.mean[name]:.2f}" if name in r.mean else MISSING) for r in by_size.values()))
        for name in labels
    ]
    rows.append((Span("Friedman's test"), *(Span(p_value(r.p)) for r in by_size.values())))
    rows.append((Span("critical difference"), *(Span(f"{r.critical:.2f}") for r in by_size.values())))
    count = max(ranked.n for ranked in by_size.values())
    caption = (
        f"Mean rank by {metric(primary)} over {count} pairs of data set and backbone, 1 is best. Two strategies are "
        f"told apart where Friedman's p is under {ALPHA:g} and their ranks differ by the critical difference or more "
        "(Nemenyi)."
    )
    return Table("ranks", ("strategy", *(f"n = {size}" for size in by_size)), tuple(rows), 1, caption)

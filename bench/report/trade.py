"""Tables of what costs what: Pareto fronts, labels needed for an accuracy, ranks over data sets."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare.pareto import front
from bench.compare.ranks import Ranks, ranks
from bench.compare.scaling import MIN_SIZES, Interval, Law, fit, meeting
from bench.compare.statistics import ALPHA
from bench.report.board import Board
from bench.report.page import Span, Table
from bench.report.study import Line, Section, latency_ms
from bench.report.tables import Column
from bench.report.units import MISSING, metric, p_value, significant

COSTS = (
    Column("standalone seconds", "seconds.standalone", "seconds"),
    Column("training FLOPs", "cost.flops_train", "flops"),
    Column("forward FLOPs", "cost.flops_forward", "flops"),
    Column("latency, batch 1", "latency", "ms", latency_ms),
    Column("trained parameters", "cost.params_trained", "count"),
    Column("peak memory", "cost.peak_memory_bytes", "bytes"),
    Column("stored weights", "cost.weights_bytes", "bytes"),
)


def fronts(standing: Sequence[Board], primary: str) -> Table | None:
    """Return, for each cost and size, the strategies that no other beats in both; None where there is one strategy."""
    rows = []
    for cost in COSTS:
        cells = []
        for board in standing:
            priced = [(ln.label, summary.mean, ln.median(board.size, cost.read)) for ln, summary in board.ranked]
            points = {label: (mean, paid) for label, mean, paid in priced if paid is not None}
            # One on the front of many that cost the same is no trade.
            told = len(points) > 1 and len({paid for _, paid in points.values()}) > 1
            cells.append(" → ".join(front(points)) if told else MISSING)
        if any(cell != MISSING for cell in cells):
            rows.append((Span(cost.title), *(Span(cell) for cell in cells)))
    if not rows:
        return None
    caption = (
        f"Which strategies are worth their cost: those that no other beats in mean {metric(primary)} and in cost, from "
        "the cheapest to the best. FLOPs, parameters and bytes do not depend on the machine."
    )
    return Table("fronts", ("cost", *(f"n = {b.size}" for b in standing)), tuple(rows), len(standing) + 1, caption)


def labels_needed(section: Section, standing: Sequence[Board], primary: str) -> Table | None:
    """Return how many labels each strategy needs for the best mean at each size, by a law fitted to its errors.

    The last column is where it catches up with the best at the largest size. None where fewer than three sizes were
    measured, or where the metric is no share of right answers.
    """
    laws = {line.label: law for line in section.lines if (law := law_of(line, section.sizes, primary)) is not None}
    if len(laws) < 2:
        return None
    largest = max(section.sizes)
    leader = next((board.ranked[0][0] for board in reversed(standing) if board.ranked), None)
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
                texts.append(_labels(needed, largest))
        if leader is not None and leader.label in laws:
            texts.append(MISSING if line is leader else _caught_up(laws[line.label], laws[leader.label]))
        beyond |= any("*" in text for text in texts)
        rows.append((Span(line.label), *(Span(text) for text in texts)))
    caption = (
        f"How many labels a strategy needs for the best mean {metric(primary)} at n: from error = floor + scale · "
        "n^−slope, fitted to its means, with the 95 % interval that the spread of seeds leaves."
    )
    caption += f" * is beyond the largest size measured, {largest}: an extrapolation." if beyond else ""
    head = ["strategy", *(f"best at n = {board.size}" for board in standing)]
    if leader is not None and leader.label in laws:
        head.append(f"as good as {leader.label} from n =")
    return Table("labels", tuple(head), tuple(rows), 1, caption)


def _caught_up(law: Law, leader: Law) -> str:
    """Say from which size on a strategy has no more error than the leader, by both laws."""
    found = meeting(law, leader)
    smallest, largest = min(law.sizes), max(law.sizes)
    if found.value is not None and found.value <= smallest:
        return f"{smallest} or fewer"
    if found.value is None and found.low is None:
        return "nowhere to be seen"
    return _labels(found, largest)


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
    rows = [(Span(name), *(_rank(name, ranked) for ranked in by_size.values())) for name in labels]
    rows.append((Span("Friedman's test"), *(Span(p_value(r.p)) for r in by_size.values())))
    rows.append((Span("critical difference"), *(Span(f"{r.critical:.2f}") for r in by_size.values())))
    count = max(ranked.n for ranked in by_size.values())
    shared = len({section.dataset for section in found}) < count
    caption = (
        f"Mean rank by {metric(primary)} over {count} pairs of data set and backbone, 1 is best and in bold; "
        f"≈ marks what is not told apart from it. Two are told apart where Friedman's p is under {ALPHA:g} and their "
        "ranks differ by the critical difference or more (Nemenyi)."
    )
    if shared:
        caption += " Pairs that share a data set are not independent: they say less than as many data sets would."
    return Table("ranks", ("strategy", *(f"n = {size}" for size in by_size)), tuple(rows), 1, caption)


def _rank(name: str, ranked: Ranks) -> Span:
    """Return a mean rank; the best in bold, ≈ on what is not told apart from it."""
    if name not in ranked.mean:
        return Span(MISSING)
    best, text = min(ranked.mean, key=ranked.mean.__getitem__), f"{ranked.mean[name]:.2f}"
    if name == best:
        return Span(text, "strong")
    return Span(text) if ranked.apart(name, best) else Span(f"≈ {text}", "em")

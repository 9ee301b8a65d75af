"""Which strategy to take under limits: the best, the runner-up, what is as good for less, and the rule of thumb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.compare.statistics import Comparison, Summary
from bench.report.board import Board
from bench.report.study import Line, latency_ms
from bench.report.units import significant

Kind = Literal["scratch", "frozen", "partial", "full"]
# Of the parameters, a head has at most so much, and what trains all of them at least so much.
HEAD_SHARE, WHOLE_SHARE = 0.05, 0.99
# What is not shown to be less than the best is as good when it is also no further below it than a point: three seeds
# show little, and six points that they don't show are not nothing.
CLOSE = 0.01
# Labels a class up to which the rule of thumb calls data small, and from which it calls them large.
SMALL, LARGE = 50, 500


@dataclass(frozen=True)
class Limits:
    """What a choice may cost at most; None is no limit. Medians over seeds are held against it."""

    latency_ms: float | None = None
    seconds: float | None = None
    params: float | None = None

    def exceeded(self, line: Line, size: int) -> str | None:
        """Say which limit a strategy exceeds at a size, or None."""
        for limit, title, cost in (
            (self.latency_ms, "latency at batch 1, ms", line.median(size, latency_ms)),
            (self.seconds, "standalone seconds", line.median(size, "seconds.standalone")),
            (self.params, "parameters", line.median(size, "cost.params_total")),
        ):
            if limit is None:
                continue
            if cost is None:
                return f"{title}: not known"
            if cost > limit:
                return f"{title}: {significant(cost)} > {significant(limit)}"
        return None


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Choice:
    """What to take at a size. `ranked` is within the limits, best mean first; `excluded` says what is not, and why.

    `cheaper` is the cheapest, in standalone seconds, of those as good as the best: not shown to differ from it, and
    no further below than CLOSE. None when that is the best itself.
    """

    size: int
    ranked: tuple[tuple[Line, Summary], ...]
    comparison: Comparison | None
    cheaper: Line | None
    excluded: Mapping[str, str]


def choose(board: Board, limits: Limits = NO_LIMITS) -> Choice:
    """Return the choice at the size of a board."""
    excluded = {ln.label: why for ln, _ in board.ranked if (why := limits.exceeded(ln, board.size)) is not None}
    ranked = tuple((ln, s) for ln, s in board.ranked if ln.label not in excluded)
    if not ranked:
        return Choice(board.size, (), None, None, excluded)
    best, top = ranked[0]
    comparison = board.comparisons[best.label, ranked[1][0].label] if len(ranked) > 1 else None
    near = [ln for ln, summary in ranked[1:] if top.mean - summary.mean <= CLOSE + 1e-9]
    equal = [ln for ln in near if board.comparisons[best.label, ln.label].verdict == "no difference shown"]
    priced = [(s, i, ln) for i, ln in enumerate([best, *equal]) if (s := ln.median(board.size, "seconds.standalone"))]
    cheapest = min(priced)[2] if priced else best
    return Choice(board.size, ranked, comparison, None if cheapest is best else cheapest, excluded)


def kind_of(line: Line, size: int) -> Kind | None:
    """Return what a strategy trains, by where it starts and which parameters of each stage learn.

    None where it is not known, and for what is none of the four: norms alone, say, or the first stages.
    """
    records = [r for r in line.at(size) if r.status == "ok"]
    trained, total = line.median(size, "cost.params_trained"), line.median(size, "cost.params_total")
    if not records or trained is None or not total or records[0].cell.parents:
        return None
    shares = records[0].details.get("trained_shares")
    kind = _by_stage(list(shares.values())) if isinstance(shares, Mapping) else _by_count(trained / total)
    if records[0].cell.backbone.get("weights") == "random":
        return "scratch" if kind == "full" else None
    return kind


def _by_stage(shares: Sequence[float]) -> Kind | None:
    """Return the kind by the part of each stage that learns, input to output: the last ones whole, and no other."""
    whole = [share >= WHOLE_SHARE for share in shares]
    if not any(shares):
        return "frozen"
    if any(0 < share < WHOLE_SHARE for share in shares) or whole != sorted(whole):
        return None
    return "full" if all(whole) else "partial"


def _by_count(share: float) -> Kind:
    """Return the kind by the part of all parameters that learns, for a record that does not tell stages apart."""
    return "frozen" if share <= HEAD_SHARE else "full" if share >= WHOLE_SHARE else "partial"


def rule_of_thumb(board: Board) -> tuple[str, Kind] | None:
    """Return what a textbook would take by the size of the data and their likeness to the pretraining, and why.

    The usual rule (for example Karpathy's notes to Stanford's CS231n): few labels, alike: a head on frozen features;
    few, unlike: a head on earlier layers, so fine-tune the last ones only; many: fine-tune all of it. Data are called
    alike when frozen features beat training from scratch. None when the study has not what it takes to tell.
    """
    kinds = {kind_of(line, board.size): (line, summary) for line, summary in reversed(board.ranked)}
    if "frozen" not in kinds or "scratch" not in kinds:
        return None
    classes = _classes(kinds["frozen"][0], board.size)
    if not classes:
        return None
    each = board.size / classes
    alike = kinds["frozen"][1].mean > kinds["scratch"][1].mean
    likeness = "like" if alike else "unlike"
    amount = "few" if each <= SMALL else "many" if each >= LARGE else "some"
    says: Kind = "full" if amount == "many" else "partial" if amount == "some" or not alike else "frozen"
    return f"{amount} labels ({significant(each, 2)} a class), {likeness} the pretraining's data", says


def _classes(line: Line, size: int) -> int | None:
    for record in line.at(size):
        found = record.details.get("classes")
        if isinstance(found, list | tuple):
            return len(found)
    return None

"""Who stands where at each size, and where two lines cross."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise

from bench.compare.scaling import Interval, crossing
from bench.compare.statistics import ALPHA, MIN_SEEDS, Comparison, Summary, compare_all, summarise
from bench.report.study import Line, Section


@dataclass(frozen=True)
class Board:
    """The strategies of a section at one size, best mean first, and every pair compared as one family."""

    size: int
    ranked: tuple[tuple[Line, Summary], ...]
    comparisons: Mapping[tuple[str, str], Comparison]

    def near_best(self, label: str) -> bool:
        """Say whether a strategy may still be the best: none is shown to be better. False for the best mean itself.

        Each is tested against all others at 5 % together (one-sided, Bonferroni), so that the one that is truly the
        best is kept among those that may be in 95 % of studies, however many there are (subset selection: Gupta, 1965;
        Hsu, 1981). For a verdict on one pair, found by looking, there are the `comparisons`.
        """
        pair = self.comparisons.get((self.ranked[0][0].label, label)) if self.ranked else None
        if pair is None or pair.verdict is None or pair.difference is None:
            return False
        others = [line.label for line, _ in self.ranked if line.label != label]
        return min(self._worse(label, other) for other in others) * len(others) >= ALPHA

    def _worse(self, label: str, other: str) -> float:
        """Return the one-sided p value of a strategy being no worse than another; 1 where that can't be tested."""
        pair = self.comparisons.get((other, label))
        if pair is None or pair.verdict is None or pair.difference is None or pair.difference.p is None:
            return 1.0
        return pair.difference.p / 2 if pair.difference.mean > 0 else 1.0


@dataclass(frozen=True)
class Crossing:
    """`before` leads `after` at the size `below`, and is led by it at the size `above`.

    `at` is the size where their lines cross, by linear interpolation of the means in log n, and `height` the
    metric there. `leading` says that `before` is the best of all at `below`, and `after` at `above`.
    """

    before: str
    after: str
    below: int
    above: int
    at: float
    height: float
    leading: bool


def boards(section: Section, primary: str) -> tuple[Board, ...]:
    """Return the standing at each size."""
    made = []
    for size in section.sizes:
        by_seed = {line.label: line.by_seed(size, f"metrics.{primary}") for line in section.lines}
        found = [(line, summarise(list(by_seed[line.label].values()))) for line in section.lines]
        ranked = sorted(((ln, s) for ln, s in found if s is not None), key=lambda x: (-x[1].mean, x[0].index))
        made.append(Board(size, tuple(ranked), compare_all({k: v for k, v in by_seed.items() if v})))
    return tuple(made)


def crossings(standing: tuple[Board, ...]) -> tuple[Crossing, ...]:
    """Return where two strategies swap the lead: winners first, by size; the others by height."""
    means: dict[str, dict[int, float]] = {}
    for board in standing:
        for line, summary in board.ranked:
            means.setdefault(line.label, {})[board.size] = summary.mean
    winners = {board.size: board.ranked[0][0].label for board in standing if board.ranked}
    found = [c for a, b in combinations(means, 2) for c in _pair(a, b, means, winners)]
    return tuple(sorted(found, key=_importance))


def crossing_interval(c: Crossing, standing: tuple[Board, ...], primary: str) -> Interval | None:
    """Return the interval of a crossing over seeds; None with too few seeds, or for lines that cross more than once."""
    scores: dict[str, dict[int, dict[int, float]]] = {c.before: {}, c.after: {}}
    for board in standing:
        for line, summary in board.ranked:
            if line.label in scores and summary.n >= MIN_SEEDS:
                scores[line.label][board.size] = line.by_seed(board.size, f"metrics.{primary}")
    found = crossing(scores[c.before], scores[c.after])
    same = found.value is not None and math.isclose(found.value, c.at, rel_tol=1e-6)
    return found if same else None


def _importance(c: Crossing) -> tuple[bool, float, str, str]:
    return not c.leading, c.at if c.leading else -c.height, c.before, c.after


def _pair(a: str, b: str, means: Mapping[str, Mapping[int, float]], winners: Mapping[int, str]) -> list[Crossing]:
    gaps = [(n, means[a][n] - means[b][n]) for n in sorted(means[a].keys() & means[b].keys())]
    apart = [(n, gap) for n, gap in gaps if gap != 0 and n > 0]
    found = []
    for (below, first), (above, second) in pairwise(apart):
        if (first > 0) == (second > 0):
            continue
        level = [n for n, gap in gaps if gap == 0 and below < n < above]
        share = first / (first - second)
        at = float(level[0]) if level else below * (above / below) ** share
        reach = math.log(at / below) / math.log(above / below)
        height = means[a][below] + reach * (means[a][above] - means[a][below])
        before, after = (a, b) if first > 0 else (b, a)
        leading = winners[below] == before and winners[above] == after
        found.append(Crossing(before, after, below, above, at, height, leading))
    return found

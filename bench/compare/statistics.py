"""Statistics over seeds: mean, spread, paired differences and verdicts that hold over a family.

Seeds are the unit of replication: a verdict speaks about new seeds on the same data, not about new data.
Strategies see the same examples and seeds, so differences are paired; fewer than `MIN_SEEDS` pairs
give no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Literal, TypeVar

from bench.compare.moderated import Prior

MIN_SEEDS = 3
ALPHA = 0.05
Verdict = Literal["better", "worse", "no difference shown", "not comparable"]
Key = TypeVar("Key")
NO_PRIOR = Prior()
# All pairs of a few groups depend on each other: what they say of a variance counts a third, and under four nothing.
DEPENDENT, MIN_GROUPS = 1 / 3, 4


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (ddof = 1) of n values; `sd` is None for one value."""

    n: int
    mean: float
    sd: float | None


@dataclass(frozen=True)
class Difference:
    """A mean paired difference a - b over `n` common seeds.

    `low` and `high` bound its 95 % interval, `p` is the two-sided p value of Student's paired t test (1908), in a
    family with a deviation that leans on those of the others (`moderated`), and `effect` the mean in units of the
    differences' own deviation. All four are None under two pairs; `effect` also when every pair differs by the same.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    p: float | None
    effect: float | None


@dataclass(frozen=True)
class Comparison:
    """One pair of a family: the difference a - b, its Holm-adjusted p, and the verdict on a.

    `verdict` is None when there are too few seeds to say anything; "not comparable" when no seed is common.
    """

    difference: Difference | None
    p_adjusted: float | None
    verdict: Verdict | None

    def reverse(self) -> Comparison:
        """Return the same comparison seen from b."""
        d = self.difference
        turned: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
        verdict = None if self.verdict is None else turned.get(self.verdict, self.verdict)
        if d is None:
            return Comparison(None, self.p_adjusted, verdict)
        flipped = Difference(d.n, -d.mean, _negative(d.high), _negative(d.low), d.p, _negative(d.effect))
        return Comparison(flipped, self.p_adjusted, verdict)


def summarise(values: Sequence[float]) -> Summary | None:
    """Return mean and sample deviation, or None for no values."""
    n = len(values)
    if n == 0:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Summary(1, mean, None)
    return Summary(n, mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)))


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> Difference | None:
    """Return the difference a - b over the seeds both have, or None when they have none in common.

    `a` and `b` map a seed to a value. The interval is mean ± t(n-1) * sd / sqrt(n).
    """
    return difference(changes(a, b))


def changes(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    """Return a - b for each seed that both have."""
    return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]


def difference(found: Sequence[float], prior: Prior = NO_PRIOR) -> Difference | None:
    """Return what paired differences say: by Student's t, with a deviation that leans on a prior."""
    summary = summarise(found)
    if summary is None:
        return None
    n, mean, sd = summary.n, summary.mean, summary.sd
    if sd is None:
        return Difference(n, mean, None, None, None, None)
    variance, freedom = prior.leant(sd**2, n - 1)
    # Equal differences leave only rounding; dividing by it would make a p value out of noise.
    if variance <= (1e-12 * max(abs(mean), 1e-300)) ** 2:
        return Difference(n, mean, mean, mean, 1.0 if mean == 0 else 0.0, None)
    error = math.sqrt(variance / n)
    reach = _t_quantile(0.975, freedom) * error
    p = 2 * t_below(-abs(mean) / error, freedom)
    return Difference(n, mean, mean - reach, mean + reach, p, mean / sd if sd else None)


@cache
def _t_quantile(share: float, freedom: float) -> float:
    # Not scipy.stats, which takes 0.5 s to import and 50 times as long to answer.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def t_below(t: float, freedom: float) -> float:
    """Return the share of Student's t distribution below t."""
    from scipy.special import stdtr

    return float(stdtr(freedom, t))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for a family by Holm's step-down method (1979), in the order given."""
    count = len(p_values)
    adjusted = [0.0] * count
    highest = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def compare_all(groups: Mapping[str, Mapping[int, float]], alpha: float = ALPHA) -> dict[tuple[str, str], Comparison]:
    """Compare every pair of groups, both ways round, as one family.

    `groups` maps a name to its values by seed; higher is better. The family is *all* pairs, although a reader
    mostly looks at the best against the rest: the best is picked by looking at the data, and a family of only
    its pairs would show a difference among five equal strategies in 7 to 9 % of studies, not at most 5 %.

    The deviations of four groups and more lean on each other: all pairs together have as many degrees of freedom as
    strategies and seeds leave, and their prior counts a third. With three seeds a lead of four deviations is then shown
    in half of the studies and not in an eighth, and equal strategies differ in no more of them.
    """
    found = {(a, b): changes(groups[a], groups[b]) for a, b in combinations(groups, 2)}
    seeds = max((len(each) for each in found.values()), default=0)
    enough = [each for each in found.values() if len(each) >= MIN_SEEDS]
    most = (len(groups) - 1) * (seeds - 1)
    prior = Prior.of(enough, most, DEPENDENT) if len(groups) >= MIN_GROUPS else NO_PRIOR
    compared = _compared(found, prior, alpha)
    return compared | {(b, a): comparison.reverse() for (a, b), comparison in compared.items()}


def compare_pairs(
    pairs: Mapping[Key, tuple[Mapping[int, float], Mapping[int, float]]], alpha: float = ALPHA
) -> dict[Key, Comparison]:
    """Compare the first of each pair with the second, values by seed each: one family, whose deviations lean on it."""
    found = {key: changes(a, b) for key, (a, b) in pairs.items()}
    prior = Prior.of(each for each in found.values() if len(each) >= MIN_SEEDS)
    return _compared(found, prior, alpha)


def _compared(found: Mapping[Key, Sequence[float]], prior: Prior, alpha: float) -> dict[Key, Comparison]:
    told = {key: difference(each, prior if len(each) >= MIN_SEEDS else NO_PRIOR) for key, each in found.items()}
    tested = {key: d.p for key, d in told.items() if d is not None and d.p is not None and d.n >= MIN_SEEDS}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {key: Comparison(d, adjusted.get(key), _verdict(d, adjusted.get(key), alpha)) for key, d in told.items()}


def _verdict(difference: Difference | None, p_adjusted: float | None, alpha: float) -> Verdict | None:
    if difference is None:
        return "not comparable"
    if p_adjusted is None:
        return None
    if p_adjusted >= alpha:
        return "no difference shown"
    return "better" if difference.mean > 0 else "worse"


def _negative(value: float | None) -> float | None:
    return None if value is None else -value

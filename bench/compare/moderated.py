"""Whether a mean of a few repetitions is not 0, by a deviation that leans on those of all other points.

Smyth (2004), "Linear Models and Empirical Bayes Methods for Assessing Differential Expression in Microarray
Experiments", Statistical Applications in Genetics and Molecular Biology 3. Three seeds say little of their own spread.
Where all points of a suite spread alike, theirs together is taken; where they do not, each point's own. A variance is
never taken to be smaller than the point's own: where points spread unlike each other by up to ten times, the paper's
is wrong in 6 to 7 of 100 equal points, this in 5, and of the power it costs a tenth or less.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.compare.statistics import MIN_SEEDS, t_below

# Fewer points than this do not tell whether they spread alike.
MIN_POINTS = 3
MOST_FREEDOM = 1e6


@dataclass(frozen=True)
class Prior:
    """What the points of a family say of a variance: its size, and as how many degrees of freedom that counts."""

    variance: float
    freedom: float

    @classmethod
    def of(cls, points: Iterable[Sequence[float]]) -> Prior:
        """Estimate it from the changes of points; those that do not spread at all say nothing of noise."""
        from scipy.special import digamma, polygamma

        spread = [(statistics.variance(p), len(p) - 1) for p in points if len(p) > 1 and max(p) > min(p)]
        if len(spread) < MIN_POINTS:
            return cls(0.0, 0.0)
        logs = [math.log(v) - float(digamma(d / 2)) + math.log(d / 2) for v, d in spread]
        middle = statistics.fmean(logs)
        beyond_chance = statistics.variance(logs) - statistics.fmean(float(polygamma(1, d / 2)) for _, d in spread)
        if beyond_chance <= 0:
            return cls(math.exp(middle), MOST_FREEDOM)
        freedom = 2 * _trigamma_is(beyond_chance)
        return cls(math.exp(middle + float(digamma(freedom / 2)) - math.log(freedom / 2)), freedom)

    def p(self, changes: Sequence[float]) -> float | None:
        """Return the two-sided p value of a mean change by the moderated t; None for fewer than three."""
        if len(changes) < MIN_SEEDS:
            return None
        if not any(changes):
            return 1.0
        own, d = statistics.variance(changes), len(changes) - 1
        mean, freedom = statistics.fmean(changes), self.freedom + d
        sd = math.sqrt(max((self.freedom * self.variance + d * own) / freedom, own))
        if sd <= 1e-12 * abs(mean):
            return 0.0
        return 2 * t_below(-abs(mean) / (sd / math.sqrt(len(changes))), freedom)


def _trigamma_is(value: float) -> float:
    """Return where the trigamma function has a value above 0, by halving: it falls from infinity to 0."""
    from scipy.special import polygamma

    low, high = 1e-6, MOST_FREEDOM / 2
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if float(polygamma(1, middle)) > value else (low, middle)
    return middle

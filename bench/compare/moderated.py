"""A variance that leans on those of other points: three seeds say little of their own spread.

Smyth (2004), "Linear Models and Empirical Bayes Methods for Assessing Differential Expression in Microarray
Experiments", Statistical Applications in Genetics and Molecular Biology 3. Where all points of a family spread alike,
theirs together counts; where they do not, each point's own. A variance is never taken to be smaller than the point's
own, which the paper's can be where points spread unlike each other.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Fewer points than this do not tell whether they spread alike.
MIN_POINTS = 3
MOST_FREEDOM = 1e6


@dataclass(frozen=True)
class Prior:
    """What the points of a family say of a variance: its size, and as how many degrees of freedom that counts.

    `most` is the degrees of freedom that a variance can have in all.
    """

    variance: float = 0.0
    freedom: float = 0.0
    most: float = MOST_FREEDOM

    @classmethod
    def of(cls, points: Iterable[Sequence[float]], most: float = MOST_FREEDOM, share: float = 1.0) -> Prior:
        """Estimate it from the changes of points; those that do not spread at all say nothing of noise.

        Points that depend on each other, such as all pairs of a few strategies, look more alike than they are: their
        prior counts a `share` only, and as no more than they have in all.
        """
        from scipy.special import digamma, zeta  # zeta(2, x) is the trigamma function

        spread = [(statistics.variance(p), len(p) - 1) for p in points if _spreads(p)]
        if len(spread) < MIN_POINTS:
            return cls(most=most)
        logs = [math.log(v) - float(digamma(d / 2)) + math.log(d / 2) for v, d in spread]
        middle = statistics.fmean(logs)
        beyond_chance = statistics.variance(logs) - statistics.fmean(float(zeta(2, d / 2)) for _, d in spread)
        if beyond_chance <= 0:
            return cls(math.exp(middle), share * min(MOST_FREEDOM, most), most)
        freedom = 2 * _trigamma_is(beyond_chance)
        variance = math.exp(middle + float(digamma(freedom / 2)) - math.log(freedom / 2))
        return cls(variance, share * min(freedom, most), most)

    def leant(self, own: float, freedom: int) -> tuple[float, float]:
        """Return a point's variance leaning on this prior, and its degrees of freedom."""
        whole = self.freedom + freedom
        return max((self.freedom * self.variance + freedom * own) / whole, own), min(whole, max(self.most, freedom))


def _spreads(changes: Sequence[float]) -> bool:
    """Say whether changes differ by more than rounding."""
    return len(changes) > 1 and max(changes) - min(changes) > 1e-9 * max(map(abs, changes))


def _trigamma_is(value: float) -> float:
    """Return where the trigamma function has a value above 0, by halving: it falls from infinity to 0."""
    from scipy.special import zeta

    low, high = 1e-6, MOST_FREEDOM / 2
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if float(zeta(2, middle)) > value else (low, middle)
    return middle

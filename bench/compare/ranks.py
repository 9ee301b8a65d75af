"""Strategies over several data sets: mean ranks, Friedman's test, and the difference of ranks that is critical.

Demšar (2006), "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.compare.statistics import ALPHA


@dataclass(frozen=True)
class Ranks:
    """Mean rank of each strategy over `n` data sets, 1 is best; ties share the mean of their ranks.

    `p` is that of Friedman's test (1937) in the form of Iman and Davenport (1980): that all are equally good. Where all
    data sets rank alike that form has no end, and `p` is the chance that they do. Two whose mean ranks differ by
    `critical` or more are told apart by Nemenyi's test (1963) at 5 %.
    """

    n: int
    mean: Mapping[str, float]
    p: float
    critical: float

    def apart(self, a: str, b: str) -> bool:
        """Say whether two strategies are told apart."""
        return self.p < ALPHA and abs(self.mean[a] - self.mean[b]) >= self.critical


def ranks(values: Mapping[str, Sequence[float]]) -> Ranks | None:
    """Rank strategies, each with one value per data set in the same order, higher is better.

    None under two data sets or two strategies.
    """
    from scipy.special import fdtrc
    from scipy.stats import rankdata, studentized_range

    names = list(values)
    k, n = len(names), min((len(v) for v in values.values()), default=0)
    if k < 2 or n < 2:
        return None
    table = rankdata([[-values[name][i] for name in names] for i in range(n)], axis=1)
    mean = table.mean(axis=0)
    if (table == table[0]).all():
        p = _alike(table[0].tolist(), n)
    else:
        # Ties take their share out of the variance that ranks have by chance.
        chance = float(((table - (k + 1) / 2) ** 2).sum()) / (n * (k - 1))
        friedman = n * float(((mean - (k + 1) / 2) ** 2).sum()) / chance
        p = float(fdtrc(k - 1, (k - 1) * (n - 1), (n - 1) * friedman / (n * (k - 1) - friedman)))
    critical = float(studentized_range.ppf(1 - ALPHA, k, math.inf)) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * n))
    return Ranks(n, dict(zip(names, map(float, mean), strict=True)), p, critical)


def _alike(row: Sequence[float], n: int) -> float:
    """Return the chance that `n` data sets rank alike where each order of such ranks is as likely as the others."""
    orders = math.factorial(len(row)) // math.prod(map(math.factorial, Counter(row).values()))
    return float(orders) ** (1 - n)

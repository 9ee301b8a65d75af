"""How much a metric hangs on the very test examples: intervals over bootstrap draws of them (Efron, 1979).

Draws are stratified: of each class as many as there are, with replacement. The trained model stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.quality.confusion import Counts, Margins
from bench.quality.curves import one_against_rest

DRAWS = 1000
# Areas under curves need every example of every draw: of many examples and classes there are fewer draws, or none.
FEWEST_DRAWS, MOST_WORK = 100, 20_000_000
PIECE = 100


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval."""

    low: float
    high: float


def drawn_margins(counts: Counts, draws: int = DRAWS, seed: int = 0) -> Margins:
    """Return the margins, [draws, classes], of confusion matrices of new draws of the examples of each class.

    To draw the examples of a class anew is to draw how many of them are taken for what: a few numbers instead of n.
    """
    generator = np.random.default_rng(seed)
    hits, called = (np.zeros((draws, len(counts)), np.int64) for _ in range(2))
    for c in np.flatnonzero(counts.sum(axis=1)):
        row = counts[c]
        taken_for = np.flatnonzero(row)
        drawn = generator.multinomial(row.sum(), row[taken_for] / row.sum(), size=draws)
        called[:, taken_for] += drawn
        hits[:, c] = drawn[:, taken_for == c].sum(axis=1)
    return Margins(hits, np.broadcast_to(counts.sum(axis=1), hits.shape), called)


def drawn_weights(labels: NDArray[np.int64], draws: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return how often each example is drawn, float [draws, n]."""
    found = np.zeros((draws, len(labels)), np.float32)
    for c in np.unique(labels):
        mine = np.flatnonzero(labels == c)
        drawn = generator.integers(len(mine), size=(draws, len(mine))) + len(mine) * np.arange(draws)[:, None]
        found[:, mine] = np.bincount(drawn.ravel(), minlength=draws * len(mine)).reshape(draws, -1)
    return found


def draws_of_areas(examples: int, classes: int) -> int:
    """Return how many draws the areas under curves get; 0 where too few could be had in a second."""
    most = MOST_WORK // max(examples * classes, 1)
    return min(DRAWS, most) if most >= FEWEST_DRAWS else 0


def drawn_areas(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], draws: int, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return AUROC and AUPRC of each class against the rest, float [draws, classes]."""
    generator = np.random.default_rng(seed)
    sizes = [PIECE] * (draws // PIECE) + [draws % PIECE] * (draws % PIECE > 0)
    parts = [one_against_rest(labels, probabilities, drawn_weights(labels, n, generator)) for n in sizes]
    none = np.empty((0, probabilities.shape[1]))
    roc, pr = (np.concatenate([none, *(part[which] for part in parts)]) for which in (0, 1))
    return roc, pr


def interval(values: NDArray[np.float64]) -> Interval | None:
    """Return the interval of a metric over its draws [draws]; None where it is not defined in half of them."""
    known = values[~np.isnan(values)]
    if 2 * len(known) < len(values) or not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(float(low), float(high))


def wilson(part: int, whole: int) -> Interval | None:
    """Return the 95 % interval of a share of few examples (Wilson, 1927); None of nothing."""
    if not whole:
        return None
    z, p = 1.959963984540054, part / whole
    middle, half = p + z * z / (2 * whole), z * math.sqrt(p * (1 - p) / whole + z * z / (4 * whole * whole))
    low, high = ((middle + sign * half) / (1 + z * z / whole) for sign in (-1, 1))
    # At the ends rounding leaves a little less than nothing, and more than all.
    return Interval(max(low, 0.0), min(high, 1.0))

"""Learning curves over data size: a power law with a floor, where two curves meet, how many labels one needs.

error(n) = floor + scale * n ** -slope   (Cortes et al., 1993, "Learning Curves: Asymptotic Values and Rate of
Convergence"; Hestness et al., 2017, arXiv 1712.00409)

Uncertainty is that of the means over seeds: a thousand sets of means are drawn, each size's from its own t
distribution, and the same question is asked of each. Intervals are quantiles of the answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.compare.statistics import summarise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAWS = 1000
# A law of three numbers says nothing of the next size unless there are as many sizes as that.
MIN_SIZES = 3
# Nobody should be told of what lies further from the measured sizes than this.
MOST_TIMES = 100.0
FLOORS = 32


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval. `low` or `high` is None where there is no end: fewer or more than was looked at.

    All three are None when there is no such value at all, and `low` and `high` when there is no spread to tell from.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Law:
    """A fitted curve of error against n, and those of the drawn means: arrays [1 + DRAWS], the fit itself first."""

    sizes: tuple[int, ...]
    floor: Floats
    scale: Floats
    slope: Floats

    def error(self, n: float | Sequence[float] | Floats) -> Floats:
        """Return errors at sizes, [1 + draws, sizes]."""
        import numpy as np

        logs = np.log(np.atleast_1d(np.asarray(n, dtype=float)))
        found: Floats = self.floor[:, None] + self.scale[:, None] * np.exp(-self.slope[:, None] * logs[None, :])
        return found

    def at(self, n: float) -> Interval:
        """Return the error to expect at a size."""
        return _interval(self.error(n)[:, 0], -math.inf, math.inf)

    def labels_for(self, error: float) -> Interval:
        """Return how many labels reach an error: None and no `high` when the floor is above it."""
        import numpy as np

        room = error - self.floor
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            n = (self.scale / room) ** (1 / self.slope)
        n = np.where(room > 0, n, np.inf)
        return _interval(np.nan_to_num(n, nan=np.inf), 0.0, MOST_TIMES * max(self.sizes))


def fit(values: Mapping[int, Sequence[float]]) -> Law | None:
    """Fit errors by size, each the errors of its seeds; None for fewer than three sizes or an error of 0 or less."""
    import numpy as np

    found = {n: summarise(list(held)) for n, held in sorted(values.items())}
    held = {n: s for n, s in found.items() if s is not None}
    if len(held) < MIN_SIZES or any(s.mean <= 0 for s in held.values()):
        return None
    draws = _draws([(s.mean, s.sd, s.n) for s in held.values()])
    usable = draws[(draws > 0).all(axis=1)]
    sizes = tuple(held)
    return Law(sizes, *_fit(np.log(np.array(sizes, dtype=float)), usable))


def meeting(a: Law, b: Law) -> Interval:
    """Return the size from which on `a` has no more error than `b`, by their fits, up to 100 times the largest size.

    The value is None when that is nowhere; 0 stands for everywhere from the smallest size on.
    """
    import numpy as np

    first, last = min(a.sizes + b.sizes), max(a.sizes + b.sizes) * MOST_TIMES
    grid = np.geomspace(first, last, 400)
    count = min(len(a.floor), len(b.floor))
    behind = a.error(grid)[:count] > b.error(grid)[:count]
    # The size after the last one at which `a` is still behind: none is 0, and after the last of all comes none.
    after = np.concatenate([[0.0], grid[1:], [np.inf]])
    n = after[np.where(behind.any(axis=1), len(grid) - behind[:, ::-1].argmax(axis=1), 0)]
    return _interval(n, float(first), float(last))


def crossing(a: Mapping[int, Mapping[int, float]], b: Mapping[int, Mapping[int, float]]) -> Interval:
    """Return where `b` overtakes `a` among the measured sizes: values by size and seed, higher is better.

    Between two sizes the means are joined by a line in log n. `low` is None when `b` may be ahead at the smallest size
    already, `high` when it may not be ahead at the largest yet.
    """
    import numpy as np

    gaps = {n: summarise([a[n][s] - b[n][s] for s in a[n].keys() & b[n].keys()]) for n in a.keys() & b.keys()}
    held = [(n, gap) for n, gap in sorted(gaps.items()) if gap is not None]
    if len(held) < 2:
        return Interval(None, None, None)
    drawn = _draws([(gap.mean, gap.sd, gap.n) for _, gap in held])
    logs = np.log(np.array([n for n, _ in held], dtype=float))
    at = np.exp(_first_fall(logs, drawn))
    return _interval(at, float(held[0][0]), float(held[-1][0]))


def _first_fall(logs: Floats, gaps: Floats) -> Floats:
    """Return the log size at which each row of gaps first falls to 0: -inf from the start, inf never."""
    import numpy as np

    below = gaps <= 0
    first = np.where(below.any(axis=1), below.argmax(axis=1), len(logs))
    inside = np.clip(first, 1, len(logs) - 1)
    rows = np.arange(len(gaps))
    before, after = gaps[rows, inside - 1], gaps[rows, inside]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = before / (before - after)
    at = logs[inside - 1] + share * (logs[inside] - logs[inside - 1])
    result: Floats = np.where(first == 0, -np.inf, np.where(first == len(logs), np.inf, at))
    return result


def _draws(held: Sequence[tuple[float, float | None, int]]) -> Floats:
    """Return the means of (mean, deviation, count), and draws of what they could have been, [1 + draws, sizes]."""
    import numpy as np

    means = np.array([mean for mean, _, _ in held])
    if any(sd is None for _, sd, _ in held):
        return means[None, :]
    generator = np.random.default_rng(0)
    errors = np.array([(sd or 0.0) / math.sqrt(n) for _, sd, n in held])
    noise = np.stack([generator.standard_t(n - 1, DRAWS) for _, _, n in held], axis=1)
    return np.concatenate([means[None, :], means + noise * errors])


def _fit(x: Floats, errors: Floats) -> tuple[Floats, Floats, Floats]:
    """Return floor, scale and slope of each row of errors [rows, sizes] at log sizes x: least squares.

    For a given floor the law is a line in logarithms; of a ladder of floors the one with the least squares is taken.
    """
    import numpy as np

    ladder = 1 - np.geomspace(1e-3, 1.0, FLOORS)[::-1]  # from no floor to just under the smallest error
    floors = ladder[None, :] * errors.min(axis=1, keepdims=True)
    above = errors[:, None, :] - floors[:, :, None]
    y = np.log(above)
    weights = above**2  # an error of the sum is an error of the logarithm, divided by the height
    total = weights.sum(axis=2, keepdims=True)
    mx, my = (weights * x).sum(axis=2, keepdims=True) / total, (weights * y).sum(axis=2, keepdims=True) / total
    spread = (weights * (x - mx) ** 2).sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = -(weights * (x - mx) * (y - my)).sum(axis=2) / spread
    slope = np.maximum(np.nan_to_num(slope), 1e-6)
    log_scale = (my + slope[:, :, None] * mx)[:, :, 0]
    fitted = floors[:, :, None] + np.exp(log_scale[:, :, None] - slope[:, :, None] * x)
    best = ((fitted - errors[:, None, :]) ** 2).sum(axis=2).argmin(axis=1)
    rows = np.arange(len(errors))
    return floors[rows, best], np.exp(log_scale[rows, best]), slope[rows, best]


def _interval(answers: Floats, lowest: float, highest: float) -> Interval:
    """Return the first answer and the quantiles of the rest; what is outside of what was looked at has no end."""
    import numpy as np

    def end(value: float) -> float | None:
        return float(value) if lowest < value <= highest and math.isfinite(value) else None

    first = float(answers[0])
    shown = first if math.isfinite(first) and first <= highest else None
    if len(answers) == 1:
        return Interval(shown, None, None)
    low, high = np.quantile(answers[1:], [0.025, 0.975], method="closest_observation")
    return Interval(shown, end(low), end(high))

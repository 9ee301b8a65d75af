"""The same test examples answered by two cells: what their right and wrong answers say beyond seeds.

Seeds tell how much a mean moves with another draw of labels and weights; the test examples, how much it moves with
another test set of the same kind.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Right = NDArray[np.bool_]

RESAMPLES = 2000


@dataclass(frozen=True)
class Resampled:
    """A mean over test examples, with its 95 % bootstrap interval (Efron, 1979): percentiles over resamples."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """Two cells on the same examples: how many only the first got right, only the second, and the exact p value.

    McNemar (1947): of the examples that they answer differently, half would go each way if they were equally good.
    """

    only_first: int
    only_second: int
    p: float


def right_of(details: Mapping[str, Any]) -> Right | None:
    """Return whether each test example was right, bool [asked], from a record's details; None where they don't say.

    Raises ValueError when the answers are not of as many examples as were asked.
    """
    import numpy as np

    kept, count = details.get("right"), details.get("asked")
    if not isinstance(kept, str) or not isinstance(count, int):
        return None
    bits = np.frombuffer(base64.b64decode(kept, validate=True), dtype=np.uint8)
    if len(bits) != -(-count // 8):
        raise ValueError(f"{len(bits)} bytes of answers for {count} examples")
    return np.unpackbits(bits, count=count).astype(bool)


def mcnemar(first: Right, second: Right) -> McNemar:
    """Compare two cells example by example; arrays bool [n]."""
    from scipy.special import bdtr

    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    p = 1.0 if b == c else min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))
    return McNemar(b, c, p)


def difference(first: Sequence[Right], second: Sequence[Right]) -> Resampled:
    """Return the difference of mean accuracies of two strategies over the same seeds, bool [n] each, on new examples.

    Seeds stay as they are; the examples are drawn again, the same for all seeds and both strategies.
    """
    import numpy as np

    by_example = np.mean([f.astype(float) - s for f, s in zip(first, second, strict=True)], axis=0)
    return resampled(by_example)


def apart(first: Sequence[Right], second: Sequence[Right]) -> Resampled:
    """Return the difference of mean accuracies on two test sets, bool [seeds][n] and [seeds][m], on other examples.

    The examples of each are drawn again on their own.
    """
    import numpy as np

    a, b = (np.mean([right.astype(float) for right in side], axis=0) for side in (first, second))
    low, high = np.quantile(_means(a, 0) - _means(b, 1), [0.025, 0.975])
    return Resampled(float(a.mean() - b.mean()), float(low), float(high))


def resampled(by_example: NDArray[np.float64]) -> Resampled:
    """Return the mean of one number an example, float [n], and its interval over other draws of examples."""
    import numpy as np

    low, high = np.quantile(_means(by_example, 0), [0.025, 0.975])
    return Resampled(float(by_example.mean()), float(low), float(high))


def _means(by_example: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return the mean of each of many draws of as many examples, with replacement."""
    import numpy as np

    n = len(by_example)
    values, counts = np.unique(by_example, return_counts=True)
    # Drawing n examples with replacement is drawing how many of each value: a few numbers instead of n.
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=RESAMPLES)
    means: NDArray[np.float64] = drawn @ values / n
    return means

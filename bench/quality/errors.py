"""Where a classifier goes wrong: its surest mistakes, what it mixes up, which examples are hard, and for whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.quality.bootstrap import Interval, wilson
from bench.quality.confusion import Counts

# Confidences up to which the bins of a table go; the first is below what a guess between two classes has.
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Slice:
    """A part of the examples: how many there are, how many are wrong, the accuracy and its 95 % interval (Wilson)."""

    name: str
    count: int
    wrong: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Pair:
    """`count` examples of the class `true` were taken for `predicted`: a `share` of that class."""

    true: int
    predicted: int
    count: int
    share: float


def surest_mistakes(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the wrong answers, the most confident first; of equals, in the order of the examples."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities.max(axis=1)[wrong], kind="stable")]


def confused_pairs(counts: Counts) -> list[Pair]:
    """Return what was taken for what, the most frequent first; of equals, the larger part of a class."""
    support = counts.sum(axis=1)
    found = [
        Pair(int(t), int(p), int(counts[t, p]), float(counts[t, p] / support[t]))
        for t, p in zip(*np.nonzero(counts), strict=True)
        if t != p
    ]
    return sorted(found, key=lambda pair: (-pair.count, -pair.share, pair.true, pair.predicted))


def by_confidence(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[Slice]:
    """Return the examples by how sure the model was, the least sure first; bins without any are left out."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.searchsorted(CONFIDENCES, np.minimum(confidence, 1.0), side="left")
    lows = (0.0, *CONFIDENCES)
    names = [f"{low:g} to {high:g}" for low, high in zip(lows, CONFIDENCES, strict=False)]
    names[0] = f"up to {CONFIDENCES[0]:g}"
    return _sliced(right, bins, names)


def by_group(right: NDArray[np.bool_], groups: NDArray[np.int64] | None, least: int = 1) -> list[Slice] | None:
    """Return the groups, such as patients, of at least so many examples, the worst first; None where there are none.

    `groups` int64 [n] has the group of each example.
    """
    if groups is None:
        return None
    names, of = np.unique(groups, return_inverse=True)
    found = [s for s in _sliced(right, of, [str(name) for name in names]) if s.count >= least]
    return sorted(found, key=lambda one: (one.accuracy, -one.count))


def by_length(right: NDArray[np.bool_], lengths: NDArray[np.int64] | None) -> list[Slice] | None:
    """Return the examples by length in quarters, the shortest first; of equal length all are in one.

    `lengths` int64 [n]. None where they are not known, or all are alike.
    """
    if lengths is None or len(np.unique(lengths)) < 2:
        return None
    bounds = np.unique(np.quantile(lengths, (0.25, 0.5, 0.75), method="lower"))
    bins = np.searchsorted(bounds, lengths, side="left")
    names = [
        "" if not len(held) else f"{held.min()}" if held.min() == held.max() else f"{held.min()} to {held.max()}"
        for held in (lengths[bins == b] for b in range(len(bounds) + 1))
    ]
    return _sliced(right, bins, names)


def hardest(right: Sequence[NDArray[np.bool_]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of the examples that any of several models got wrong, and by how many; most first.

    `right` has bool [n] of each model, on the same examples.
    """
    wrong = np.sum([~answers for answers in right], axis=0)
    places = np.argsort(-wrong, kind="stable")[: int((wrong > 0).sum())]
    return places, wrong[places]


def suspected_labels(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the places of labels that are likely wrong, the least likely label first (Northcutt et al., 2021).

    Confident learning: an example counts against its label when the model is as sure of another class as it is on
    average of that class's own examples. Raises ImportError without the package cleanlab, and ValueError for what it
    cannot judge.
    """
    from cleanlab.filter import find_label_issues

    found: NDArray[np.int64] = find_label_issues(
        labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    return found


def _sliced(right: NDArray[np.bool_], of: NDArray[np.int64], names: Sequence[str]) -> list[Slice]:
    counts = np.bincount(of, minlength=len(names))
    wrong = np.bincount(of, weights=~right, minlength=len(names)).astype(int)
    return [
        Slice(name, int(n), int(bad), float(1 - bad / n), interval)
        for name, n, bad in zip(names, counts, wrong, strict=True)
        if (interval := wilson(int(n - bad), int(n))) is not None
    ]

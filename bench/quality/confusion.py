"""Metrics of a confusion matrix, or of many bootstrap draws of one at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Margins:
    """What the metrics need of a confusion matrix, int64 [..., classes]: of many draws of many classes it is little.

    `hits` are examples of a class that are called it, `support` those of the class, `called` those that are called it.
    """

    hits: Counts
    support: Counts
    called: Counts


@dataclass(frozen=True)
class ByClass:
    """One class against the rest, each float [..., classes]; nan where it is not defined.

    `precision` of what is called the class, the part that is it; `sensitivity` (recall) of the class, the part that is
    called it; `specificity` of the rest, the part that is not called it; `f1` = 2 TP / (2 TP + FP + FN). All but
    specificity need an example of the class, and precision that it is predicted once.
    """

    precision: Values
    sensitivity: Values
    specificity: Values
    f1: Values


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Counts:
    """Return counts int64 [true, predicted]."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def margins(counts: Counts) -> Margins:
    """Return the margins of counts [true, predicted]."""
    return Margins(counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0))


def by_class(of: Margins) -> ByClass:
    """Return the metrics of each class."""
    rest = of.support.sum(axis=-1, keepdims=True) - of.support
    return ByClass(
        precision=_ratio(of.hits, np.where(of.support, of.called, 0)),
        sensitivity=_ratio(of.hits, of.support),
        specificity=_ratio(rest - of.called + of.hits, rest),
        f1=_ratio(2 * of.hits, np.where(of.support, of.support + of.called, 0)),
    )


def overall(of: Margins) -> dict[str, Values]:
    """Return metrics over all classes by name, each float [...]; nan where a class that they need has no example.

    `balanced_accuracy` is the mean sensitivity of the classes, `weighted_f1` weighs F1 by their examples, and `mcc` is
    the correlation of truth and prediction for many classes (Gorodkin, 2004).
    """
    each = by_class(of)
    hits, total = of.hits.sum(axis=-1), of.support.sum(axis=-1)
    called, support, square = of.called.astype(float), of.support.astype(float), total.astype(float) ** 2
    spread = np.sqrt((square - (called**2).sum(axis=-1)) * (square - (support**2).sum(axis=-1)))
    return {
        "accuracy": _ratio(hits, total),
        "balanced_accuracy": each.sensitivity.mean(axis=-1),
        "macro_specificity": each.specificity.mean(axis=-1),
        "macro_f1": each.f1.mean(axis=-1),
        "weighted_f1": _ratio((np.nan_to_num(each.f1) * support).sum(axis=-1), total),
        "mcc": _ratio(hits * total.astype(float) - (called * support).sum(axis=-1), spread),
    }


def _ratio(part: NDArray[np.generic], whole: NDArray[np.generic]) -> Values:
    """Return part / whole, nan where the whole is nothing."""
    found: Values = np.full(np.broadcast_shapes(np.shape(part), np.shape(whole)), np.nan)
    np.divide(part, whole, out=found, where=np.asarray(whole) != 0)
    return found

"""One class against the rest by its probability: ROC, precision and recall, the areas under them, a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Positive = NDArray[np.bool_]


@dataclass(frozen=True)
class Curve:
    """What calling "positive" from each of the scores on downwards gives, float [steps + 1]; the first calls none.

    `precision` of calling none is 1, as scikit-learn has it: no point of its own, where the line begins.
    """

    false_positive_rate: Values
    sensitivity: Values
    precision: Values


@dataclass(frozen=True)
class Operating:
    """Counts at a threshold: a score of at least that is called positive."""

    hits: int
    misses: int
    false_alarms: int
    rejections: int

    @property
    def sensitivity(self) -> float:
        """Of the positives, the part that is called so; nan without any."""
        return _share(self.hits, self.misses)

    @property
    def specificity(self) -> float:
        """Of the negatives, the part that is called so; nan without any."""
        return _share(self.rejections, self.false_alarms)

    @property
    def precision(self) -> float:
        """Of what is called positive, the part that is; nan where nothing is."""
        return _share(self.hits, self.false_alarms)


def curve(positive: Positive, scores: Values) -> Curve:
    """Return the curves of scores float [n]; rates are nan where there are no positives, or no negatives."""
    tp, fp = _steps(positive, scores, np.ones((1, len(scores)), np.float32))
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = fp[0] / np.sum(~positive), tp[0] / np.sum(positive)
        precision = tp[0] / (tp[0] + fp[0])
    return Curve(*(np.append(first, line) for first, line in zip((0.0, 0.0, 1.0), (*rates, precision), strict=True)))


def areas(positive: Positive, scores: Values, weights: NDArray[np.float32] | None = None) -> tuple[Values, Values]:
    """Return AUROC and AUPRC, float [draws], of weights [draws, n] for the examples: how often each was drawn.

    AUROC by trapezoids, so that a tie counts half; AUPRC is the average precision, sum of precision * step of recall,
    without straight lines between points, which would be too kind (Davis and Goadrich, 2006). nan without a positive
    or a negative.
    """
    tp, fp = _steps(positive, scores, np.ones((1, len(scores)), np.float32) if weights is None else weights)
    positives, negatives = tp[:, -1], fp[:, -1]
    rise, run = np.diff(tp, axis=1, prepend=0), np.diff(fp, axis=1, prepend=0)
    called = tp + fp
    precision = np.divide(tp, called, out=np.zeros_like(tp), where=called > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        roc = ((tp - rise / 2) * run).sum(axis=1) / (positives * negatives)
        pr = (rise * precision).sum(axis=1) / np.where(negatives > 0, positives, np.nan)
    return roc, pr


def one_against_rest(
    labels: NDArray[np.int64], probabilities: Values, weights: NDArray[np.float32] | None = None
) -> tuple[Values, Values]:
    """Return AUROC and AUPRC of each class, float [draws, classes]."""
    found = [areas(labels == c, probabilities[:, c], weights) for c in range(probabilities.shape[1])]
    roc, pr = (np.stack([pair[which] for pair in found], axis=1) for which in (0, 1))
    return roc, pr


def operating(positive: Positive, scores: Values, threshold: float) -> Operating:
    """Return what a threshold does."""
    called = scores >= threshold
    counts = (positive & called, positive & ~called, ~positive & called, ~positive & ~called)
    return Operating(*(int(found.sum()) for found in counts))


def youden(positive: Positive, scores: Values) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1 (Youden, 1950).

    It lies midway between two neighbouring scores in [0, 1]; of several as good, the one nearest to 0.5.
    """
    thresholds, sensitivity, specificity = _candidates(positive, scores)
    index = sensitivity + specificity - 1
    best = np.flatnonzero(index >= index.max() - 1e-12)
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]])


def at_specificity(positive: Positive, scores: Values, least: float) -> float:
    """Return the threshold with the largest sensitivity at a specificity of at least `least`; infinite: call none."""
    thresholds, sensitivity, specificity = _candidates(positive, scores)
    allowed = np.flatnonzero(specificity >= least - 1e-12)
    order = np.lexsort((specificity[allowed], sensitivity[allowed]))
    return float(thresholds[allowed[order[-1]]])


def _candidates(positive: Positive, scores: Values) -> tuple[Values, Values, Values]:
    """Return thresholds, from "call none" to "call all", with the sensitivity and specificity of each."""
    values = np.unique(scores)[::-1]
    middle = (values[:-1] + values[1:]) / 2
    none = (values[0] + 1) / 2 if values[0] < 1 else np.inf
    drawn = curve(positive, scores)
    return np.concatenate([[none], middle, [0.0]]), drawn.sensitivity, 1 - drawn.false_positive_rate


def _steps(positive: Positive, scores: Values, weights: NDArray[np.float32]) -> tuple[Any, Any]:
    """Return true and false positives, float64 [draws, distinct scores], from the highest score on downwards."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    drawn = weights[:, order]
    both = np.cumsum(drawn, axis=1, dtype=np.float64)[:, ends]
    hits = np.cumsum(drawn * positive[order], axis=1, dtype=np.float64)[:, ends]
    return hits, both - hits


def _share(part: int, other: int) -> float:
    return part / (part + other) if part + other else float("nan")

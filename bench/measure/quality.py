"""Quality of predictions: what a set of logits and labels says, from scikit-learn's metrics and a stated ECE."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.quality.probabilities import expected_calibration_error, negative_log_likelihood, softmax
from bench.tasks import Score

# A table of confusions of more classes would be larger than the rest of a record.
MOST_CONFUSED = 100


def quality(logits: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str]) -> Score:
    """Return accuracy, macro-F1, one-vs-rest AUROC (macro), NLL in nats and ECE of logits [n, classes].

    AUROC needs each class among the labels, with and without it; otherwise it is None and the reason names the class.
    The details say which examples were right, and of up to 100 classes what was taken for what.
    """
    from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

    probabilities = softmax(logits)
    predicted = logits.argmax(axis=1)
    every = np.arange(len(classes))
    metrics: dict[str, float | None] = {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, labels=every, average="macro", zero_division=0.0)),
        "nll": negative_log_likelihood(logits, labels),
        "ece": expected_calibration_error(probabilities, labels),
        "auroc": None,
    }
    reasons: dict[str, str] = {}
    counts = np.bincount(labels, minlength=len(classes))
    absent = [classes[int(c)] for c in every if counts[c] == 0 or counts[c] == len(labels)]
    if absent:
        reasons["metrics.auroc"] = f"the scored examples have no contrast for the class {absent[0]!r}"
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            per_class = [roc_auc_score(labels == c, probabilities[:, c]) for c in every]
        metrics["auroc"] = float(np.mean(per_class))
    return Score(metrics, reasons, _details(predicted, labels, classes))


def _details(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """Return how many examples were `asked`, which were `right`, and `confusion`, counts [true][predicted].

    `right` is one bit for each example, in base64. `confusion` comes with its `classes`.
    """
    right = base64.b64encode(np.packbits(predicted == labels).tobytes()).decode()
    found: dict[str, Any] = {"asked": len(labels), "right": right}
    if len(classes) <= MOST_CONFUSED:
        pairs = np.bincount(labels * len(classes) + predicted, minlength=len(classes) ** 2)
        found |= {"classes": list(classes), "confusion": pairs.reshape(len(classes), -1).tolist()}
    return found

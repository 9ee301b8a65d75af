"""Probabilities and how far they can be believed: softmax, log-likelihood, calibration, temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ECE_BINS = 15
# A temperature is looked for between these: where every answer is right, the likelihood has no maximum.
COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Reliability:
    """Bins of confidence in the top class: examples, their mean confidence and accuracy, each [bins]; nan of none."""

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return probabilities [n, classes] that sum to 1 in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    result: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return result


def negative_log_likelihood(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the mean of -log p(right class), in nats, from logits [n, classes].

    From probabilities, as scikit-learn has it, no mistake could cost more than 36 nats: smaller ones are clipped.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    right = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - right))


def expected_calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the ECE of the top class over 15 bins of equal width on (0, 1] (Guo et al., 2017, arXiv 1706.04599).

    sum over bins of |B|/n * |accuracy(B) - mean confidence(B)|.
    """
    confidence, right, bins = _binned(probabilities, labels)
    gaps = np.bincount(bins, weights=right.astype(float) - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def reliability(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Reliability:
    """Return what a reliability diagram shows, over the bins of the ECE."""
    confidence, right, bins = _binned(probabilities, labels)
    counts = np.bincount(bins, minlength=ECE_BINS)
    known = np.where(counts, counts, np.nan)
    mean, share = (np.bincount(bins, weights=x.astype(float), minlength=ECE_BINS) / known for x in (confidence, right))
    return Reliability(counts, mean, share)


def temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the T that makes softmax(logits / T) most likely on held-out examples (Guo et al., 2017).

    The likelihood has one maximum in log T, found by golden section to a relative 1e-6, between 0.05 and 20.
    """
    ratio = (np.sqrt(5) - 1) / 2
    low, high = np.log(COLDEST), np.log(HOTTEST)
    while high - low > 1e-6:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        costs = [negative_log_likelihood(logits / np.float32(np.exp(at)), labels) for at in (left, right)]
        low, high = (low, right) if costs[0] <= costs[1] else (left, high)
    return float(np.exp((low + high) / 2))


def _binned(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return of each example the confidence in its top class, whether that is right, and the bin."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    return confidence, right, bins

"""Stratified, nested draws of labelled examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def nested_order(labels: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Return an order of all examples whose every beginning is stratified: 100 is inside 500 is inside 2000.

    First one example of each class, then always the class that is furthest behind its share, by the divisor method of
    Sainte-Lague (1910): each next seat goes to the largest count / (2 * seats + 1). Unlike rounding quotas for each
    size apart, it never takes an example back when the size grows. Within a class the order is random.
    """
    classes, counts = np.unique(labels, return_counts=True)
    shuffled = [generator.permutation(np.flatnonzero(labels == c)) for c in classes]
    place = np.concatenate([np.arange(n) for n in counts])
    owner = np.repeat(np.arange(len(classes)), counts)
    claim = np.repeat(counts, counts) / (2 * place + 1)
    tie = generator.permutation(len(classes))[owner]
    rank = np.lexsort((tie, -claim, place > 0))
    return np.concatenate(shuffled)[rank].astype(np.int64)

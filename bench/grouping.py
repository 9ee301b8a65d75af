"""Splits by group: all pictures of a patient on one side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def held_out(
    labels: NDArray[np.int64], groups: NDArray[np.int64], order: Sequence[int], share: float
) -> NDArray[np.bool_]:
    """Return which examples are held out, bool [n]: whole groups, with about `share` of each class.

    `labels` and `groups` are int64 [n]; `order` is every group once, and those that come first are taken first. A group
    is taken when that brings the classes in it nearer to their shares, as the sum of squared relative distances has it.
    A class aims at round(n * share) examples, but at least 1, and keeps at least one group; one that got none takes the
    smallest group that can be spared. With one example a group this is the stratified split of the same order.
    """
    import numpy as np

    classes = int(labels.max(initial=-1)) + 1
    keys, counts = np.unique(groups * classes + labels, return_counts=True)
    members: dict[int, list[tuple[int, int]]] = {}
    for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
        group, label = divmod(key, classes)
        members.setdefault(group, []).append((label, count))
    left = np.bincount(labels, minlength=classes).tolist()
    aim = [max(1, round(n * share)) for n in left]
    taken = [0] * classes
    held: set[int] = set()

    def take(group: int) -> None:
        held.add(group)
        for label, count in members[group]:
            taken[label] += count
            left[label] -= count

    def spare(group: int) -> bool:
        return group not in held and all(left[label] > count for label, count in members[group])

    for group in order:
        nearer = sum(c * (c + 2 * (taken[y] - aim[y])) / aim[y] ** 2 for y, c in members[group])
        if nearer < 0 and spare(group):
            take(group)
    for label in range(classes):
        if not taken[label]:
            able = [g for g in order if any(y == label for y, _ in members[g]) and spare(g)]
            if able:
                take(min(able, key=lambda g: sum(c for _, c in members[g])))
    return np.isin(groups, np.array(sorted(held), np.int64))

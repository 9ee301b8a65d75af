"""Stratified, nested draws of labelled examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.grouping import held_out

# Of the pool, the groups that training reaches last, so that there are some left to watch the learning on.
WATCHED_SHARE = 0.2


def nested_order(
    labels: NDArray[np.int64], generator: np.random.Generator, late: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return an order of all examples whose every beginning is stratified: 100 is inside 500 is inside 2000.

    First one example of each class, then always the class that is furthest behind its share, by the divisor method of
    Sainte-Lague (1910): each next seat goes to the largest count / (2 * seats + 1). Unlike rounding quotas for each
    size apart, it never takes an example back when the size grows. Within a class the order is random; where there is
    `late`, int64 [n], examples of a lower number come first.
    """
    classes, counts = np.unique(labels, return_counts=True)
    shuffled = [generator.permutation(np.flatnonzero(labels == c)) for c in classes]
    if late is not None:
        shuffled = [members[np.argsort(late[members], kind="stable")] for members in shuffled]
    place = np.concatenate([np.arange(n) for n in counts])
    owner = np.repeat(np.arange(len(classes)), counts)
    claim = np.repeat(counts, counts) / (2 * place + 1)
    tie = generator.permutation(len(classes))[owner]
    rank = np.lexsort((tie, -claim, place > 0))
    return np.concatenate(shuffled)[rank].astype(np.int64)


@dataclass(frozen=True)
class Drawn:
    """What a cell learns from: positions in the training pool. `monitor` is the whole rest, the farthest first."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    monitor: NDArray[np.int64]


def drawn(labels: NDArray[np.int64], generator: np.random.Generator, size: int, held: int) -> Drawn:
    """Draw `size` examples, the last `held` of them for validation."""
    order = nested_order(labels, generator)
    chosen, rest = order[:size], order[size:]
    # The monitor pool is the same for every size: drawn from the far end of the order.
    return Drawn(chosen[: size - held], chosen[size - held :], rest[::-1])


def drawn_by_group(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    generator: np.random.Generator,
    size: int,
    held: int,
    share: float,
) -> Drawn:
    """Draw `size` examples, about `held` of them for validation, so that the parts share no group.

    `share` of the pool, in whole groups, is set aside for validation, and examples for it are drawn there: both parts
    are stratified and nested by themselves, and the images of many patients are learnt from rather than all of a few.
    Of the rest, training reaches 20 % last and group by group; what is watched comes from the groups that it did not
    reach, the farthest first. Where the groups set aside hold fewer than `held`, training gets the difference.
    """
    ranks = generator.permutation(int(groups.max()) + 1)
    order = [int(g) for g in np.unique(groups)[np.argsort(ranks[np.unique(groups)])]]
    aside = held_out(labels, groups, order, share) if held else np.zeros(len(labels), bool)
    pool, spare = np.flatnonzero(~aside), np.flatnonzero(aside)
    there = set(groups[pool].tolist())
    watched = held_out(labels[pool], groups[pool], [g for g in reversed(order) if g in there], WATCHED_SHARE)
    late = np.where(watched, 1 + ranks[groups[pool]], 0)
    first = pool[nested_order(labels[pool], generator, late)]
    second = spare[nested_order(labels[spare], generator)] if len(spare) else spare
    held = min(max(held, size - len(first)), len(second))
    train, validation = first[: size - held], second[:held]
    rest = first[size - held :]
    return Drawn(train, validation, rest[~np.isin(groups[rest], groups[train])][::-1])

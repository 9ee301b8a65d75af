"""The names of classes, by which those of one data set are found among another's: a number may mean another there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.datasets import Facts

MOST_NAMED = 12


def names_of(facts: Facts, *labels: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the names of a data set's classes in label order: their numbers where it has none.

    `labels` are those of its splits, int64 [n] each; the largest is the last class.
    """
    return facts.classes or tuple(map(str, range(max(int(split.max()) for split in labels) + 1)))


def unknown(home: str, known: Sequence[str], name: str, classes: Sequence[str]) -> str | None:
    """Say which classes of a data set a model that learnt those of `home` can't know, or return None."""
    strange = [each for each in classes if each not in set(known)]
    if not strange:
        return None
    what = "a class" if len(strange) == 1 else "classes"
    both = f"{home}, which they learn, has {_listed(known)}; {name} has {_listed(classes)}"
    return f"{name} has {what} that the cells do not learn: {_listed(strange)}. Classes are matched by name: {both}"


def renumbered(labels: NDArray[np.int64], classes: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Return the labels int64 [n] of a data set of `classes` as `known` numbers them; -1 where it has no such class."""
    import numpy as np

    place = {name: i for i, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in classes], dtype=np.int64)[labels]


def _listed(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - MOST_NAMED} more" if len(classes) > MOST_NAMED else ""
    return ", ".join(map(repr, classes[:MOST_NAMED])) + more

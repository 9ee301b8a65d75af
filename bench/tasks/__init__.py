"""Tasks. A task owns the split and the score, so that a method can't grade itself. One file each.

To add one, write a frozen dataclass with the members of `Task` and put `@tasks.register` above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bench.record import Better
from bench.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Selection:
    """Some examples of a split: `index` int64 [n] into it, `labels` int64 [n] as the round numbers its classes."""

    split: str
    index: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Round:
    """One stretch of learning and one test of it.

    The learner starts each round from its first weights. It is given `train`, and `validation` when the recipe selects
    on it; `monitor` only draws the learning curve. Of `test` it sees the pictures, never the labels.
    """

    train: Selection
    test: Selection
    classes: tuple[str, ...]
    validation: Selection | None = None
    monitor: Selection | None = None


@dataclass(frozen=True)
class Problem:
    """What a task is set on: the labels of each split, the class names, the labelled budget and the data seed.

    `groups`, where they are known, are those of each split's examples, int64 [n]: what is learnt from, selected on,
    watched and scored share none.
    """

    labels: Mapping[str, NDArray[np.int64]]
    classes: tuple[str, ...]
    size: int
    seed: int
    validation: float | None
    groups: Mapping[str, NDArray[np.int64]] | None = None


class Task(Protocol):
    """The contract of a task.

    `provides` says what a strategy may need ("labels", "hard_labels", ...). `metrics` are the names of what its
    summary has, with which way each is good; `primary` is the one of them that ranks strategies, higher is better.
    `check` says what is wrong with a size before anything runs, or None; OptionError says that of an option.
    `rounds` yields the rounds of one cell: the same for every strategy, given (data set, size, seed).
    `score` takes the test logits of a round, float32 [n, classes], and `summary` the scores of all rounds.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    provides: ClassVar[frozenset[str]]
    metrics: ClassVar[Mapping[str, Better]]
    primary: ClassVar[str]

    def check(self, size: int, classes: int, counts: Mapping[str, int]) -> str | None: ...

    def rounds(self, problem: Problem) -> Iterator[Round]: ...

    def score(self, logits: NDArray[np.float32], test: Round) -> Score: ...

    def summary(self, scores: Sequence[Score]) -> Score: ...


@dataclass(frozen=True)
class Score:
    """Metrics by name; a metric that can't be had is None and `reasons` says why.

    `details` is what a reader may look closer at, as plain JSON: it goes into the record's own.
    """

    metrics: Mapping[str, float | None]
    reasons: Mapping[str, str]
    details: Mapping[str, Any] = field(default_factory=dict)


tasks: Registry[Task] = Registry("task", "bench.tasks")


def every_metric() -> dict[str, Better]:
    """Return the metrics of all tasks by name, and which way each is good."""
    return {name: better for task in tasks.names() for name, better in tasks.get(task).metrics.items()}

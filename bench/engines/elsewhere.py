"""Data sets that a trained cell is tested on beside its own: the same network, the same score, other examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.datasets._classes import renumbered
from bench.errors import Skip
from bench.tasks import Problem, Round, Score, Selection, Task
from bench.training.learner import Learner
from bench.training.passes import Cache


@dataclass(frozen=True)
class Tested:
    """The test examples of another data set: labels int64 [n] as it numbers its classes, and their names."""

    spec: Mapping[str, Any]
    labels: NDArray[np.int64]
    classes: Sequence[str]


@dataclass
class Elsewhere:
    """Tests a learner on one other data set, round by round, after it learnt and nothing more is chosen.

    Examples are drawn as the task draws those of the cell's own test split. Classes are matched by name; examples of
    classes that the model does not know are left out. `reason` says why there is no test.
    """

    tested: Tested
    cache: Cache
    known: tuple[str, ...]
    rounds: list[Round]
    reason: str | None = None
    scores: list[Score] = field(default_factory=list)
    logits: list[NDArray[np.float32]] = field(default_factory=list)

    def test(self, learner: Learner, task: Task, number: int) -> None:
        """Test what has learnt the round of a number."""
        if self.reason is not None:
            return
        round_ = self.rounds[number]
        if number == 0 and len(self.rounds) > 1:
            learner.look_ahead([each.test for each in self.rounds], self.cache)
        logits = learner.logits(round_.test, self.cache)
        if not np.isfinite(logits).all():
            self.reason = "the logits of the trained model are not finite numbers there"
            return
        self.logits.append(logits)
        with learner.clock.phase("evaluate"):
            self.scores.append(task.score(logits, round_))

    def told(self, task: Task) -> dict[str, Any]:
        """Return what a record says of it: the data set, how many examples, and the score as the task gives it."""
        if self.reason is None:
            found = task.summary(self.scores)
        else:
            reasons = {f"metrics.{name}": self.reason for name in task.metrics}
            found = Score(dict.fromkeys(task.metrics), reasons)
        told = {
            "dataset": dict(self.tested.spec),
            "n": sum(map(len, self.logits)) if self.reason is None else 0,
            "metrics": dict(found.metrics),
            "reasons": dict(found.reasons),
            "details": dict(found.details),
        }
        strange = np.isin(self.tested.labels, [i for i, c in enumerate(self.tested.classes) if c not in self.known])
        if strange.any():
            names = [c for c in self.tested.classes if c not in self.known]
            told["left_out"] = {"examples": int(strange.sum()), "classes": names}
        return told

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is kept of it: logits, labels as the cell numbers its classes, and numbers of examples."""
        if self.reason is not None:
            return {}
        tests = [round_.test for round_ in self.rounds]
        return {
            "logits": np.concatenate(self.logits),
            "labels": np.concatenate([test.labels for test in tests]),
            "index": np.concatenate([test.index for test in tests]),
        }

    def save(self) -> None:
        """Keep what was decoded and computed of it."""
        self.cache.save()
        self.cache.material.save()


def elsewhere(tested: Tested, cache: Cache, task: Task, problem: Problem, rounds: Sequence[Round]) -> Elsewhere:
    """Return the test of a cell's rounds on another data set."""
    made = Elsewhere(tested, cache, problem.classes, [])
    numbers = renumbered(tested.labels, tested.classes, problem.classes)
    shared = np.flatnonzero(numbers >= 0)
    if not len(shared):
        made.reason = f"none of its test examples is of a class that the model knows: {', '.join(problem.classes[:12])}"
        return made
    # Nothing is learnt of these rounds, so whose the examples of the home data set are is no matter.
    there = replace(problem, labels={**problem.labels, "test": numbers[shared]}, groups=None)
    try:
        drawn = list(task.rounds(there))
    except Skip as skip:
        made.reason = str(skip)
        return made
    if [round_.classes for round_ in drawn] != [round_.classes for round_ in rounds]:
        made.reason = f"the task {task.name} asks for other classes there"
        return made
    for own, other in zip(rounds, drawn, strict=True):
        test = Selection("test", shared[other.test.index], other.test.labels)
        made.rounds.append(replace(own, test=test))
    return made

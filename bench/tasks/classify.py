"""Classification: learn from n labelled examples, be scored on the test split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.cell import entropy
from bench.errors import OptionError, Skip
from bench.record import Better
from bench.registry import runtime_option
from bench.tasks import Problem, Round, Score, Selection, tasks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.tasks._subset import Drawn


@tasks.register
@dataclass(frozen=True)
class Classify:
    """One round: a stratified, nested subset of "train" to learn from, "test" to be scored on.

    Where the data set says whose each example is (a patient's), what is learnt from, selected on, watched and scored
    share no group; the sizes still count examples.

    test_size     examples of the test split that are scored, stratified; None for all of them
    monitor_size  examples of the unused training pool that draw the learning curve; never selected on
    primary       the metric that ranks strategies; where classes are uneven, accuracy can be had by naming the largest
    """

    name: ClassVar[str] = "classify"
    version: ClassVar[int] = 1
    provides: ClassVar[frozenset[str]] = frozenset({"labels", "hard_labels"})
    metrics: ClassVar[Mapping[str, Better]] = {
        "accuracy": "higher",
        "macro_f1": "higher",
        "auroc": "higher",
        "nll": "lower",
        "ece": "lower",
    }

    test_size: int | None = None
    monitor_size: int = 500
    primary: Literal["accuracy", "macro_f1", "auroc"] = runtime_option("accuracy")

    def __post_init__(self) -> None:
        if self.test_size is not None and self.test_size < 1:
            raise OptionError(f"test_size must be 1 or more, not {self.test_size}", ("test_size",))
        if self.monitor_size < 0:
            raise OptionError(f"monitor_size must be 0 or more, not {self.monitor_size}", ("monitor_size",))

    def check(self, size: int, classes: int, counts: Mapping[str, int]) -> str | None:
        if size > counts["train"]:
            return f"size {size} is larger than the data: {counts['train']} training examples"
        if size < classes:
            return f"size {size} is smaller than the {classes} classes"
        if self.test_size is not None and self.test_size > counts["test"]:
            told = f"test_size {self.test_size} is larger than the data: {counts['test']} test examples"
            raise OptionError(told, ("test_size",))
        return None

    def rounds(self, problem: Problem) -> Iterator[Round]:
        import numpy as np

        from bench.tasks._subset import nested_order

        generator = np.random.default_rng(entropy("classify", "train", problem.seed))
        held = 0
        if problem.validation is not None:
            # Training has one example of each class.
            spare = problem.size - len(np.unique(problem.labels["train"]))
            held = min(max(round(problem.size * problem.validation), 1), spare)
            if held < 1:
                raise Skip(f"size {problem.size} leaves no example to select on: training needs one of each class")
        found = _drawn(problem, generator, held)
        monitor = found.monitor[: self.monitor_size]
        test = nested_order(problem.labels["test"], np.random.default_rng(entropy("classify", "test")))
        yield Round(
            train=_select(problem, "train", found.train),
            test=_select(problem, "test", np.sort(test[: self.test_size])),
            classes=problem.classes,
            validation=_select(problem, "train", found.validation) if held else None,
            monitor=_select(problem, "train", monitor) if len(monitor) else None,
        )

    def score(self, logits: NDArray[np.float32], test: Round) -> Score:
        from bench.measure.quality import quality

        return quality(logits, test.test.labels, test.classes)

    def summary(self, scores: Sequence[Score]) -> Score:
        return scores[0]


def _drawn(problem: Problem, generator: np.random.Generator, held: int) -> Drawn:
    """Draw what is learnt from, `held` of it for validation; where there are groups, no part shares one with another.

    Examples of groups that are in the test split are not drawn.
    """
    import numpy as np

    from bench.tasks._subset import Drawn, drawn, drawn_by_group

    labels = problem.labels["train"]
    if problem.groups is None:
        return drawn(labels, generator, problem.size, held)
    groups = problem.groups["train"]
    pool = np.flatnonzero(~np.isin(groups, problem.groups["test"]))
    if problem.size > len(pool):
        raise Skip(
            f"size {problem.size} is larger than the {len(pool)} training examples that share no group with test"
        )
    found = drawn_by_group(labels[pool], groups[pool], generator, problem.size, held, problem.validation or 0.0)
    if held and not len(found.validation):
        raise Skip("there is no group to select on: training needs one of each class")
    return Drawn(pool[found.train], pool[found.validation], pool[found.monitor])


def _select(problem: Problem, split: str, index: NDArray[np.int64]) -> Selection:
    return Selection(split, index, problem.labels[split][index])

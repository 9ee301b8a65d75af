"""Few-shot classification: many independent N-way K-shot episodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, ClassVar

from bench.cell import entropy
from bench.errors import OptionError, Skip
from bench.record import Better
from bench.tasks import Problem, Round, Score, Selection, tasks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@tasks.register
@dataclass(frozen=True)
class FewShot:
    """Learn `ways` classes from size / ways examples each, be scored on `queries` others of each class; repeat.

    The size of a cell is the labelled examples of an episode: size 5 is 5-way 1-shot, size 25 is 5-way 5-shot. Classes
    and examples are drawn anew for each of the `episodes`, support from "train" and queries from "test": the same for
    every strategy, and for every size the same classes and queries, with the fewer shots among the more. The score is
    the mean accuracy with a 95 % interval over episodes (Vinyals et al., 2016, arXiv 1606.04080; at least 600 episodes
    by custom). Seconds and FLOPs are sums over episodes.
    """

    name: ClassVar[str] = "few_shot"
    version: ClassVar[int] = 1
    provides: ClassVar[frozenset[str]] = frozenset({"labels", "hard_labels"})
    metrics: ClassVar[Mapping[str, Better]] = {"accuracy": "higher", "accuracy_ci95": "lower"}
    primary: ClassVar[str] = "accuracy"

    ways: int = 5
    queries: int = 15
    episodes: int = 600

    def __post_init__(self) -> None:
        for name, least in (("ways", 2), ("queries", 1), ("episodes", 2)):
            if getattr(self, name) < least:
                raise OptionError(f"{name} must be {least} or more, not {getattr(self, name)}", (name,))

    def check(self, size: int, classes: int, counts: Mapping[str, int]) -> str | None:
        if self.ways > classes:
            raise OptionError(f"{self.ways} ways need {self.ways} classes; the data have {classes}", ("ways",))
        if size % self.ways:
            return f"size {size} is not a multiple of the {self.ways} ways: it is ways x shots"
        return None

    def rounds(self, problem: Problem) -> Iterator[Round]:
        import numpy as np

        counts = {"train": problem.size // self.ways, "test": self.queries}
        pools = {
            split: [np.flatnonzero(problem.labels[split] == c) for c in range(len(problem.classes))] for split in counts
        }
        for split, count in counts.items():
            fewest = min(range(len(problem.classes)), key=lambda c: len(pools[split][c]))
            if len(pools[split][fewest]) < count:
                have = f"{problem.classes[fewest]!r} has {len(pools[split][fewest])}"
                raise Skip(f"{count} examples of each class are drawn from the {split} split, and {have}")
        for episode in range(self.episodes):
            generator = np.random.default_rng(entropy("few_shot", problem.seed, episode))
            drawn = generator.choice(len(problem.classes), self.ways, replace=False)
            # Queries before support, and whole orders of support: neither depends on the number of shots.
            queries = [generator.permutation(pools["test"][c])[: self.queries] for c in drawn]
            support = [generator.permutation(pools["train"][c])[: counts["train"]] for c in drawn]
            yield Round(
                train=_selection("train", support),
                test=_selection("test", queries),
                classes=tuple(problem.classes[c] for c in drawn),
            )

    def score(self, logits: NDArray[np.float32], test: Round) -> Score:
        return Score({"accuracy": float((logits.argmax(axis=1) == test.test.labels).mean())}, {})

    def summary(self, scores: Sequence[Score]) -> Score:
        import numpy as np

        accuracies = np.array([s.metrics["accuracy"] for s in scores], dtype=float)
        half = 1.96 * accuracies.std(ddof=1) / sqrt(len(accuracies))
        return Score({"accuracy": float(accuracies.mean()), "accuracy_ci95": float(half)}, {})


def _selection(split: str, members: Sequence[NDArray[np.int64]]) -> Selection:
    """Return the members of each way, labelled 0, 1, ... in the order of the ways."""
    import numpy as np

    labels = np.repeat(np.arange(len(members)), [len(m) for m in members])
    return Selection(split, np.concatenate(members), labels.astype(np.int64))

"""What a cell's training went through: which passes over which examples, by itself and for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.tasks import Round
from bench.training.passes import Forward
from bench.training.sources import Lengths

# Pairs of a size, None for the largest, and how many examples are of it.
Sizes = Sequence[tuple[int | None, int]]


@dataclass(frozen=True)
class Work:
    """Passes over examples: `examples` went forward from stage `forward`, and backward down to stage `backward`.

    `lengths` says in which lengths, where examples have lengths.
    """

    examples: int
    forward: int
    backward: int | None
    lengths: Lengths = ()

    @property
    def sizes(self) -> Sizes:
        """How many examples passed in which size."""
        return _in_sizes(self.examples, self.lengths)


class Used(NamedTuple):
    """Rows that were used for training: of so many examples of a split, in so many views, and in which lengths."""

    forward: Forward
    split: str
    examples: int
    views: int
    lengths: Lengths = ()


def _in_sizes(examples: int, lengths: Lengths) -> Sizes:
    """Return how many examples there are of which size: all of the largest, where they have no lengths."""
    return lengths or ((None, examples),)


@dataclass
class Spent:
    """What was spent on learning, over all rounds.

    `shown` has the examples of each round by split, `used` the passes whose rows were used for training, `asked` those
    of parents that left no rows (forward, examples, lengths), and `work` the passes of the loop.
    """

    shown: list[tuple[str, int]] = field(default_factory=list)
    used: list[Used] = field(default_factory=list)
    asked: list[tuple[Forward, int, Lengths]] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)

    def show(self, round_: Round) -> None:
        """Note the examples that a round learns from, and selects on."""
        self.shown += [(s.split, len(s)) for s in (round_.train, round_.validation) if s is not None]

    def passes(self) -> Iterator[tuple[Forward, int | None, int]]:
        """Yield the passes without gradients that training used, or made beside its own: of which size, how many."""
        for used in self.used:
            for size, examples in _in_sizes(used.examples, used.lengths):
                yield used.forward, size, examples * used.views
        for forward, count, lengths in self.asked:
            for size, examples in _in_sizes(count, lengths):
                yield forward, size, examples

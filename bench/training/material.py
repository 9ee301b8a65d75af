"""What is learnt from: the examples of a data set, prepared once for models that want to see them alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.backbones._inputs import Inputs
from bench.backbones._network import Network
from bench.datasets import Dataset, Examples
from bench.measure.clock import Clock
from bench.training.feed import Feed
from bench.training.rows import Compute, Keys, Rows
from bench.training.sources import Source
from bench.training.views import Views

_opened: dict[tuple[str, str, str], Examples] = {}
# Data sets that are held at a time; the one that was asked for longest ago makes room.
_room = 1


def make_room(count: int) -> None:
    """Hold so many data sets at a time from now on: those of one cell."""
    global _room
    _room = count


def opened(dataset: Dataset, digest: str, split: str) -> Examples:
    """Return a split of a data set of this content; a process that runs many cells reads and checks it once."""
    key = (repr(dataset), digest, split)
    _opened[key] = found = _opened.pop(key) if key in _opened else dataset.examples(split)
    held = list(dict.fromkeys(k[:2] for k in reversed(_opened)))
    for old in [k for k in _opened if k[:2] in held[_room:]]:
        del _opened[old]
    return found


class Material(ABC):
    """The examples of a data set as rows by split and index, prepared when they are first asked for.

    One class for each modality. `kind` is what its rows are called among the artifacts.
    """

    kind: ClassVar[str]

    def __init__(self, dataset: Dataset, artifacts: Path, clock: Clock) -> None:
        self.dataset, self.artifacts, self.clock = dataset, artifacts, clock
        self.digest = dataset.facts().digest
        self._rows: dict[str, Rows] = {}

    @abstractmethod
    def identity(self, split: str) -> dict[str, Any]:
        """Return everything that can change a prepared example."""

    @abstractmethod
    def prepare(self, split: str, index: NDArray[np.int64]) -> Any:
        """Return the rows of some examples, as `Rows.ensure` wants them of what it has compute."""

    @abstractmethod
    def feed(self, source: Source, index: NDArray[np.int64], views: Views, network: Network) -> Feed:
        """Return the batches that a network is fed with from prepared examples, those of `index`, in some views."""

    def seen_by(self, inputs: Inputs) -> Material:
        """Return this material as another model wants to see it."""
        return self

    @property
    def told(self) -> dict[str, Any]:
        """Return how an example is prepared, beside what the model wants: what stands beside trained weights."""
        return {"modality": self.dataset.modality}

    def examples(self, split: str) -> Examples:
        """Return the examples of a split, not prepared."""
        return opened(self.dataset, self.digest, split)

    def rows(self, split: str) -> Rows:
        """Return the store of a split's prepared examples."""
        if split not in self._rows:
            self._rows[split] = Rows(self.artifacts, self.kind, self.identity(split))
        return self._rows[split]

    def prepared(self, split: str, index: Keys, phase: str) -> Rows:
        """Return the store of a split, the examples of `index` in it; what was missing, on the clock's `phase`."""
        rows = self.rows(split)
        compute: Compute = lambda missing: self.prepare(split, missing)  # noqa: E731
        rows.ensure(index, compute, self.clock, phase)
        return rows

    def save(self) -> None:
        """Keep what was prepared."""
        for rows in self._rows.values():
            rows.save()

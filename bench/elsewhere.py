"""Data sets that a trained cell is tested on beside its own: which they are, and which cells can be.

It imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.cell import canonical
from bench.datasets import EXTENTS, Dataset, Facts, extent, missing
from bench.datasets._classes import unknown
from bench.document import Trail
from bench.registry import identity_of, runtime_of
from bench.suite import Suite

PART = "also_test"


@dataclass(frozen=True)
class Other:
    """A data set of a suite's `also_test`: what the suite says, what that makes, and where it says so."""

    spec: Mapping[str, Any]
    dataset: Dataset
    facts: Facts
    trail: Trail

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What of it can change a number. Its pictures are seen at the resolution of the data set that was learnt."""
        return _content(self.dataset, self.facts)


@dataclass(frozen=True)
class Tests:
    """Where else the cells of a data set are tested: fields of theirs, and where the suite says so."""

    also_test: tuple[Mapping[str, Any], ...] = ()
    runtime: tuple[Mapping[str, Any], ...] = ()
    trails: tuple[Trail, ...] = ()

    def added(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a cell with those of its tests elsewhere."""
        runtime = {**cell["runtime"], PART: list(self.runtime)} if any(self.runtime) else cell["runtime"]
        return {**cell, PART: self.also_test, "runtime": runtime}

    def trail(self) -> dict[str, Trail]:
        """Return where the suite names each, by what `part_of` calls it."""
        return {part_of(i): trail for i, trail in enumerate(self.trails)}


HERE = Tests()


def part_of(place: int) -> str:
    """Return what one of a cell's tests elsewhere is called where a mistake is placed."""
    return f"{PART}.{place}"


def named(
    suite: Suite, plugin: Callable[[Mapping[str, Any], Trail], Dataset], facts: Callable[[Dataset, Trail], Facts]
) -> tuple[Other, ...]:
    """Return the data sets of `also_test`, in an order that does not hang on the suite's. Raises SuiteError."""
    found: dict[bytes, Other] = {}
    for i, spec in enumerate(suite.also_test):
        trail = (PART, i)
        dataset = plugin(spec, trail)
        other = Other(spec, dataset, facts(dataset, trail), trail)
        if found.setdefault(canonical(other.identity), other) is not other:
            raise suite.error(trail, f"{dataset.name} is named twice: a cell is tested on each data set once")
    return tuple(other for _, other in sorted(found.items(), key=lambda item: item[0]))


def those_of(suite: Suite, others: Sequence[Other], home: Dataset, facts: Facts) -> Tests:
    """Return where else cells that learn a data set are tested: on all but itself. Raises SuiteError."""
    own = _content(home, facts)
    chosen = [other for other in others if other.identity != own]
    if len(chosen) < len(others) and len(suite.matrix.dataset) == 1:
        same = next(other for other in others if other.identity == own)
        raise suite.error(same.trail, f"{home.name} is what the cells learn, and they are tested on it anyway")
    for other in chosen:
        _check(suite, other, home, facts)
    if not chosen:
        return HERE
    return Tests(
        tuple(other.identity for other in chosen),
        tuple(runtime_of(other.dataset) for other in chosen),
        tuple(other.trail for other in chosen),
    )


def _check(suite: Suite, other: Other, home: Dataset, facts: Facts) -> None:
    """Raise SuiteError where a model that learns `home` can't be tested on another data set."""
    name, option = other.dataset.name, EXTENTS[home.modality]
    if option in other.spec and other.spec[option] != extent(home):
        told = f"{name} is seen at the {option} at which {home.name} is learnt; leave it out"
        raise suite.error((*other.trail, option), told)
    if other.dataset.modality != home.modality:
        told = f"{name} is of {other.dataset.modality}, and {home.name}, which the cells learn, of {home.modality}"
        raise suite.error(other.trail, told)
    if facts.classes is None or other.facts.classes is None:
        return
    wrong = unknown(home.name, facts.classes, name, other.facts.classes)
    # What is not here yet may name its classes when it is: the run looks again, before any cell learns.
    if wrong is not None and missing(home) is None and missing(other.dataset) is None:
        raise suite.error(other.trail, wrong)


def _content(dataset: Dataset, facts: Facts) -> dict[str, Any]:
    options = {k: v for k, v in identity_of(dataset).items() if k != EXTENTS[dataset.modality]}
    return {**options, "digest": facts.digest}

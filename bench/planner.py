"""From a suite to the cells that answer it: every point of the matrix, its parents, skips with reasons, in order.

It imports no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from operator import getitem
from typing import Any

from bench.axes import AXES, Point, axis_value, specs
from bench.errors import SuiteError, UsageError, did_you_mean, nearest
from bench.machine import many_objects
from bench.naming import titles
from bench.only import CELL, parse_only
from bench.resolve import Entry, Resolver
from bench.suite import Suite, matches

__all__ = ["Entry", "Plan", "expand"]

MAX_CELLS = 100_000


@dataclass(frozen=True)
class Plan:
    """The cells of a suite in the order in which they run: parents first, shared artifacts together."""

    suite: Suite
    primary: str
    entries: tuple[Entry, ...]

    @cached_property
    def runnable(self) -> tuple[Entry, ...]:
        """The entries that are not skipped."""
        return tuple(e for e in self.entries if e.skip is None)

    @cached_property
    def skips(self) -> dict[str, str]:
        """Why cells are not run, by id, for those that are not."""
        return {e.cell.id: e.skip for e in self.entries if e.skip is not None}

    @cached_property
    def titles(self) -> dict[str, str]:
        """What each cell is called here, by id."""
        return titles([e.cell for e in self.entries], self.parents)

    @cached_property
    def parents(self) -> frozenset[str]:
        """Ids of the cells that are in the plan only as another cell's parent."""
        return frozenset(e.cell.id for e in self.entries if e.role)

    def error(self, mistake: Mapping[str, Any]) -> SuiteError:
        """Return what an engine's `check` found, `{cell_id, part, path, message}`, with its place in the suite."""
        trail = next(e.trail for e in self.entries if e.cell.id == mistake["cell_id"])
        return self.suite.error((*trail[mistake["part"]], *mistake["path"]), mistake["message"])


@many_objects()
def expand(suite: Suite, only: str | None = None) -> Plan:
    """Resolve every point of a suite's matrix to a cell. Raises SuiteError at the first mistake, before anything runs.

    `only` keeps the points that match "axis=value,axis=value|value", or the cells of "cell=ID|ID", and the parents that
    they need.
    """
    resolver = Resolver(suite)
    wanted = {} if only is None else parse_only(only, suite.matrix.axes())
    cells = wanted.pop(CELL, None)
    entries: dict[str, Entry] = {}
    for point in _points(suite):
        if wanted and not matches(wanted, specs(point)):
            continue
        entry, parents = resolver.entry(point)
        known = entries.get(entry.cell.id)
        if known is not None and known.role is None:
            if entry.skip is None and known.skip is None:
                raise _twice(suite, known, entry)
            entry = known if entry.skip else entry
        for parent in parents if entry.skip is None else ():
            entries.setdefault(parent.cell.id, parent)
        entries[entry.cell.id] = entry
    if not entries:
        raise UsageError(f"--only {only}: no cell of the suite matches")
    kept = entries.values() if cells is None else _chosen(entries, cells)
    return Plan(suite, resolver.task.primary, tuple(kept))


def _chosen(entries: Mapping[str, Entry], cells: Collection[str]) -> list[Entry]:
    """Return the cells of these ids, which stand for themselves now, and the parents that they need."""
    unknown = [cell_id for cell_id in cells if cell_id not in entries]
    if unknown:
        raise UsageError(
            f"--only cell={unknown[0]}: is no cell of the suite{did_you_mean(nearest(unknown[0], entries))}"
        )
    needed = set(cells)
    for cell_id in reversed(list(entries)):  # parents come first
        if cell_id in needed:
            needed.update(entries[cell_id].cell.parents.values())
    return [replace(e, role=None) if i in cells else e for i, e in entries.items() if i in needed]


def _twice(suite: Suite, first: Entry, second: Entry) -> SuiteError:
    cell = second.cell
    names = (cell.strategy["name"], cell.backbone["name"], cell.dataset["name"])
    axis = next(axis for axis, trail in second.trail.items() if trail != first.trail[axis])
    words = " · ".join([*names, f"n={cell.size}", f"seed {cell.seed}"])
    return suite.error(second.trail[axis], f"two cells of the matrix are the same: {words}")


def _points(suite: Suite) -> Iterator[Point]:
    """Yield the points of the matrix by the suite's way to span it, in the order in which they run.

    Seeds are repetitions, not a question: whatever the span, each seed is crossed with all the rest.
    """
    axes = suite.matrix.axes()
    many = _spanned(suite, axes)
    if many > MAX_CELLS:
        raise suite.error(("matrix",), f"{many:,} cells are too many: at most {MAX_CELLS:,}", key=True)
    order = (*AXES[:2], *(axis for axis in axes if axis not in AXES), *AXES[2:])
    values = [[axis_value(spec, ("matrix", axis, i)) for i, spec in enumerate(axes[axis])] for axis in order]
    spans = _spans(suite, {axis: axes[axis] for axis in order if axis != "seed"})
    at, seeds = order.index("seed"), range(len(axes["seed"]))
    for pick in sorted((*span[:at], seed, *span[at:]) for span in spans for seed in seeds):
        yield dict(zip(order, map(getitem, values, pick), strict=True))


def _spanned(suite: Suite, axes: Mapping[str, list[Any]]) -> int:
    """Return how many points there are, without making them."""
    lengths = [len(values) for axis, values in axes.items() if axis != "seed"]
    ways = {"zip": max(lengths), "ablation": sum(lengths) - len(lengths) + 1, "product": prod(lengths)}
    return ways[suite.span] * len(axes["seed"])


def _spans(suite: Suite, axes: Mapping[str, list[Any]]) -> Iterable[tuple[int, ...]]:
    """Return points as positions on the axes: every combination, in step, or one axis away from the first values."""
    if suite.span == "zip":
        length = max(len(v) for v in axes.values())
        for axis, values in axes.items():
            if len(values) not in (1, length):
                raise suite.error(
                    ("matrix", axis), f"zip needs 1 or {length} values on every axis; {axis} has {len(values)}"
                )
        return [tuple(i if len(v) > 1 else 0 for v in axes.values()) for i in range(length)]
    if suite.span == "ablation":
        base = (0,) * len(axes)
        return [base, *((*base[:a], i, *base[a + 1 :]) for a, v in enumerate(axes.values()) for i in range(1, len(v)))]
    return itertools.product(*(range(len(v)) for v in axes.values()))

"""Whose trained weights a run keeps: those of parents, for their children, and of others what the suite says."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from bench.best import best, data_of, metrics_of_one
from bench.cell import Cell
from bench.index import Brief
from bench.planner import Plan
from bench.record import Record
from bench.seeing import is_explained
from bench.store import Store


class Keeping:
    """Sees to the weights that a run keeps.

    With `weights: best` they are those of the cell with the highest score of each data set so far, of equal ones the
    first of the plan. A cell that beats it takes its place, and its file is removed; that of a parent never is.
    """

    def __init__(self, plan: Plan, store: Store, records: Mapping[str, Brief]) -> None:
        self.store, self.policy, self.primary = store, plan.suite.weights, plan.primary
        self.parents = {parent for e in plan.runnable for parent in e.cell.parents.values()}
        self._place = {e.cell.id: number for number, e in enumerate(plan.runnable)}
        self._best: dict[bytes, tuple[float, Cell]] = {}
        if self.policy == "best":
            there = store.with_weights() & records.keys()
            cells = [e.cell for e in plan.runnable if e.cell.id in there]
            known = [(cell, records[cell.id].metrics.get(self.primary)) for cell in cells]
            others = store.read_all(sorted(store.kept_ids() - self._place.keys())).values()
            self._best = best([*known, *((r.cell, metrics_of_one(r).get(self.primary)) for r in others)])

    def place(self, cell: Cell) -> Path | None:
        """Return the file for a cell's weights, or None."""
        if cell.id in self.parents:
            return self.store.weights(cell.id)
        return None if self.policy == "none" else self.store.kept(cell.id)

    def above(self, cell: Cell) -> float | None:
        """Return the score that a cell has to beat for its weights to be kept; None when they are kept anyway."""
        if cell.id in self.parents or self.policy != "best":
            return None
        standing = self._best.get(data_of(cell))
        if standing is None:
            return -math.inf
        score, other = standing
        return math.nextafter(score, -math.inf) if self._first(cell, other) else score

    def ended(self, record: Record) -> None:
        """Take note of a cell that has ended: when it is the best now, the weights of the one before it go."""
        cell, score = record.cell, metrics_of_one(record).get(self.primary)
        if self.policy != "best" or score is None or self.store.trained(cell.id) is None:
            return
        before = self._best.get(data_of(cell))
        if before is not None and (score, self._first(cell, before[1])) < (before[0], True):
            return
        self._best[data_of(cell)] = score, cell
        if before is not None and before[1].id != cell.id:
            with suppress(OSError):
                self.store.kept(before[1].id).unlink()

    def _first(self, cell: Cell, other: Cell) -> bool:
        """Say whether a cell comes before another in the plan, or is the same; one that is in no plan comes last."""
        last = len(self._place)
        return self._place.get(cell.id, last) <= self._place.get(other.id, last)


def lost(plan: Plan, store: Store, records: Mapping[str, Brief], done: Collection[str]) -> set[str]:
    """Return the cells that are done but for their weights, which the suite asks for.

    With `weights: all` those are all that have none; with `explain: best` the best of each data set, once no cell of it
    is missing, when there are neither weights nor an explanation of it.
    """
    everything = plan.suite.weights == "all"
    waiting = unseen(plan, store, records)
    if not everything and not waiting:
        return set()
    unfinished = {data_of(e.cell) for e in plan.runnable if e.cell.id not in done} if waiting else set()
    found = {cell.id for cell in waiting if data_of(cell) not in unfinished and store.trained(cell.id) is None}
    there = store.with_weights() if everything else set()
    return found | {i for i in done if everything and records[i].metrics and i not in there}


def unseen(plan: Plan, store: Store, records: Mapping[str, Brief]) -> list[Cell]:
    """Return the cells that the suite wants explained and that are not: of each data set the best."""
    if plan.suite.report.explain == "none":
        return []
    own = [e.cell for e in plan.runnable if e.role is None and e.cell.id in records]
    scored = ((cell, records[cell.id].metrics.get(plan.primary)) for cell in own)
    examples = plan.suite.report.examples
    return [cell for _, cell in best(scored).values() if not is_explained(store, cell.id, examples)]

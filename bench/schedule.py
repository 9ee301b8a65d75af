"""Runs what a plan still lacks, one record at a time, and estimates what that will take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Protocol

from bench.cell import Cell
from bench.plan import Entry, Plan
from bench.record import Record
from bench.store import Store


class Engine(Protocol):
    """Runs one job: cell JSON in, record JSON out."""

    def run(
        self, job: Mapping[str, Any], deadline_seconds: float | None, watch: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]: ...


class Listener(Protocol):
    """Is told what happens in a run."""

    def started(self, cell: Cell, number: int, count: int, remaining_seconds: float | None) -> None: ...

    def point(self, cell: Cell, point: Mapping[str, Any]) -> None: ...

    def ended(self, record: Record) -> None: ...


@dataclass(frozen=True)
class Status:
    """Where a plan stands: the records there are, and the entries still to be run, in order."""

    records: dict[str, Record]
    missing: tuple[Entry, ...]


def status(plan: Plan, store: Store, force: bool = False) -> Status:
    """Compare a plan with the store.

    A cell is done when its record says skipped, or ok with its predictions beside it: a record that came alone, from
    another machine by git, is reported but measured again. A parent whose trained weights are gone is run again when a
    child still needs them.
    """
    records = store.read_all(e.cell.id for e in plan.runnable)
    done = set() if force else {i for i, r in records.items() if _is_done(r, store)}
    missing = [e for e in plan.runnable if e.cell.id not in done]
    wanted = {parent for e in missing for parent in e.cell.parents.values()}
    lost = {i for i in wanted & done if not store.weights(i).exists()}
    again = {e.cell.id for e in missing} | lost
    return Status(records, tuple(e for e in plan.runnable if e.cell.id in again))


def _is_done(record: Record, store: Store) -> bool:
    return record.status == "skipped" or (record.status == "ok" and store.predictions(record.cell_id).exists())


def run(plan: Plan, store: Store, engine: Engine, listener: Listener, force: bool = False) -> dict[str, Record]:
    """Run every missing cell of a plan, in order, writing each record as soon as it is there; return all records.

    A failure is a record, and the cells go on; a cell whose parent did not end ok fails with that reason.
    """
    now = status(plan, store, force)
    records = dict(now.records)
    keep = {parent for e in plan.runnable for parent in e.cell.parents.values()}
    for number, entry in enumerate(now.missing, start=1):
        cell = entry.cell
        rest = [e.cell for e in now.missing[number - 1 :]]
        listener.started(cell, number, len(now.missing), total(estimate(rest, records.values())))
        attempt = records[cell.id].attempt + 1 if cell.id in records else 1
        record = replace(_run_one(plan, store, engine, listener, cell, records, cell.id in keep), attempt=attempt)
        store.write(record)
        records[cell.id] = record
        listener.ended(record)
    return records


def _run_one(
    plan: Plan,
    store: Store,
    engine: Engine,
    listener: Listener,
    cell: Cell,
    records: Mapping[str, Record],
    keep_weights: bool,
) -> Record:
    parents = {role: records.get(parent) for role, parent in cell.parents.items()}
    for role, parent in parents.items():
        if parent is None or parent.status != "ok":
            ended = parent.status if parent else "missing"
            return Record(cell.id, plan.suite.suite, cell, "failed", f"its {role} {cell.parents[role]} is {ended}")
    job = {
        "suite": plan.suite.suite,
        "cell": cell.to_json(),
        "parents": {
            role: {"record": parent.to_json(), "weights": str(store.weights(parent.cell_id).absolute())}
            for role, parent in parents.items()
            if parent
        },
        "artifacts": str(store.artifacts.absolute()),
        "predictions": str(store.predictions(cell.id).absolute()),
        "weights": str(store.weights(cell.id).absolute()) if keep_weights else None,
    }
    points: list[dict[str, Any]] = []

    def watch(point: dict[str, Any]) -> None:
        points.append({k: v for k, v in point.items() if k != "cell_id"})
        listener.point(cell, point)

    result = engine.run(job, plan.suite.deadline_seconds, watch)
    if "cell" in result:
        return Record.from_json(result)
    died = Record(cell.id, plan.suite.suite, cell, "failed").to_json()
    return Record.from_json({**died, **result, "curve": points})


def work(cell: Cell) -> float:
    """Return the work of a cell in examples seen: what its seconds are taken to grow with."""
    return float(cell.size * cell.recipe["epochs"] + cell.size)


def estimate(cells: Iterable[Cell], records: Iterable[Record]) -> list[float | None]:
    """Return the expected seconds of each cell: seconds per example seen of the most alike records, None without any.

    Most alike is the same strategy on the same backbone and data, then the same strategy, then any.
    """
    rates: dict[tuple[str, ...], list[float]] = {}
    for record in records:
        spent = [record.seconds.marginal, record.seconds.evaluate, record.seconds.measure]
        if record.status == "ok" and record.seconds.marginal is not None:
            for key in _alike(record.cell):
                rates.setdefault(key, []).append(sum(s or 0.0 for s in spent) / work(record.cell))
    found: list[float | None] = []
    for cell in cells:
        rate = next((median(rates[key]) for key in _alike(cell) if key in rates), None)
        found.append(None if rate is None else rate * work(cell))
    return found


def _alike(cell: Cell) -> list[tuple[str, ...]]:
    strategy, backbone, dataset = cell.strategy["name"], cell.backbone["name"], cell.dataset["name"]
    return [(strategy, backbone, dataset, str(cell.size)), (strategy, backbone, dataset), (strategy,), ()]


def total(seconds: Iterable[float | None]) -> float | None:
    """Return the sum of estimates, or None when one is missing."""
    values = list(seconds)
    return None if any(v is None for v in values) else sum(v for v in values if v is not None)

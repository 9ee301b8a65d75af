"""Runs what a plan still lacks, one record at a time, and estimates what that will take."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Protocol

from bench.cell import Cell
from bench.claims import Claims, claims
from bench.datasets import EXTENTS
from bench.errors import DiskError, StoreError
from bench.index import Brief
from bench.keeping import Keeping, lost
from bench.machine import many_objects
from bench.planner import Entry, Plan
from bench.record import Record
from bench.store import Store

# How often a run that has nothing else to do looks for what another run is at.
LOOK_SECONDS = 0.5
# What runs out of memory is tried again with so many times fewer examples at once, and BatchNorm needs two of them.
FINER, FEWEST = 4, 2

Watch = Callable[[dict[str, Any]], None]
# What records and cells have in common, from much to nothing.
Alike = tuple[tuple[str, ...], ...]


class Engine(Protocol):
    """Runs one job: cell JSON in, record JSON out. `check` says what of the user's would fail a cell; see `trial`.

    `watch` is given `{"kind": "starting"}` when there is no worker yet, `{"kind": "note", "text"}` for what there is to
    say, `{"kind": "begun"}` when a worker takes up the job, and `{"kind": "point", ...}` for each point of the curve.
    What comes back may lack all but `status` and `reason`.
    """

    def check(self, cells: Sequence[Mapping[str, Any]], watch: Watch) -> dict[str, Any] | None: ...

    def run(self, job: Mapping[str, Any], deadline_seconds: float | None, watch: Watch) -> dict[str, Any]: ...


class Listener(Protocol):
    """Is told what happens in a run: a cell is started, begun by a worker, has points, and ends.

    `waiting` says, before the first cell as well, what the run is waiting for.
    """

    def started(self, cell: Cell, number: int, count: int, remaining_seconds: float | None) -> None: ...

    def waiting(self, what: str) -> None: ...

    def begun(self, cell: Cell) -> None: ...

    def point(self, cell: Cell, point: Mapping[str, Any]) -> None: ...

    def ended(self, record: Record) -> None: ...


@dataclass(frozen=True)
class Status:
    """Where a plan stands: what is known of the records there are, and the entries still to be run, in order.

    `alone` are the ids of records that came without their predictions, and are measured again for that.
    """

    records: dict[str, Brief]
    missing: tuple[Entry, ...]
    alone: frozenset[str] = frozenset()


@many_objects()
def status(plan: Plan, store: Store, force: bool = False) -> Status:
    """Compare a plan with the store.

    A cell is done when its record says ok, with its predictions beside it, skipped, or what the suite does not retry. A
    record that came alone, from another machine by git, is reported but measured again. A parent whose trained weights
    are gone is run again when a child still needs them, and so is a cell whose weights the suite asks for; see
    `keeping.lost`. `force` runs all cells again.
    """
    records = store.briefs(e.cell.id for e in plan.runnable)
    alone = {i for i, r in records.items() if r.status == "ok" and not force and not r.predicted}
    again = {*plan.suite.retry}
    done = set() if force else {i for i, r in records.items() if r.status not in again} - alone
    done -= lost(plan, store, records, done)
    missing: list[Entry] = []
    wanted: set[str] = set()
    for entry in reversed(plan.runnable):  # children before their parents
        i = entry.cell.id
        gone = i in wanted and i in done and records[i].status == "ok" and not store.has_weights(i)
        if i not in done or gone:
            missing.append(entry)
            wanted |= set(entry.cell.parents.values())
    return Status(records, tuple(reversed(missing)), frozenset(alone))


def run(plan: Plan, store: Store, engine: Engine, listener: Listener, force: bool = False) -> dict[str, Record]:
    """Run every missing cell of a plan, in order, writing each record as soon as it is there; return these records.

    A failure is a record, and the cells go on; a cell whose parent did not end ok fails with that reason. An interrupt
    leaves a record that says so, unless there is an earlier one that ended ok, and is raised again. A cell that another
    run has on its hands is left to it: its record is taken as it comes, and its children wait for it.

    Raises Interrupted, which says how many cells have run, and DiskError as soon as nothing more can be written.
    """
    with claims(store.folder) as held:
        going = _Run(plan, store, engine, listener, held, force)
        try:
            going.through(going.first.missing)
            # With all the others known, the one that is looked at may be one whose weights are gone.
            left = status(plan, store).missing if plan.suite.report.explain != "none" else ()
            going.through([entry for entry in left if entry.cell.id not in going.ran])
        except KeyboardInterrupt:
            raise Interrupted(len(going.ran)) from None
    return going.ran


class Interrupted(KeyboardInterrupt):
    """A run was interrupted when so many of its cells had `ran`."""

    def __init__(self, ran: int) -> None:
        self.ran = ran
        super().__init__()


class _Run:
    """A run on its way: the cells that it has to see to, the records that there are, and those that it made."""

    def __init__(self, plan: Plan, store: Store, engine: Engine, listener: Listener, held: Claims, force: bool) -> None:
        self.plan, self.store, self.engine, self.listener, self.held = plan, store, engine, listener, held
        self.began = store.stamps()
        self.first = status(plan, store, force)
        self.records = dict(self.first.records)
        self.ran: dict[str, Record] = {}
        self._count = 0
        self._rates = Rates.of(plan, self.first)
        self._keeping = Keeping(plan, store, self.records)
        self._left = _Left()
        self._open: set[str] = set()
        self._fitting: dict[tuple[str, ...], int] = {}
        self._told = 0

    def through(self, missing: Iterable[Entry]) -> None:
        """See to every cell of those that are missing."""
        waiting = list(missing)
        self._count += len(waiting)
        self._left.add(e.cell for e in waiting)
        self._open |= {e.cell.id for e in waiting}
        while waiting:
            elsewhere = [entry for entry in waiting if not self.settle(entry.cell)]
            if len(elsewhere) == len(waiting):
                if self._told != len(waiting):
                    self.listener.waiting(f"waiting for what another run is at: {len(waiting)} to go")
                    self._told = len(waiting)
                time.sleep(LOOK_SECONDS)
            waiting = elsewhere

    def settle(self, cell: Cell) -> bool:
        """See to one cell, unless it or a parent of it is with another run: say whether it is done with."""
        if self._open & set(cell.parents.values()) or not self.held.take(cell.id):
            return False
        try:
            if not self._came(cell):
                self._run(cell)
        finally:
            self.held.give(cell.id)
        self._open.discard(cell.id)
        return True

    def _came(self, cell: Cell) -> bool:
        """Take over the record that another run has made of a cell since this one began, if it is of use."""
        if self.store.stamp(cell.id) == self.began.get(cell.id):
            return False
        record = self.store.read(cell.id)
        if record is None:
            return False
        self.records[cell.id] = Brief.of(record, self.store.has_predictions(cell.id))
        gone = cell.id in self._keeping.parents and not self.store.has_weights(cell.id)
        if record.status == "interrupted" or (record.status == "ok" and (gone or not self.records[cell.id].predicted)):
            return False
        self._left.take(cell)
        return True

    def _run(self, cell: Cell) -> None:
        self.listener.started(cell, len(self.ran) + 1, self._count, self._left.seconds(self._rates))
        self._left.take(cell)
        attempt = _Attempt(self.plan, self.store, self.listener, cell, self.records, self._keeping)
        try:
            record = attempt.run(self.engine, self._fitting.get(_family(cell)))
        except KeyboardInterrupt:
            if cell.id not in self.records or self.records[cell.id].status != "ok":
                with suppress(StoreError):
                    self.store.write(attempt.record("interrupted", "the run was interrupted"))
            raise
        if _disk_is_full(record):
            raise DiskError(f"{self.store.root}: {record.reason}; make room: the same command goes on from here")
        try:
            self.store.write(record)
        except StoreError as error:
            raise DiskError(f"{error}; mend that: the same command goes on from here") from None
        if attempt.at_once is not None and record.status == "ok":
            self._fitting[_family(cell)] = attempt.at_once
        self.ran[cell.id] = record
        self.records[cell.id] = Brief.of(record, predicted=record.status == "ok")
        self._keeping.ended(record)
        self._rates.add(cell, self.records[cell.id])
        self.listener.ended(record)


class _Attempt:
    """One cell on its way to a record."""

    def __init__(
        self, plan: Plan, store: Store, listener: Listener, cell: Cell, records: Mapping[str, Brief], keeping: Keeping
    ) -> None:
        self.plan, self.store, self.listener, self.cell, self.records = plan, store, listener, cell, records
        self.keeping = keeping
        self.number = records[cell.id].attempt + 1 if cell.id in records else 1
        self.known: dict[str, Any] = {}
        self.points: list[dict[str, Any]] = []
        self.at_once: int | None = None

    def run(self, engine: Engine, fitting: int | None) -> Record:
        """Have the cell run, unless a parent of it did not end ok.

        When it runs out of memory it is run again with fewer examples of a batch at once, whose gradients are added up.
        `fitting` is how many are known to fit from a cell of its family: it begins with that.
        """
        for role, parent in self.cell.parents.items():
            problem = self._problem(role, parent)
            if problem is not None:
                return problem
        batch: int = self.cell.recipe["batch_size"]
        self.at_once = fitting if fitting is not None and fitting < batch else None
        result = self._try(engine)
        while result["status"] == "oom" and (self.at_once or batch) > FEWEST:
            self.at_once = max((self.at_once or batch) // FINER, FEWEST)
            self.listener.waiting(f"out of memory: once more with {self.at_once} examples at once")
            result = self._try(engine)
        if "cell" in result:
            return replace(Record.from_json(result), attempt=self.number)
        return self.record(**result)

    def _try(self, engine: Engine) -> dict[str, Any]:
        self.points.clear()
        job = {**self._job(), "at_once": self.at_once}
        return engine.run(job, self.plan.suite.deadline_seconds, self._watch)

    def record(self, status: str, reason: str, **known: Any) -> Record:
        """Return a record of what is known of a cell that did not live to write its own."""
        bare = Record(self.cell.id, self.plan.suite.suite, self.cell, "failed", attempt=self.number).to_json()
        return Record.from_json(
            {**bare, **self.known, **known, "status": status, "reason": reason, "curve": self.points}
        )

    def _problem(self, role: str, parent: str) -> Record | None:
        """Return the record of a cell that cannot run because its parent did not: skipped when the parent was."""
        found = self.records.get(parent)
        if found is not None and found.status == "ok":
            return None
        skip = self.plan.skips.get(parent)
        ended = found.status if found else "skipped" if skip else "missing"
        why = (found.reason if found else skip) or "no reason was recorded"
        return self.record("skipped" if ended == "skipped" else "failed", f"its {role} {parent} is {ended}: {why}")

    def _job(self) -> dict[str, Any]:
        store, cell = self.store, self.cell
        weights = self.keeping.place(cell)
        return {
            "suite": self.plan.suite.suite,
            "cell": cell.to_json(),
            "parents": {
                role: {"record": store.get(parent).to_json(), "weights": str(store.weights(parent).absolute())}
                for role, parent in cell.parents.items()
            },
            "artifacts": str(store.artifacts.absolute()),
            "predictions": str(store.predictions(cell.id).absolute()),
            "weights": None if weights is None else str(weights.absolute()),
            "weights_above": self.keeping.above(cell),
        }

    def _watch(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        body = {k: v for k, v in message.items() if k != "kind"}
        if kind == "begun":
            self.known = {key: body[key] for key in ("started_at", "environment")}
            self.listener.begun(self.cell)
        elif kind == "point":
            self.points.append(body)
            self.listener.point(self.cell, body)
        else:
            pass_on(message, self.listener)


def pass_on(message: Mapping[str, Any], listener: Listener) -> None:
    """Tell a listener what an engine says that is about no cell."""
    listener.waiting("starting the worker" if message["kind"] == "starting" else message["text"])


def work(cell: Cell) -> float:
    """Return the work of a cell in examples seen: what its seconds are taken to grow with."""
    return float(cell.size * cell.recipe["epochs"] + cell.size)


class Rates:
    """Seconds per example seen, from records: what a cell can be expected to take.

    Most alike is the same strategy on the same backbone, data and size, then without the size, then the same strategy,
    then any.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], list[float]] = {}
        self._medians: dict[tuple[str, ...], float] = {}

    @classmethod
    def of(cls, plan: Plan, now: Status) -> Rates:
        """Return the rates of a plan's records."""
        rates = cls()
        for entry in plan.runnable:
            if entry.cell.id in now.records:
                rates.add(entry.cell, now.records[entry.cell.id])
        return rates

    def add(self, cell: Cell, record: Brief) -> None:
        """Learn from the record of one more cell, if it ended ok."""
        if record.spent_seconds is not None:
            rate = record.spent_seconds / work(cell)
            for key in _alike(cell):
                self._found.setdefault(key, []).append(rate)
                self._medians.pop(key, None)

    def seconds(self, cell: Cell) -> float | None:
        """Return the expected seconds of a cell, by the median of the most alike records; None without any."""
        return self.expected(_alike(cell), work(cell))

    def expected(self, alike: Alike, work: float) -> float | None:
        """Return the expected seconds of so much work of cells that are alike; None without records."""
        key = next((key for key in alike if key in self._found), None)
        if key is None:
            return None
        if key not in self._medians:
            self._medians[key] = median(self._found[key])
        return self._medians[key] * work


class _Left:
    """The work that is left of a run, kept by kind of cell: each cell that starts asks what all the others take."""

    def __init__(self) -> None:
        self._work: dict[Alike, float] = {}

    def add(self, cells: Iterable[Cell]) -> None:
        """Add cells that are to be run."""
        for cell in cells:
            self._work[_alike(cell)] = self._work.get(_alike(cell), 0.0) + work(cell)

    def take(self, cell: Cell) -> None:
        """Leave out a cell."""
        self._work[_alike(cell)] -= work(cell)

    def seconds(self, rates: Rates) -> float | None:
        """Return the expected seconds of all that is left; None when those of any are not known."""
        return total(rates.expected(alike, amount) for alike, amount in self._work.items() if amount > 0)


def _alike(cell: Cell) -> Alike:
    strategy, backbone, dataset = cell.strategy["name"], cell.backbone["name"], cell.dataset["name"]
    return ((strategy, backbone, dataset, str(cell.size)), (strategy, backbone, dataset), (strategy,), ())


def _disk_is_full(record: Record) -> bool:
    """Say whether a cell failed for want of room on a disk, as every cell after it would."""
    words = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
    return record.status == "failed" and any(word in (record.reason or "") for word in words)


def _family(cell: Cell) -> tuple[str, ...]:
    """Return what cells have in common that need about the same memory for an example."""
    strategy = {name: value for name, value in cell.strategy.items() if name not in cell.parents}
    size = [cell.dataset.get(option) for option in EXTENTS.values()]
    return (str(cell.backbone), str(size), str(strategy), cell.recipe["precision"])


def total(seconds: Iterable[float | None]) -> float | None:
    """Return the sum of estimates, or None when one is missing."""
    values = list(seconds)
    return None if any(v is None for v in values) else sum(v for v in values if v is not None)

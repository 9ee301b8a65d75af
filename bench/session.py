"""What a run needs around its cells: a warm engine, a trial of what they need, a look at their data and at the best."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import schedule, seeing
from bench.cell import canonical
from bench.datasets import datasets
from bench.datasets import missing as lacks
from bench.engines.local import LocalEngine
from bench.errors import BenchError
from bench.keeping import unseen
from bench.planner import Entry, Plan
from bench.record import Record
from bench.schedule import Interrupted, Listener, Status, pass_on
from bench.store import Store

log = logging.getLogger("bench")

Surveys = Mapping[Path, Mapping[str, Any]]


def is_complete(plan: Plan, store: Store, now: Status) -> bool:
    """Say whether there is nothing to run, and nothing to explain that can be."""
    return not now.missing and not any(store.trained(cell.id) for cell in unseen(plan, store, now.records))


def complete(
    plan: Plan,
    store: Store,
    missing: Sequence[Entry],
    device: str,
    listener: Listener,
    force: bool = False,
    deterministic: bool = False,
    surveys: Surveys | None = None,
) -> dict[str, Record]:
    """Run what is missing of a plan, then explain what its suite wants to see; return the records that were made.

    Raises Interrupted, DiskError, and what `session` raises.
    """
    with session(plan, store, missing, device, listener, deterministic, surveys) as engine:
        ran = schedule.run(plan, store, engine, listener, force)
        try:
            waiting = unseen(plan, store, schedule.status(plan, store).records)
            seeing.explain(waiting, plan.suite.report.examples, store, engine, listener.waiting)
        except KeyboardInterrupt:
            raise Interrupted(len(ran)) from None
    return ran


@contextmanager
def session(
    plan: Plan,
    store: Store,
    missing: Sequence[Entry],
    device: str,
    listener: Listener,
    deterministic: bool = False,
    surveys: Surveys | None = None,
) -> Iterator[LocalEngine]:
    """Give an engine that is ready to run the missing entries of a plan on "cpu" or "cuda".

    Weights that do not fit and data that can't be had are found first: SuiteError is raised, with the place in the
    suite, before anything is written. At the end the `surveys` are made that are still not there; one that can't be
    made is told of, and no more. Raises StoreError, and EngineError.
    """
    with LocalEngine(device, deterministic) as engine:
        cells = [entry.cell.to_json() for entry in missing]
        mistake = engine.check(cells, lambda message: pass_on(message, listener))
        if mistake is not None:
            raise plan.error(mistake)
        store.sweep()
        store.write_suite(plan.suite.resolved())
        yield engine
        for path, spec in (surveys or {}).items():
            problem = None if path.exists() else engine.survey(spec, path, lambda told: pass_on(told, listener))
            if problem is not None:
                log.info("no survey of %s: %s", spec["name"], problem)


def wanted_surveys(plan: Plan, store: Store) -> Surveys:
    """Return what data sets of a plan have no survey yet, by the file that it will have."""
    specs = {canonical(entry.cell.dataset): entry.cell for entry in plan.runnable}
    found = {store.survey(cell.dataset): cell.plugin("dataset") for cell in specs.values()}
    return {path: spec for path, spec in found.items() if not path.exists()}


def here(surveys: Surveys) -> Surveys:
    """Return those whose data are on this machine: nothing is downloaded for a survey alone."""
    return {path: spec for path, spec in surveys.items() if _is_here(spec)}


def _is_here(spec: Mapping[str, Any]) -> bool:
    try:
        dataset = datasets.create(spec)
        dataset.facts()
        return lacks(dataset) is None
    except BenchError:
        return False

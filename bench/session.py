"""What a run needs around its cells: a warm engine, and what the cells need tried on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.engines.local import LocalEngine
from bench.planner import Entry, Plan
from bench.schedule import Engine, Listener, pass_on
from bench.store import Store


@contextmanager
def session(
    plan: Plan, store: Store, missing: Sequence[Entry], device: str, listener: Listener, deterministic: bool = False
) -> Iterator[Engine]:
    """Give an engine that is ready to run the missing entries of a plan on "cpu" or "cuda".

    Weights that do not fit and data that can't be had are found first: SuiteError is raised, with the place in the
    suite, before anything is written. Raises StoreError, and EngineError.
    """
    with LocalEngine(device, deterministic) as engine:
        cells = [entry.cell.to_json() for entry in missing]
        mistake = engine.check(cells, lambda message: pass_on(message, listener))
        if mistake is not None:
            raise plan.error(mistake)
        store.sweep()
        store.write_suite(plan.suite.resolved())
        yield engine

"""bench: which transfer-learning strategy, on your data, at your budget, and at what cost.

The verbs of the command line as functions. Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from bench.plan import Plan
    from bench.record import Record
    from bench.suite import Suite

__version__ = "0.1.0"
__all__ = ["load_suite", "plan", "records", "run"]


def load_suite(path: str | Path, profile: str | None = None, settings: Sequence[str] = ()) -> Suite:
    """Read and check a suite file. Raises SuiteError."""
    from bench.suite import load

    return load(path, profile, settings)


def plan(suite: Suite, only: str | None = None) -> Plan:
    """Return the cells of a suite, in the order in which they run. Raises SuiteError."""
    from bench.plan import expand

    return expand(suite, only)


def run(planned: Plan, results: str | Path = "results", device: str = "auto", force: bool = False) -> dict[str, Record]:
    """Run what is missing of a plan and return all its records by cell id.

    A script that calls this keeps it under `if __name__ == "__main__":`, since the worker is a spawned process.
    """
    from bench.engines.local import LocalEngine, resolve_device
    from bench.schedule import run as run_missing
    from bench.store import Store
    from bench.terminal import Silent

    store = Store(results, planned.suite.suite)
    store.check()
    with store.lock(), LocalEngine(resolve_device(device)) as engine:
        store.write_suite(planned.suite.resolved())
        return run_missing(planned, store, engine, Silent(), force)


def records(suite: str, results: str | Path = "results") -> pd.DataFrame:
    """Return the records of a suite as a pandas frame, one row a cell."""
    from bench.report.export import frame
    from bench.store import Store

    return frame(list(Store(results, suite).every()))

"""bench: which transfer-learning strategy, on your data, at your budget, and at what cost.

The verbs of the command line as functions. Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from bench.planner import Plan
    from bench.record import Record
    from bench.suite import Suite

__version__ = "0.1.0"
__all__ = ["load_suite", "plan", "predict", "records", "run"]


def load_suite(path: str | Path, profile: str | None = None, settings: Sequence[str] = ()) -> Suite:
    """Read and check a suite file. Raises SuiteError."""
    from bench.suite import load

    return load(path, profile, settings)


def plan(suite: Suite, only: str | None = None) -> Plan:
    """Return the cells of a suite, in the order in which they run. Raises SuiteError."""
    from bench.planner import expand

    return expand(suite, only)


def run(
    planned: Plan,
    results: str | Path = "results",
    device: str = "auto",
    force: bool = False,
    deterministic: bool = False,
) -> dict[str, Record]:
    """Run what is missing of a plan and return all its records by cell id; no report is written.

    A script that calls this does so under `if __name__ == "__main__":`, since the worker is a spawned process. Raises
    SuiteError for what turns out to be wrong before the first cell, UsageError for a device that is not there,
    StoreError and EngineError.
    """
    from bench import schedule
    from bench.engines.device import resolve_device
    from bench.session import complete, is_complete
    from bench.store import Store
    from bench.terminal import Silent

    store = Store(results, planned.suite.suite)
    store.check(writing=True)
    now = schedule.status(planned, store, force)
    if not is_complete(planned, store, now):
        complete(planned, store, now.missing, resolve_device(device), Silent(), force, deterministic)
    return store.read_all(e.cell.id for e in planned.runnable)


def records(suite: str, results: str | Path = "results") -> pd.DataFrame:
    """Return the records of a suite as a pandas frame, one row a cell. Raises StoreError when there are none."""
    from bench.errors import StoreError, did_you_mean, nearest
    from bench.report.export import frame
    from bench.store import Store

    store = Store(results, suite)
    store.check()
    found = list(store.every())
    if not found:
        others = [path.name for path in Path(results).glob("*/") if any(Store(results, path.name).every())]
        raise StoreError(f"{store.folder}: there are no records of a suite here{did_you_mean(nearest(suite, others))}")
    return frame(found)


def predict(
    cell: str,
    paths: str | Path | Sequence[str | Path] = (),
    results: str | Path = "results",
    device: str = "auto",
    top: int = 3,
    texts: str | Sequence[str] = (),
) -> pd.DataFrame:
    """Return what a trained cell takes pictures or texts for, as a pandas frame with one row an input.

    `cell` is an id or its beginning; `paths` are files, folders of them, or patterns, and of a cell that has learnt
    from texts .txt files, a text a line, beside the `texts` themselves. The columns are `input`, `label`, `probability`
    and the next likeliest as `label_2`, `probability_2`, ...; where an input could not be read they are empty, and
    `problem` says why. A script calls this under `if __name__ == "__main__":`, as `run`. Raises UsageError,
    which says how to have weights that were not kept, StoreError and EngineError.
    """
    from bench import predicting
    from bench.given import Given

    named = [str(paths)] if isinstance(paths, str | Path) else [str(path) for path in paths]
    given = Given(named, [texts] if isinstance(texts, str) else list(texts))
    answers = predicting.asked(cell, given, Path(results), device, top, lambda done, total: None)
    return predicting.frame(answers, top)

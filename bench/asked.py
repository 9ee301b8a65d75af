"""What a command line asks for: a suite with its options, its plan, its study, and where the report goes."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.planner import Plan
    from bench.record import Record
    from bench.report import Study
    from bench.store import Store


@dataclass(frozen=True)
class Asked:
    """A suite file, a profile of it, the cells to keep, settings over it, and the results folder."""

    suite: Path
    profile: str | None = None
    only: str | None = None
    settings: tuple[str, ...] = ()
    results: Path = Path("results")

    @property
    def command(self) -> str:
        """The command that runs it, all of its cells."""
        words = ["bench", "run", str(self.suite)]
        words += ["--profile", self.profile] if self.profile else []
        words += [word for setting in self.settings for word in ("--set", setting)]
        words += ["--results", str(self.results)] if self.results != Path("results") else []
        return shlex.join(words)

    def plan(self) -> tuple[Plan, Store]:
        """Return its plan, and the store, which can be read. Raises SuiteError, UsageError and StoreError."""
        from bench.planner import expand
        from bench.store import Store
        from bench.suite import load

        planned = expand(load(self.suite, self.profile, self.settings), self.only)
        store = Store(self.results, planned.suite.suite)
        store.check()
        return planned, store

    def study(self, plan: Plan, records: Sequence[Record]) -> Study:
        """Return what a report of these records is made from."""
        from bench.report import Study
        from bench.shelf import Shelf
        from bench.store import Store

        there = {record.cell_id for record in records}
        missing = tuple(entry.cell for entry in plan.entries if entry.cell.id not in there)
        shelf = Shelf(Store(self.results, plan.suite.suite))
        return Study(plan.suite.resolved(), plan.primary, tuple(records), plan.parents, self.command, missing, shelf)

    def stored(self) -> Study:
        """Return the study of what is stored. Raises UsageError when there is nothing yet."""
        from bench import overview

        planned, store = self.plan()
        records = overview.records(planned, store)
        if all(r.status == "skipped" for r in records):
            told = f"there are no records of this suite yet; `{self.command}` makes them"
            raise UsageError(f"{store.folder}: {told}")
        return self.study(planned, records)


def check_writable(reports: Path) -> None:
    """Refuse, before hours of work, a reports folder that cannot be written at the end of them."""
    there = next(p for p in (reports, *reports.absolute().parents) if os.path.lexists(p))
    fits = len(reports.name) <= os.pathconf("/", "PC_NAME_MAX")
    if not (fits and there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise UsageError(f"{reports}: cannot be written; choose another folder with --reports, or --no-report")


def write_report(study: Study, reports: Path) -> Path:
    """Write the report of a study into its folder; return the path of the page."""
    from bench.report import write

    with writing(reports):
        return write(study, reports / str(study.suite["suite"]))


def write_beside(paths: Sequence[Path], asked: Asked, reports: Path) -> Path:
    """Write two suites, or two runs of one (their results folders), side by side, with the options of `asked`."""
    from bench.report import Side, write_versus

    studies = [(_run(path, asked) if path.is_dir() else replace(asked, suite=path)).stored() for path in paths]
    names = [str(study.suite["suite"]) for study in studies]
    if names[0] == names[1]:
        names = [path.as_posix() for path in paths]
    a, b = (Side(name, study) for name, study in zip(names, studies, strict=True))
    if a.study.primary != b.study.primary:
        raise UsageError(f"{names[0]} is ranked by {a.study.primary} and {names[1]} by {b.study.primary}")
    folder = "-vs-".join(re.sub(r"[^\w.]+", "-", name).strip("-.") for name in names)
    with writing(reports):
        return write_versus(a, b, reports / folder)


def _run(folder: Path, asked: Asked) -> Asked:
    """Return what a results folder was asked for: the suite that is beside its records."""
    from bench.suite import load

    whole = folder.resolve()
    name = load(folder / "suite.json").suite
    if name != whole.name:
        raise UsageError(f"{folder}: holds the records of {name}, so the folder has to be called {name}")
    return replace(asked, suite=folder / "suite.json", profile=None, results=whole.parent)


@contextmanager
def writing(reports: Path) -> Iterator[None]:
    """Say in one line that a report cannot be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{reports}: the report cannot be written: {error}; choose another with --reports") from None

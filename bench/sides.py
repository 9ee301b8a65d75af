"""What `bench compare` is given: a results folder, a baseline, that of a git ref, or a pytest-benchmark file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import git
from bench.compare import baseline, pytest_benchmark
from bench.errors import BenchError, UsageError
from bench.files import parse_json
from bench.record import Record
from bench.store import Store

BASELINES, HISTORY = "baselines", "history"
GIT = "git:"


def baseline_path(results: Path, suite: str) -> Path:
    """Return where the baseline of a suite is kept."""
    return results / BASELINES / f"{suite}.jsonl"


def history_path(results: Path, suite: str) -> Path:
    """Return where the history of a suite is kept."""
    return results / HISTORY / f"{suite}.jsonl"


def load(given: str, results: Path, suite: str | None = None) -> list[Record]:
    """Return the records that a word of the command line stands for. Raises UsageError and StoreError.

    `git:REF` is the baseline of `suite` at that ref, `git:REF:PATH` any other.
    """
    if given.startswith(GIT):
        return _of_git(given, results, suite)
    path = Path(given)
    if path.is_dir():
        return _of_run(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"{path}: is no results folder, baseline (.jsonl) or pytest-benchmark file (.json); a git ref is git:REF"
        ) from None
    if path.suffix == ".jsonl":
        return baseline.read(text, given)
    try:
        return pytest_benchmark.records(text)
    except ValueError as error:
        raise UsageError(f"{path}: is no file of pytest-benchmark: {error}") from None


def _of_run(folder: Path) -> list[Record]:
    """Return the records of a results folder that its suite still plans: others are of an earlier version of it."""
    from bench.planner import expand
    from bench.suite import load as load_suite

    store = Store(folder.parent, folder.name)
    store.check()
    records = {record.cell_id: record for record in store.every()}
    if not records:
        raise UsageError(f"{folder}: there are no records here; name the folder of a suite, such as results/homework1")
    try:
        planned = {entry.cell.id for entry in expand(load_suite(folder / "suite.json")).entries}
    except BenchError:  # made by hand, or its data are not here: then every record counts
        return list(records.values())
    kept = [record for cell_id, record in records.items() if cell_id in planned]
    if not kept:
        raise UsageError(
            f"{folder}: none of its {len(records)} records is of the suite as it is planned now; run it again"
        )
    return kept


def gate_of(given: str) -> list[str]:
    """Return the limits of the suite that a results folder was made by; none for anything else."""
    path = Path(given) / "suite.json"
    try:
        found = parse_json(path.read_bytes()).get("gate")
    except (OSError, ValueError, AttributeError):
        return []
    return [str(limit) for limit in found] if isinstance(found, list) else []


def suite_of(records: Sequence[Record]) -> str | None:
    """Return the one suite that records are of, or None."""
    suites = {record.suite for record in records}
    return suites.pop() if len(suites) == 1 else None


def _of_git(given: str, results: Path, suite: str | None) -> list[Record]:
    ref, _, path = given.removeprefix(GIT).partition(":")
    if not path:
        if suite is None:
            raise UsageError(f"{given}: of which suite is not known; write {given}:{baseline_path(results, 'SUITE')}")
        path = baseline_path(results, suite).as_posix()
    if ref.startswith("-"):
        raise UsageError(f"{given}: is no git ref")
    # "./" has git look from this folder on, as every other path of the command line does.
    try:
        shown = git.ask(given, "show", f"{ref}:./{path}").decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{given}: is no text, so no baseline") from None
    return baseline.read(shown, f"{ref}:{path}")

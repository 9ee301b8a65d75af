"""What `bench compare` is given: a results folder, a baseline, that of a git ref, or a pytest-benchmark file."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cell import Cell
from bench.compare import baseline
from bench.errors import BenchError, UsageError
from bench.record import Latency, Record
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
    return baseline.read(text, given) if path.suffix == ".jsonl" else _of_benchmarks(text, path)


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
    return [record for cell_id, record in records.items() if cell_id in planned]


def gate_of(given: str) -> list[str]:
    """Return the limits of the suite that a results folder was made by; none for anything else."""
    path = Path(given) / "suite.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("gate")
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
    command = ["git", "show", f"{ref}:./{path}"]
    try:
        shown = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{given}: is no text, so no baseline") from None
    except FileNotFoundError:
        raise UsageError(f"{given}: git is not installed") from None
    except subprocess.CalledProcessError as error:
        why = (error.stderr.decode(errors="replace").strip().splitlines() or ["git failed"])[0].removeprefix("fatal: ")
        raise UsageError(f"{given}: {why}") from None
    return baseline.read(shown, f"{ref}:{path}")


def _of_benchmarks(text: str, path: Path) -> list[Record]:
    """Return the benchmarks of a file as records that have a latency and nothing else."""
    try:
        data = json.loads(text)
        named = {str(b.get("fullname") or b["name"]): _samples(b) for b in data["benchmarks"]}
        facts = dict(data.get("machine_info") or data.get("environment") or {})
        commit = dict(data.get("commit_info") or {})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{path}: is no file of pytest-benchmark: it has no list of benchmarks with their data"
        ) from None
    machine = facts.get("fingerprint") or _fingerprint(facts)
    environment = {"fingerprint": machine, "git_commit": commit.get("id") or facts.get("git_commit")}
    return [_timed(name, samples, environment) for name, samples in named.items() if samples]


def _samples(benchmark: Mapping[str, Any]) -> tuple[float, ...]:
    found = benchmark["seconds"] if "seconds" in benchmark else benchmark["stats"]["data"]
    return tuple(1000.0 * float(x) for x in found if math.isfinite(x))


def _timed(name: str, samples: tuple[float, ...], environment: Mapping[str, Any]) -> Record:
    parts: dict[str, Any] = {
        "task": {"name": "benchmark"},
        "dataset": {"name": "none"},
        "size": 0,
        "recipe": {},
        "seed": 0,
    }
    cell = Cell(**parts, backbone={"name": "none", "weights": None}, strategy={"name": name})
    middle = statistics.median(samples)
    ordered = sorted(samples)
    p90, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.9, 0.99))
    latency = Latency("host", 0, 1, middle, p90, p99, samples, 1000.0 / middle if middle else 0.0)
    return Record(cell.id, "benchmarks", cell, "ok", latency=(latency,), environment=environment)


def _fingerprint(facts: Mapping[str, Any]) -> str:
    cpu = facts.get("cpu")
    brand = cpu.get("brand_raw") if isinstance(cpu, Mapping) else cpu
    told = [facts.get(k) for k in ("machine", "system", "python_version")]
    return hashlib.sha256(json.dumps([brand, *told], default=str).encode()).hexdigest()[:12]

"""Measures again, turn by turn, what a gate calls slower: the base's code and this one, on the same cells.

Times of two sessions on one machine differ by more than most changes of code. Times of two codes that take turns in one
session don't: whatever the machine does, it does to both.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import bench
from bench import git
from bench.compare.gate import Change, Gate, Verdict
from bench.compare.measures import Limit
from bench.compare.statistics import ALPHA, MIN_SEEDS, difference, holm
from bench.errors import UsageError
from bench.naming import points
from bench.record import Record
from bench.sides import load

# Seeds of a point that are run again: each is as good as another for its time.
MOST_SEEDS = 2
INSTEAD = "; give --base-code FOLDER"


@dataclass(frozen=True)
class Codes:
    """Where the two codes are: folders to be put on the path of Python."""

    base: Path
    new: Path


@contextmanager
def codes(base: Sequence[Record], given: Path | None) -> Iterator[Codes]:
    """Have both codes at hand: the base's is a folder, or the commit of its records, checked out for a while."""
    here = Path(bench.__file__).parents[1]
    if given is not None:
        if not given.is_dir():
            raise UsageError(f"--base-code {given}: is no folder")
        yield Codes(given.resolve(), here)
        return
    commits = {str(record.environment.get("git_commit") or "") for record in base}
    commit = commits.pop() if len(commits) == 1 else ""
    if not commit:
        raise UsageError("--confirm: the base's records do not say which commit they are of" + INSTEAD)
    with tempfile.TemporaryDirectory(prefix="bench-base-") as folder:
        target = Path(folder) / "code"
        git.ask("--confirm", "worktree", "add", "--detach", str(target), commit, folder=here, instead=INSTEAD)
        try:
            yield Codes(target, here)
        finally:
            git.ask("--confirm", "worktree", "remove", "--force", str(target), folder=here, instead=INSTEAD)


def slower(gate: Gate, limits: Sequence[Limit]) -> list[Change]:
    """Return the regressions that can be confirmed: those of times."""
    timed = {limit.measure.name for limit in limits if limit.measure.family == "time"}
    return [change for change in gate.regressions if change.measure in timed]


def confirmed(
    gate: Gate,
    limits: Sequence[Limit],
    new: Sequence[Record],
    suite: Path,
    both: Codes,
    rounds: int,
    told: Callable[[str], None],
) -> Gate:
    """Run the cells of what is slower again, so many rounds, and return the gate with what that says of it."""
    asked = slower(gate, limits)
    named = points([record.cell for record in new])
    cells: dict[str, list[str]] = {}
    for record in new:
        if record.status == "ok" and len(cells.setdefault(named[record.cell_id], [])) < MOST_SEEDS:
            cells[named[record.cell_id]].append(record.cell_id)
    wanted = sorted({cell_id for change in asked for cell_id in cells[change.point]})
    taken: list[tuple[dict[str, Record], dict[str, Record]]] = []
    for number in range(rounds):
        found = {}
        for side in _order(number):
            told(f"round {number + 1} of {rounds}: {side}")
            found[side] = _run(getattr(both, side), suite, wanted)
        taken.append((found["base"], found["new"]))
    by_name = {limit.measure.name: limit for limit in limits}
    ratios = {change: _ratios(by_name[change.measure], cells[change.point], taken) for change in asked}
    return replace(gate, changes=_judged(gate.changes, ratios, by_name))


def _order(number: int) -> tuple[str, str]:
    """Return which side goes first in a round: they take turns."""
    return ("base", "new") if number % 2 == 0 else ("new", "base")


def _run(code: Path, suite: Path, cells: Sequence[str]) -> dict[str, Record]:
    """Run cells with a code in a results folder of its own; return the records."""
    paths = [str(folder) for folder in (code, code / "src") if folder.is_dir()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryDirectory(prefix="bench-again-") as results:
        command = [sys.executable, "-m", "bench", "run", str(suite.resolve()), "--only", f"cell={'|'.join(cells)}"]
        done = subprocess.run(
            [*command, "--results", results, "--no-report"],
            cwd=code,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            why = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UsageError(f"--confirm: the cells did not run again with {code}: {why}")
        (folder,) = (path.parent for path in Path(results).glob("*/suite.json"))
        return {record.cell_id: record for record in load(str(folder), Path(results))}


def _ratios(
    limit: Limit, cells: Sequence[str], taken: Sequence[tuple[Mapping[str, Record], Mapping[str, Record]]]
) -> list[float]:
    """Return the logarithm of new to base of each round, the mean over cells."""
    found = []
    for base, new in taken:
        both = [(limit.measure.read(base[i]), limit.measure.read(new[i])) for i in cells if i in base and i in new]
        logs = [math.log(y / x) for x, y in both if x and y]
        if logs:
            found.append(statistics.fmean(logs))
    return found


def _judged(
    changes: Sequence[Change], ratios: Mapping[Change, Sequence[float]], limits: Mapping[str, Limit]
) -> tuple[Change, ...]:
    """Return changes with the verdicts that the rounds give."""
    told = {change: difference(logs) for change, logs in ratios.items() if len(logs) >= MIN_SEEDS}
    tested = {change: d.p for change, d in told.items() if d is not None and d.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    made = []
    for change in changes:
        if change not in ratios:
            made.append(change)
            continue
        d, p = told.get(change), adjusted.get(change)
        if d is None or p is None:
            note = f"not confirmed: {len(ratios[change])} of the {MIN_SEEDS} rounds that it needs could be timed"
            made.append(replace(change, verdict="not comparable", note=note))
            continue
        ratio = math.exp(d.mean) - 1
        limit = limits[change.measure]
        allowed = limit.amount if limit.relative else limit.amount / (change.base or math.inf)
        verdict: Verdict = "regression" if p < ALPHA and ratio > allowed else "no change shown"
        word = "confirmed" if verdict == "regression" else "not confirmed"
        note = f"{word}: {ratio:+.1%} in {d.n} rounds turn by turn; {change.change or 0:+.1%} between the sessions"
        made.append(replace(change, change=ratio, p=p, verdict=verdict, note=note))
    return tuple(made)

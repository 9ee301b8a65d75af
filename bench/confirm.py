"""Measures times anew, turn by turn: the base's code and this one, on the same cells.

Times of two sessions on one machine differ by more than most changes of code: a slow moment looks like a slow code, and
hides one. Times of two codes that take turns in one session don't: whatever the machine does, it does to both.
"""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import bench
from bench import git
from bench.compare.gate import ROUNDING, Change, Found, Gate, change_of, judged, not_comparable
from bench.compare.measures import Limit
from bench.compare.moderated import Prior
from bench.compare.statistics import MIN_SEEDS, difference
from bench.errors import UsageError
from bench.record import Latency, Record
from bench.sides import load

# Seeds of a point that are run again: each is as good as another for its time.
MOST_SEEDS = 2
# Turns of two networks in a round.
TURNS = 12
COMMIT = re.compile(r"[0-9a-f]{7,64}")
INSTEAD = "; give --base-code FOLDER"

Told = Callable[[str], None]
Turn = tuple[Mapping[str, Record], Mapping[str, Record]]


@dataclass(frozen=True)
class Codes:
    """Where the two codes are: folders to be put on the path of Python."""

    base: Path
    new: Path


@contextmanager
def codes(base: Sequence[Record], given: Path | None, told: Told) -> Iterator[Codes]:
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
    if not COMMIT.fullmatch(commit):  # a baseline may come from anywhere, and a word for git could be an option
        raise UsageError(f"--confirm: the base's records are of {commit[:40]!r}, which is no commit" + INSTEAD)
    if any(record.environment.get("git_dirty") for record in base):
        told(f"the base's records are of commit {commit[:7]} with changes on top, which are not run again")
    with tempfile.TemporaryDirectory(prefix="bench-base-") as folder:
        target = Path(folder) / "code"
        git.ask("--confirm", "worktree", "add", "--detach", str(target), commit, folder=here, instead=INSTEAD)
        try:
            yield Codes(target, here)
        finally:
            git.ask("--confirm", "worktree", "remove", "--force", str(target), folder=here, instead=INSTEAD)


def timed(limits: Sequence[Limit]) -> list[Limit]:
    """Return the limits that are judged turn by turn: those of times."""
    return [limit for limit in limits if limit.measure.family == "time"]


def confirmed(
    gate: Gate, limits: Sequence[Limit], new: Sequence[Record], suite: Path, both: Codes, rounds: int, told: Told
) -> Gate:
    """Return the gate with its times judged by so many rounds, in which the two codes run its cells in turn."""
    asked = {limit.measure.name: limit for limit in timed(limits)}
    between = {(change.measure, change.point): change for change in gate.changes if change.measure in asked}
    found: list[Change] = []
    networks = {name: limit for name, limit in asked.items() if limit.measure.raw is not None}
    if networks:
        records = {record.cell_id: record for record in new}
        held = {point: records[cells[0]] for point, cells in gate.points.items()}
        keys = {point: entry for point, record in held.items() if (entry := _timed_entry(record)) is not None}
        one_each = {entry: held[point] for point, entry in keys.items()}
        taken = {entry: list(_bursts(both, record, rounds, told)) for entry, record in one_each.items()}
        for limit in networks.values():
            found += _judged(limit, {point: taken[entry] for point, entry in keys.items()}, keys, between)
    rest = {name: limit for name, limit in asked.items() if name not in networks}
    if rest:
        seeds = {point: cells[:MOST_SEEDS] for point, cells in gate.points.items()}
        turns = list(_turns(both, suite, sorted({i for ids in seeds.values() for i in ids}), rounds, told))
        for limit in rest.values():
            pairs = {point: _pairs(limit, ids, turns) for point, ids in seeds.items()}
            found += _judged(limit, pairs, seeds, between)
    judgements = {(change.measure, change.point): change for change in found}
    return replace(gate, changes=tuple(judgements.get((c.measure, c.point), c) for c in gate.changes))


def _timed_entry(record: Record) -> Latency | None:
    """Return the latency of one input; cells that share it share the measurement: a network is timed once for all."""
    return next((entry for entry in record.latency if entry.batch == 1), None)


def _turns(both: Codes, suite: Path, cells: Sequence[str], rounds: int, told: Told) -> Iterator[Turn]:
    """Yield what the base's code and the new one measured in each round."""
    for number in range(rounds):
        found = {}
        for side in _order(number):
            told(f"round {number + 1} of {rounds}: {side}")
            found[side] = _run(getattr(both, side), suite, cells)
        yield found["base"], found["new"]


def _bursts(both: Codes, record: Record, rounds: int, told: Told) -> Iterator[tuple[float, float]]:
    """Yield the milliseconds of a pass with the base's code and with the new one: in each round two fresh processes,
    that take turns within tenths of a second.
    """
    for number in range(rounds):
        told(f"round {number + 1} of {rounds}: both, turn by turn")
        with _burst(both.base, record) as base, _burst(both.new, record) as new:
            for ask in (base, new):
                ask()  # until it is warm
            taken: list[tuple[float, float]] = []
            for turn in range(TURNS):
                first = base() if turn % 2 == 0 else new()
                second = new() if turn % 2 == 0 else base()
                taken.append((first, second) if turn % 2 == 0 else (second, first))
        middle = statistics.median(x for x, _ in taken)
        yield middle, middle * statistics.median(y / x for x, y in taken)


@contextmanager
def _burst(code: Path, record: Record) -> Iterator[Callable[[], float]]:
    """Have a process that times a record's network with a code; a call gives the milliseconds of a pass."""
    entry, classes, mode = _timed_entry(record), record.details.get("classes"), record.details.get("mode")
    assert entry is not None
    asked = {"cell": record.cell.to_json(), "batch": entry.batch, "device": entry.device}
    asked["classes"] = len(classes) if isinstance(classes, list | tuple) else 2
    asked["precision"] = mode["precision"] if isinstance(mode, Mapping) else "fp32"
    command = [sys.executable, "-P", "-m", "bench.engines.burst"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, env=_environment(code), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        given, said = process.stdin, process.stdout
        assert given is not None
        assert said is not None

        def ask() -> float:
            with suppress(BrokenPipeError):  # then there is no answer, and the reason is among the errors
                print(file=given, flush=True)
            line = said.readline()
            if not line:
                errors.seek(0)
                why = (errors.read().strip().splitlines() or ["no message"])[-1]
                older = "; it is older than that, so leave its latency out" if "bench.engines.burst" in why else ""
                raise UsageError(f"--confirm: the network was not timed with {code}: {why}{older}")
            return float(line)

        try:
            with suppress(BrokenPipeError):
                print(json.dumps(asked), file=given, flush=True)
            yield ask
        finally:
            process.kill()
            process.wait()
            for end in (given, said):
                with suppress(BrokenPipeError):
                    end.close()


def _order(number: int) -> tuple[str, str]:
    """Return which side goes first in a round: they take turns."""
    return ("base", "new") if number % 2 == 0 else ("new", "base")


def _run(code: Path, suite: Path, cells: Sequence[str]) -> dict[str, Record]:
    """Run cells with a code in a results folder of its own; return the records."""
    with tempfile.TemporaryDirectory(prefix="bench-again-") as results:
        # -P: not what happens to lie in this folder, but what is on the path.
        command = [sys.executable, "-P", "-m", "bench", "run", str(suite), "--only", f"cell={'|'.join(cells)}"]
        done = subprocess.run(
            [*command, "--results", results, "--no-report"],
            env=_environment(code),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            why = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UsageError(f"--confirm: the cells did not run again with {code}: {why}")
        (folder,) = (path.parent for path in Path(results).glob("*/suite.json"))
        return {record.cell_id: record for record in load(str(folder), Path(results))}


def _environment(code: Path) -> dict[str, str]:
    """Return the environment of a process that runs a code."""
    paths = [str(folder) for folder in (code, code / "src") if folder.is_dir()]
    # An empty entry would be the current folder, before everything else.
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [*paths, os.environ.get("PYTHONPATH")]))}


def _judged(
    limit: Limit,
    pairs: Mapping[str, Sequence[tuple[float, float]]],
    shared: Mapping[str, object],
    between: Mapping[tuple[str, str], Change],
) -> list[Change]:
    """Return the changes of one measure as the rounds tell them; deviations of points lean on each other.

    Points that are `shared` alike have one measurement between them.
    """
    name = limit.measure.name
    logs = {point: [math.log(y / x) for x, y in held] for point, held in pairs.items()}
    prior = Prior.of({shared[point]: found for point, found in logs.items()}.values())
    found = []
    for point, ratios in logs.items():
        d = difference(ratios, prior) if len(ratios) >= MIN_SEEDS else None
        if d is None or d.p is None:
            why = f"turn by turn {len(ratios)} of the {MIN_SEEDS} rounds that a verdict needs could be timed"
            found.append(not_comparable(limit, point, why))
            continue
        base, new = (statistics.median(side) for side in zip(*pairs[point], strict=True))
        ratio, told = math.exp(d.mean) - 1, between[name, point].change
        note = f"turn by turn, {d.n} rounds" + ("" if told is None else f"; {told:+.1%} between the sessions")
        allowed = limit.amount if limit.relative else limit.amount / base
        change = change_of(limit, point, base, new, ratio, note)
        found.append(Found(change, ratio, allowed + ROUNDING, d.p, shared=shared[point]))
    return [_with_word(change, between[name, change.point]) for change in judged(found)]


def _with_word(change: Change, before: Change) -> Change:
    """Say of what the sessions called a regression whether the rounds do."""
    if before.verdict != "regression" or change.verdict == "not comparable":
        return change
    word = "confirmed" if change.verdict == "regression" else "not confirmed"
    return replace(change, note=f"{word}: {change.change or 0:+.1%} {change.note}")


def _pairs(limit: Limit, cells: Sequence[str], turns: Sequence[Turn]) -> list[tuple[float, float]]:
    """Return base and new of each round, geometric means over cells; without rounds that could not be timed."""
    found = []
    for base, new in turns:
        both = [(limit.measure.read(base[i]), limit.measure.read(new[i])) for i in cells if i in base and i in new]
        logs = [(math.log(x), math.log(y)) for x, y in both if x and y]
        if logs:
            x, y = (math.exp(statistics.fmean(side)) for side in zip(*logs, strict=True))
            found.append((x, y))
    return found

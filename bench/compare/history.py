"""How the numbers of a suite went from commit to commit: a line of JSON a run, and where a series changed its level."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.compare.measures import MEASURES, measure_of
from bench.errors import StoreError
from bench.files import parse_json
from bench.naming import flat, natural
from bench.record import Record

# A level is told from another by so many runs at least on each side, or nothing could tell it from a bad day.
LEAST = 3
# What a change point costs, in variances of the noise and logarithms of the number of runs: twice the Bayesian
# information criterion's, since a series that cries wolf is not looked at.
PENALTY = 4.0


@dataclass(frozen=True)
class Run:
    """One run of a suite: the commit of the code, the machine, when its last cell began, values[measure][point]."""

    commit: str
    machine: str
    when: str
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Series:
    """One measure at one point over runs, oldest first; what depends on the machine is a series for each.

    `changes` are the numbers of the runs with which a new level begins.
    """

    measure: str
    point: str
    machine: str | None
    runs: tuple[Run, ...]
    values: tuple[float, ...]
    changes: tuple[int, ...]

    def levels(self) -> list[float]:
        """Return the mean of each level."""
        ends = [0, *self.changes, len(self.values)]
        return [statistics.fmean(self.values[a:b]) for a, b in pairwise(ends)]


def run_of(records: Sequence[Record]) -> Run:
    """Return what history keeps of the latest run among records: means over the seeds that ended ok.

    Records of another commit or machine, which a resumed run leaves as they are, are not of it.
    """
    last = max(records, key=lambda record: record.started_at or "")
    mine = [record for record in records if record.status == "ok" and _made_by(record) == _made_by(last)]
    points: dict[str, list[Record]] = {}
    for record in mine:
        points.setdefault(_name(record), []).append(record)
    values: dict[str, dict[str, float]] = {}
    for point, held in points.items():
        for name in (*MEASURES, *sorted({name for record in held for name in record.metrics})):
            found = [v for record in held if (v := measure_of(name).read(record)) is not None]
            if found:
                values.setdefault(name, {})[point] = statistics.fmean(found)
    return Run(*_made_by(last), last.started_at or "", values)


def _made_by(record: Record) -> tuple[str, str]:
    return str(record.environment.get("git_commit")), str(record.environment.get("fingerprint"))


def _name(record: Record) -> str:
    """Name a record's point by all that it is, so that its series goes on when the suite gets other cells."""
    c = record.cell
    options = {k: v for k, v in flat(c.strategy) if k != "name" and not k.endswith(("version", "digest"))}
    told = ", ".join(f"{k}={v}" for k, v in options.items())
    strategy = f"{c.strategy['name']}({told})" if told else str(c.strategy["name"])
    return " · ".join([strategy, str(c.backbone["name"]), str(c.dataset["name"]), f"n={c.size}"])


def line(run: Run) -> str:
    """Return a run as a line of a history's file."""
    body = {"commit": run.commit, "when": run.when, "machine": run.machine, "values": run.values}
    return json.dumps(body, sort_keys=True, allow_nan=False, separators=(",", ":")) + "\n"


def read(text: str, where: str) -> list[Run]:
    """Return the runs of a history's text, oldest first. Raises StoreError with the line that is none."""
    found = []
    for number, each in enumerate(text.split("\n"), 1):
        if each:
            try:
                body = parse_json(each)
                values = {m: {p: float(v) for p, v in points.items()} for m, points in body["values"].items()}
                if not all(math.isfinite(v) for points in values.values() for v in points.values()):
                    raise ValueError("a value is no number")
                found.append(Run(str(body["commit"]), str(body["machine"]), str(body["when"]), values))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
                raise StoreError(f"{where}:{number}: is no line of a history") from None
    return sorted(found, key=lambda run: run.when)


def added(runs: Iterable[Run], new: Run) -> list[Run]:
    """Return runs with a new one, in the place of the same run where it is there already."""
    kept = [run for run in runs if (run.commit, run.when, run.machine) != (new.commit, new.when, new.machine)]
    return sorted([*kept, new], key=lambda run: run.when)


def series(runs: Sequence[Run]) -> list[Series]:
    """Return every series of a history, those that changed first."""
    found: dict[tuple[str, str, str | None], list[tuple[Run, float]]] = {}
    for run in runs:
        for name, points in run.values.items():
            machine = run.machine if measure_of(name).family in ("time", "memory") else None
            for point, value in points.items():
                found.setdefault((name, point, machine), []).append((run, value))
    made = []
    for (name, point, machine), held in found.items():
        values = tuple(value for _, value in held)
        changes = tuple(change_points(values))
        made.append(Series(name, point, machine, tuple(run for run, _ in held), values, changes))
    return sorted(made, key=lambda each: (not each.changes, each.measure, natural(each.point)))


def change_points(values: Sequence[float]) -> list[int]:
    """Return the indices with which a new level begins: by PELT on the mean (Killick et al., 2012, arXiv 1101.1438).

    The noise is taken from the differences of neighbours, half of which see no change of level. A series without noise,
    such as a count of parameters, has a new level wherever it changes.
    """
    steps = [b - a for a, b in pairwise(values)]
    if not any(steps):
        return []
    # The deviation of a normal is 1.4826 times the median distance from its median; neighbours differ by sqrt(2) of it.
    noise = 1.4826 * statistics.median(map(abs, steps)) / math.sqrt(2)
    if noise == 0:
        return [i for i, step in enumerate(steps, 1) if step]
    if len(values) < 2 * LEAST:
        return []
    import numpy as np
    import ruptures

    signal = np.array(values)[:, None] / noise
    ends = ruptures.Pelt(model="l2", min_size=LEAST, jump=1).fit_predict(signal, pen=PENALTY * math.log(len(values)))
    return [int(end) for end in ends[:-1]]

"""Runs that are killed at random moments: nothing that was finished is lost, torn or done twice.

`python -m tests.faults.kills 100` runs a suite of 60 small cells undisturbed, and then again and again in folders of
their own, with so many kills in all at random moments: kill -9 of the run or of its worker, Ctrl-C, SIGTERM. After each
kill every record must be readable, and those that ended ok untouched; at the end of each story the records must be
those of the undisturbed run, number for number. It writes reports/faults/kills.md.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]

import runs  # noqa: E402 - the helpers of the tests
from faults.test_files import numbers  # noqa: E402

import suites  # noqa: E402

CHANGES: dict[str, Any] = {
    "matrix": {
        "size": [12, 30],
        "strategy": [
            "scratch",
            "feature_extract",
            "full_finetune",
            {"name": "partial_finetune", "unfreeze": 1},
            {"name": "distill", "teacher": {"strategy": "full_finetune"}},
        ],
        "seed": list(range(6)),
    },
}
KINDS = ("kill -9 of the run", "kill -9 of the worker", "Ctrl-C", "SIGTERM")


@dataclass
class Tally:
    """What was done, and what went wrong."""

    kills: Counter[str] = field(default_factory=Counter)
    cells_in_flight: Counter[str] = field(default_factory=Counter)
    stories: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbs: its numbers, and how long it took."""

    numbers: dict[str, Any]
    seconds: float


def undisturbed(folder: Path) -> Undisturbed:
    """Run the suite, from the first to the last of its cells."""
    suites.write(folder, CHANGES)
    began = time.monotonic()
    done = runs.bench(folder, "run", "toy.yaml", "--no-report")
    assert done.returncode == 0, done.stderr
    return Undisturbed(numbers(folder), time.monotonic() - began)


def story(folder: Path, wanted: Undisturbed, kills: int, luck: random.Random, tally: Tally) -> None:
    """Kill a suite so many times, or until it is through, and let it go to its end.

    A kill comes at a random moment: from before the first cell to after the last.
    """
    suites.write(folder, CHANGES)
    finished: dict[str, bytes] = {}
    for _ in range(kills):
        kind = luck.choice(KINDS)
        whole = strike(folder, kind, luck.uniform(0.0, wanted.seconds), tally)
        finished = check(folder, finished, kind, tally)
        if whole:
            break
    done = runs.bench(folder, "run", "toy.yaml", "--no-report")
    check(folder, finished, "the last run", tally)
    tally.stories += 1
    if done.returncode != 0:
        tally.wrong.append(f"the last run ended with {done.returncode}: {done.stdout[-500:]}{done.stderr}")
    elif numbers(folder) != wanted.numbers:
        tally.wrong.append("the numbers are not those of the undisturbed run")
    left = [path.name for path in folder.rglob("*.corrupt*")]
    tally.wrong += [f"torn: {name}" for name in left]


def strike(folder: Path, kind: str, after: float, tally: Tally) -> bool:
    """Start a run and kill it; say whether it was through before."""
    process = runs.start(folder, "run", "toy.yaml", "--no-report")
    try:
        time.sleep(after)
        if process.poll() is not None:
            process.communicate()
            return True
        before = len(runs.records(folder, "toy"))
        if kind == "kill -9 of the worker":
            for pid in children(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.communicate(timeout=runs.LIMIT_SECONDS)
        else:
            number = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}.get(kind, signal.SIGKILL)
            os.kill(process.pid, number)
            process.communicate(timeout=60)
        tally.kills[kind] += 1
        tally.cells_in_flight["before the first cell" if not before else "among the cells"] += 1
    finally:
        if not runs.gone(process.pid):
            tally.wrong.append(f"{kind} left processes behind")
            for pid in runs.alive(process.pid):
                os.kill(pid, signal.SIGKILL)
    return False


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text(encoding="utf-8").split()]
        except OSError:
            continue
    return found + [grandchild for child in found for grandchild in children(child)]


def check(folder: Path, finished: dict[str, bytes], what: str, tally: Tally) -> dict[str, bytes]:
    """Look at the records after a kill; return those that ended ok."""
    found = {}
    for cell_id, record in runs.records(folder, "toy").items():  # raises when one is torn
        if record["status"] == "ok":
            found[cell_id] = (folder / "results" / "toy" / f"{cell_id}.json").read_bytes()
    lost = [i for i in finished if i not in found]
    again = [i for i in finished if i in found and found[i] != finished[i]]
    tally.wrong += [f"{what}: {i} was lost" for i in lost] + [f"{what}: {i} was run again" for i in again]
    return found


def page(tally: Tally, seconds: float) -> str:
    """Return the outcome as Markdown."""
    rows = [[kind, tally.kills[kind]] for kind in KINDS]
    moments = ", ".join(f"{count} {moment}" for moment, count in tally.cells_in_flight.items())
    wrong = "\n".join(f"- {line}" for line in tally.wrong) or "None."
    count = sum(tally.kills.values())
    return (
        "# Runs that are killed\n\n"
        f"A suite of 60 small cells, killed {count} times at random moments ({moments})\n"
        f"in {tally.stories} stories, each in a folder of its own and let go to its end: {seconds / 60:.0f} minutes.\n"
        "Made by tests/faults/kills.py.\n\n"
        + tabulate(rows, ["what was done", "times"], tablefmt="github")
        + "\n\nRecords lost, torn, other than those of the undisturbed run, or run again though they were ok: "
        + f"{len(tally.wrong)}\n\n{wrong}\n"
    )


def main(kills: int, seed: int = 0) -> Tally:
    """Kill so many times in all, a few times in each story."""
    luck, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as work:
        wanted = undisturbed(Path(work) / "undisturbed")
        while sum(tally.kills.values()) < kills:
            left = kills - sum(tally.kills.values())
            story(Path(work) / f"story-{tally.stories}", wanted, min(left, luck.randint(2, 6)), luck, tally)
            print(f"{sum(tally.kills.values())} kills, {len(tally.wrong)} wrong", file=sys.stderr, flush=True)
    return tally


if __name__ == "__main__":
    began = time.monotonic()
    outcome = main(int(sys.argv[1]))
    target = ROOT / "reports" / "faults"
    target.mkdir(parents=True, exist_ok=True)
    (target / "kills.md").write_text(page(outcome, time.monotonic() - began), encoding="utf-8")
    print(page(outcome, time.monotonic() - began))
    sys.exit(bool(outcome.wrong))

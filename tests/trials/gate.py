"""Does the gate stay quiet, and does it catch what it should? Real runs of one suite, again and again on one machine.

`python -m tests.trials.gate RUNS` runs a suite of 45 cells so many times as it is, and a third as often with a code
whose forward pass takes 10 % longer and with one whose training step takes 15 % longer, turn by turn, each in a results
folder of its own. Every pair of plain runs is a comparison that should show nothing; every pair of a plain and a slow
one should show the slowness. Changes of accuracy, of a parameter and of FLOPs are made in the records of real runs,
which are the same in every run. It writes reports/gate/trials.json and .md.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.compare.gate import compare
from bench.compare.measures import DEFAULTS, STATUS, parse
from bench.record import Record
from bench.sides import load
from bench.tasks import every_metric
from tests import slower

ROOT = Path(__file__).parents[2]
SUITE = """\
suite: gated
question: Does the gate stay quiet?
task: {name: classify, test_size: 400, monitor_size: 0}
matrix:
  dataset: [{name: digits, resolution: 32}]
  size: [30, 60, 120]
  backbone: [tf_efficientnet_lite0]
  strategy: [feature_extract, partial_finetune, full_finetune]
  seed: [0, 1, 2, 3, 4]
recipe: {epochs: 3, batch_size: 32, lr: 1e-3}
"""
PORTABLE = tuple(limit for limit in DEFAULTS if limit != STATUS)
LATENCY, TRAINING = (
    ("latency_p50:+5%", "latency_p50:+10%", "latency_p50:+20%"),
    ("seconds_train:+8%", "seconds_train:+15%", "seconds_train:+25%"),
)
# What is put into the code: a pass of the library's model is followed by a wait of a share of it.
PASS = """
import time as _time
_init = Network.__init__
def _slow(self, *given, **named):
    _init(self, *given, **named)
    begun = []
    def wait(*_):
        end = _time.perf_counter() + 0.10 * (_time.perf_counter() - begun.pop())
        while _time.perf_counter() < end:
            pass
    self.model.register_forward_pre_hook(lambda *_: begun.append(_time.perf_counter()))
    self.model.register_forward_hook(wait)
Network.__init__ = _slow
"""
SLOW = {"latency": ("bench/backbones/_network.py", PASS), "training": ("bench/training/step.py", slower.step(0.15))}


def main(runs: int) -> dict[str, Any]:
    """Run everything and return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "suite.yaml").write_text(SUITE, encoding="utf-8")
        codes = {"plain": ROOT} | {name: _changed(work / name, *change) for name, change in SLOW.items()}
        made: dict[str, list[list[Record]]] = {name: [] for name in codes}
        for number in range(runs):
            for name, code in codes.items():
                if name == "plain" or number % 3 == 0:
                    made[name].append(_run(code, work, f"{name}-{number}"))
                    print(f"{number + 1} of {runs}: {name}", file=sys.stderr, flush=True)
    return {"runs": {name: len(found) for name, found in made.items()}, "rows": _rows(made)}


def _rows(made: dict[str, list[list[Record]]]) -> list[dict[str, Any]]:
    """Return what each kind of comparison found."""
    plain = made["plain"]
    rows = []
    for limit in (*PORTABLE, *LATENCY, *TRAINING):
        name = limit.partition(":")[0]
        outcomes = [compare(a, b, *parse([limit], every_metric())) for a, b in combinations(plain, 2)]
        alarms, looked = sum(len(o.regressions) for o in outcomes), sum(o.compared for o in outcomes)
        pairs = sum(bool(o.regressions) for o in outcomes)
        rows.append({"trial": "nothing changed", "limit": limit, "pairs": len(outcomes), "fired": pairs})
        rows[-1] |= {"comparisons": looked, "alarms": alarms, "measure": name}
    slow = (
        ("latency", "forward pass 10 % slower", LATENCY[:2]),
        ("training", "training step 15 % slower", TRAINING[:2]),
    )
    for kind, title, limits in slow:
        rows += [_caught(title, limit, list(product(plain, made[kind]))) for limit in limits]
    edits: dict[str, tuple[str, Callable[[Record, random.Random], Record]]] = {
        "accuracy 1.5 points less, 0.5 of noise": ("accuracy:-1pp", _less_accurate),
        "one parameter more": ("params_total:+0", lambda r, _: _cost(r, params_total=1)),
        "FLOPs 0.1 % more": (
            "flops_forward:+0",
            lambda r, _: _cost(r, flops_forward=(r.cost.flops_forward or 0) // 1000),
        ),
    }
    for title, (limit, edit) in edits.items():
        pairs = [
            (a, [edit(r, random.Random(f"{i}{r.cell_id}")) for r in b])
            for i, (a, b) in enumerate(combinations(plain, 2))
        ]
        rows.append(_caught(title, limit, pairs))
    return rows


def _caught(title: str, limit: str, pairs: Sequence[tuple[list[Record], list[Record]]]) -> dict[str, Any]:
    fired = sum(bool(compare(a, b, *parse([limit], every_metric())).regressions) for a, b in pairs)
    return {"trial": title, "limit": limit, "pairs": len(pairs), "fired": fired}


def _less_accurate(record: Record, luck: random.Random) -> Record:
    metrics = {**record.metrics, "accuracy": (record.metrics["accuracy"] or 0.0) - 0.015 + luck.gauss(0, 0.005)}
    return replace(record, metrics=metrics)


def _cost(record: Record, **more: int) -> Record:
    changed = {name: getattr(record.cost, name) + by for name, by in more.items()}
    return replace(record, cost=replace(record.cost, **changed))


def _changed(folder: Path, file: str, more: str) -> Path:
    """Return a copy of the code with something added to one of its files."""
    shutil.copytree(ROOT / "bench", folder / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / file
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    return folder


def _run(code: Path, work: Path, name: str) -> list[Record]:
    """Run the suite with this code in a results folder of its own, and return its records."""
    results = work / "results" / name
    command = [sys.executable, "-m", "bench", "run", str(work / "suite.yaml"), "--results", str(results), "--no-report"]
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    subprocess.run(command, cwd=code, env={**environment, "PYTHONPATH": str(code)}, check=True, capture_output=True)
    records = load(str(results / "gated"), results)
    shutil.rmtree(results)
    return records


def page(found: dict[str, Any]) -> str:
    """Return the outcome as Markdown."""
    rows = []
    for row in found["rows"]:
        share = f"{row['fired'] / row['pairs']:.1%}" if row["pairs"] else "–"
        each = f"{row['alarms']} of {row['comparisons']}" if "alarms" in row else ""
        rows.append([row["trial"], f"`{row['limit']}`", row["pairs"], f"{row['fired']} ({share})", each])
    head = ["what was changed", "limit", "pairs of runs", "pairs in which the gate fired", "alarms in all comparisons"]
    runs = ", ".join(f"{count} {name}" for name, count in found["runs"].items())
    table = tabulate(rows, head, tablefmt="github", disable_numparse=True)
    return (
        "# Does the gate stay quiet, and does it catch what it should?\n\n"
        f"A suite of 45 cells (9 points of 5 seeds), run again and again on {found['machine']}: {runs} runs,\n"
        "turn by turn, each in a results folder of its own. Made by tests/trials/gate.py.\n\n" + table + "\n"
    )


if __name__ == "__main__":
    outcome = main(int(sys.argv[1]))
    outcome["machine"] = "two cores of a shared machine"
    target = ROOT / "reports" / "gate"
    target.mkdir(parents=True, exist_ok=True)
    (target / "trials.json").write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    (target / "trials.md").write_text(page(outcome), encoding="utf-8")
    print(page(outcome))

"""All sides of one session of the benchmark, each in a warm process of its own, and the runs they take in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.cases import RESNET18, TINY
from benchmarks.harness import Data, Harness, Question, outside, seconds_of, tasks
from benchmarks.side import TESTS, Side

from bench.planner import Plan
from bench.record import Record

Run = dict[str, Any]
# Backbones without weights at hand: what is drawn for them, a checkpoint or a folder in the hub's format, and options.
DRAWN = {RESNET18: (f"{RESNET18}.safetensors", {}), TINY: (TINY, {"source": "huggingface"})}
# Enough for one whole batch: the first pass of a shape is the slow one.
WARM_LABELS = 32


class Sides:
    """The harness and the other sides; use it as a context. Processes are started when they are first needed."""

    def __init__(self, device: str, folder: Path) -> None:
        self.device, self.folder = device, folder
        self.environment: Mapping[str, Any] | None = None
        self._open = ExitStack()
        self._harness: Harness | None = None
        self._sides: dict[str, Side] = {}
        self._warm: set[tuple[str, str, str]] = set()

    def __enter__(self) -> Sides:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def backbone(self, name: str) -> str | dict[str, str]:
        """Return how a suite names a backbone: one without weights at hand gets some drawn from a seed."""
        if name not in DRAWN:
            return name
        file, options = DRAWN[name]
        path = self.folder / file
        if not path.exists():
            subprocess.run([sys.executable, "-m", "benchmarks.draw_weights", name, str(path)], cwd=TESTS, check=True)
        return {"name": name, "weights": str(path), **options}

    def plan(self, question: Question) -> Plan:
        """Return the plan of a question."""
        return question.plan(self.folder / "suites")

    def ours(self, plan: Plan, key: int) -> Run:
        """Run a plan of one cell, and its teacher, by the harness from nothing."""
        records, wall = self._run(plan)
        (record,) = (records[entry.cell.id] for entry in plan.runnable if entry.role is None)
        teachers = [records[entry.cell.id] for entry in plan.runnable if entry.role is not None]
        seconds = seconds_of(record, teachers) | outside(records, wall)
        mode = record.details["mode"]
        notes = f"{mode['layout']}, {mode['precision']}"
        return {"side": "ours", "key": key, "seconds": seconds, "accuracy": record.metrics["accuracy"], "notes": notes}

    def ours_whole(self, plan: Plan) -> list[Run]:
        """Run a whole plan by the harness from nothing: what each cell cost, shared artifacts paid for once.

        A teacher's cost goes to the first cell that learns from it, an autotune verdict's to the first that has it.
        """
        records, wall = self._run(plan)
        runs: list[Run] = []
        paid: set[str] = set()
        waiting = {"setup": 0.0, "total": 0.0}
        for entry in plan.runnable:
            record = records[entry.cell.id]
            kept = {a["id"]: a["seconds"] for a in record.artifacts if a["kind"] == "autotune" and a["id"] in paid}
            paid |= {a["id"] for a in record.artifacts}
            waiting["setup"] += (record.seconds.setup or 0.0) - sum(kept.values())
            waiting["total"] += record.seconds.marginal or 0.0
            if entry.role is None:
                seconds = {**waiting, "work": waiting["total"] - waiting["setup"]}
                runs.append({"side": "ours", "key": len(runs), "seconds": seconds, "notes": None})
                runs[-1]["accuracy"] = record.metrics["accuracy"]
                waiting = {"setup": 0.0, "total": 0.0}
        runs[0]["seconds"] |= outside(records, wall)
        return runs

    def theirs(self, side: str, plan: Plan, key: int) -> Run:
        """Have another side train the one cell of a plan."""
        (task,) = tasks(plan, self.device)
        return self.task(side, task, key)

    def task(self, side: str, task: Mapping[str, Any], key: int) -> Run:
        """Have another side train one task."""
        return {"side": side, "key": key, **self._side(side).run(task)}

    def ours_cold(self, question: Question, key: int) -> Run:
        """Run a question by the command line, in a fresh process with an empty results folder."""
        harness = self._warm_harness()
        results = harness.empty()
        path = question.write(self.folder / "suites")
        command = ["run", str(path), "--results", str(results), "--device", self.device, "--no-report", "--json"]
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "bench", *command], capture_output=True, text=True, check=False)
        wall = time.perf_counter() - began
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        records = [json.loads(p.read_text(encoding="utf-8")) for p in (results / "textbook").glob("*.json")]
        (record,) = (r for r in records if "cell_id" in r)
        harness.keep(results)
        beside = (record["seconds"]["evaluate"] or 0.0) + (record["seconds"]["measure"] or 0.0)
        seconds = {"wall": wall, "work": wall - beside, "total": wall - beside}
        return {
            "side": "ours",
            "key": key,
            "seconds": seconds,
            "accuracy": record["metrics"]["accuracy"],
            "notes": None,
        }

    def theirs_cold(self, side: str, plan: Plan, key: int) -> Run:
        """Have another side train the one cell of a plan in a fresh process, from its start to its end."""
        (task,) = tasks(plan, self.device)
        began = time.perf_counter()
        with Side(side, self.folder / f"{side}-cold.log") as fresh:
            run = fresh.run(task)
        wall = time.perf_counter() - began
        total = wall - run["seconds"]["evaluate"]
        return {"side": side, "key": key, **run, "seconds": {"wall": wall, "work": total, "total": total}}

    def warm(self, backbones: Sequence[str], data: Data, sides: Sequence[str]) -> None:
        """Have each side, the harness too, train a batch on each of these backbones, once a session."""
        for name in backbones:
            question = Question(
                self.backbone(name), data, ("full_finetune",), (WARM_LABELS,), (7,), epochs=1, test_size=60
            )
            plan = self.plan(question)
            for side in ("ours", *sides):
                if (name, data.label, side) not in self._warm:
                    self._warm.add((name, data.label, side))
                    self.ours(plan, 0) if side == "ours" else self.theirs(side, plan, 0)

    def _run(self, plan: Plan) -> tuple[dict[str, Record], float]:
        records, wall = self._warm_harness().run(plan)
        self.environment = self.environment or next(iter(records.values())).environment
        return records, wall

    def _warm_harness(self) -> Harness:
        if self._harness is None:
            self._harness = self._open.enter_context(Harness(self.device, self.folder / "harness"))
        return self._harness

    def _side(self, name: str) -> Side:
        if name not in self._sides:
            self._sides[name] = self._open.enter_context(Side(name, self.folder / f"{name}.log"))
        return self._sides[name]


class Turns:
    """Has the sides take turns around the harness's run: others, ours; ours, others; others, ours; ...

    `before`, `ours` and `after` are what `benchmark.pedantic` calls in each round as setup, target and teardown.
    `runs` is all that was measured, in order.
    """

    def __init__(self, ours: Callable[[int], Sequence[Run]], theirs: Sequence[Callable[[int], Run]]) -> None:
        self._ours, self._theirs = ours, theirs
        self._round = 0
        self.runs: list[Run] = []

    def before(self) -> None:
        """Run the others first in the rounds 0, 2, ..."""
        if self._round % 2 == 0:
            self.runs += [side(self._round) for side in self._theirs]

    def ours(self) -> None:
        """Run the harness."""
        self.runs += self._ours(self._round)

    def after(self) -> None:
        """Run the others last, in the opposite order, in the rounds 1, 3, ..."""
        if self._round % 2 == 1:
            self.runs += [side(self._round) for side in reversed(self._theirs)]
        self._round += 1

"""The harness's own side: suites run through one warm worker, each from an empty results folder."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ruamel.yaml import YAML

import bench
from bench import schedule
from bench.engines.local import LocalEngine
from bench.planner import Plan
from bench.record import Record
from bench.store import Store
from bench.terminal import Silent

# What a run measures after training or once a machine, on none of its clocks: folders among the artifacts.
MEASURED = ("architecture", "machine")

# The peak learning rate, a tenth of homework 1's: rounding hardly grows into differences of accuracy then (of trainings
# of 96 pictures that differ in memory layout alone, 0.6 points; 9 at a third of the rate). A step takes as long.
RATE = 3e-4
# Close to homework 1's recipe, with the ten epochs that the targets speak of.
RECIPE: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 32,
    "optimizer": "adamw",
    "schedule": "one_cycle",
    "label_smoothing": 0.1,
    # Each side may run in bf16 where it finds that faster.
    "precision": "auto",
    "selection": "last",
}
STRATEGIES: dict[str, Any] = {
    "scratch": "scratch",
    # The textbook head learns on the features as they are.
    "feature_extract": {"name": "feature_extract", "standardize": False},
    "partial_finetune": {"name": "partial_finetune", "unfreeze": 2},
    "full_finetune": "full_finetune",
    "distill": {
        "name": "distill",
        "teacher": {"backbone": "tf_efficientnet_lite2", "strategy": "full_finetune"},
        "temperature": 4.0,
        "alpha": 0.5,
    },
}


@dataclass(frozen=True)
class Data:
    """What is learnt from: a data set as a suite names it, and what of the recipe belongs to it.

    `label` says in a table what sets it apart from others.
    """

    label: str
    dataset: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)


def pictures(resolution: int) -> Data:
    """Return Fashion-MNIST at so many pixels, flipped at random."""
    return Data(f"{resolution} px", {"name": "fashion_mnist", "resolution": resolution}, {"augment": {"flip": True}})


MOVIES = Data("movie reviews", {"name": "sentiment", "domain": "movie"})
TOY_TEXTS = Data("toy texts", {"name": "toy_text"})


@dataclass(frozen=True)
class Question:
    """What is to be trained: a small matrix on one data set, with so many test examples and epochs."""

    backbone: str | dict[str, Any]
    data: Data
    strategies: tuple[str, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    epochs: int
    test_size: int
    lr: float = RATE

    def write(self, folder: Path) -> Path:
        """Write the suite into a folder and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "suite.yaml"
        suite = {
            "suite": "textbook",
            "question": "How fast is the harness beside the textbook way?",
            "task": {"name": "classify", "test_size": self.test_size, "monitor_size": 0},
            "matrix": {
                "dataset": [dict(self.data.dataset)],
                "size": list(self.sizes),
                "backbone": [self.backbone],
                "strategy": [STRATEGIES[name] for name in self.strategies],
                "seed": list(self.seeds),
            },
            "recipe": {**RECIPE, **self.data.recipe, "epochs": self.epochs, "lr": self.lr},
        }
        with path.open("w", encoding="utf-8") as handle:
            YAML(typ="safe", pure=True).dump(copy.deepcopy(suite), handle)
        return path

    def plan(self, folder: Path) -> Plan:
        """Return the cells, teachers included."""
        return bench.plan(bench.load_suite(self.write(folder)))


def tasks(plan: Plan, device: str) -> list[dict[str, Any]]:
    """Return what the other sides train for the cells of a plan: a teacher goes with each of its students."""
    cells = {entry.cell.id: entry.cell for entry in plan.runnable}
    found = []
    for entry in plan.runnable:
        if entry.role is None:
            teacher = entry.cell.parents.get("teacher")
            found.append(
                {
                    "device": device,
                    "cell": entry.cell.to_json(),
                    "teacher": cells[teacher].to_json() if teacher else None,
                }
            )
    return found


class Harness:
    """A warm worker that answers questions; use it as a context."""

    def __init__(self, device: str, folder: Path) -> None:
        self.device, self.folder, self.count = device, folder, 0

    def __enter__(self) -> Harness:
        self.engine = LocalEngine(self.device)
        self.engine.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.__exit__(kind, error, trace)

    def empty(self) -> Path:
        """Return a new results folder without anything that training could profit from.

        Latencies, layer tables and the machine's limits, which are on no clock of training, are taken over: measuring
        them again for each repeat would take a third of the benchmark.
        """
        self.count += 1
        folder = self.folder / f"results-{self.count}"
        for name in MEASURED:
            _copy(self.folder / name, folder / "artifacts" / name)
        return folder

    def keep(self, results: Path) -> None:
        """Keep what a run has measured on no clock, and remove the rest."""
        for name in MEASURED:
            _copy(results / "artifacts" / name, self.folder / name)
        shutil.rmtree(results, ignore_errors=True)

    def run(self, plan: Plan) -> tuple[dict[str, Record], float]:
        """Run a plan from nothing; return its records and the wall seconds around it. Raises RuntimeError."""
        results = self.empty()
        store = Store(results, plan.suite.suite)
        store.check(writing=True)
        began = time.perf_counter()
        records = schedule.run(plan, store, self.engine, Silent())
        wall = time.perf_counter() - began
        self.keep(results)
        for record in records.values():
            if record.status != "ok":
                raise RuntimeError(f"{record.cell.strategy['name']} is {record.status}: {record.reason}")
        return records, wall


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)


def seconds_of(record: Record, teachers: Sequence[Record] = ()) -> dict[str, float]:
    """Return the clocks of one record as the other sides have them, with the harness's own parts beside them.

    `shared` has all of a teacher's standalone seconds; its set-up is counted with the student's, as for the others.
    """
    s = record.seconds
    parts = {name: float(getattr(s, name) or 0.0) for name in ("prepare", "setup", "train", "shared")}
    total = float(s.standalone or 0.0)
    setup = parts["setup"] + sum(teacher.seconds.setup or 0.0 for teacher in teachers)
    return {**parts, "setup": setup, "work": total - setup, "total": total}


def outside(records: Mapping[str, Record], wall: float) -> dict[str, float]:
    """Return the wall seconds around a run, what of them was evaluation and measuring, and what is left over.

    `overhead` is what no clock of the records has: starting a cell, writing its record, reading the data.
    """
    seconds = [record.seconds for record in records.values()]
    beside = sum((s.evaluate or 0.0) + (s.measure or 0.0) for s in seconds)
    marginal = sum(s.marginal or 0.0 for s in seconds)
    return {"wall": wall, "evaluate_and_measure": beside, "marginal": marginal, "overhead": wall - beside - marginal}

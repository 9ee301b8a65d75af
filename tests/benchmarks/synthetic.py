"""A lab's sweep, made up: a suite of any number of cells, and the records and predictions that a run would leave.

Nothing is trained. What is made is real to whatever reads it: the plan resolves, the records have the size and the
fields of those that a run writes, and each has its predictions beside it.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from records import ENVIRONMENT
from ruamel.yaml import YAML

from bench.planner import Entry, Plan
from bench.record import Cost, Latency, Point, Record, Seconds, dumps
from bench.store import Store

SIZES = (20, 50, 100, 200, 500)
BACKBONES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "vgg11",
    "vgg13",
    "densenet121",
    "mobilenetv3_small_100",
    "efficientnet_b0",
)
TEACHER = {"name": "resnet101", "weights": "random"}
STRATEGIES: tuple[str | dict[str, Any], ...] = (
    "scratch",
    "feature_extract",
    {"name": "partial_finetune", "unfreeze": 1},
    {"name": "partial_finetune", "unfreeze": 2},
    {"name": "partial_finetune", "unfreeze": 3},
    "full_finetune",
    {"name": "distill", "alpha": 0.25, "teacher": {"backbone": TEACHER, "strategy": "full_finetune"}},
    {"name": "distill", "alpha": 0.5, "teacher": {"backbone": TEACHER, "strategy": "full_finetune"}},
    {"name": "distill", "alpha": 0.75, "teacher": {"backbone": TEACHER, "strategy": "full_finetune"}},
    {"name": "distill", "alpha": 0.9, "teacher": {"backbone": TEACHER, "strategy": "full_finetune"}},
)
LAYERS = "\n".join(
    f"├─Conv2d: 1-{i:<32} [1, {8 * i}, 16, 16]{'':<12}{864 * i:<24,}{884_736 * i:,}" for i in range(1, 25)
)


@dataclass(frozen=True)
class Sweep:
    """How many data sets, backbones and seeds are crossed with the ten strategies at the five sizes."""

    datasets: int
    backbones: int
    seeds: int

    @property
    def cells(self) -> int:
        """How many cells the matrix has, teachers aside."""
        return self.datasets * self.backbones * self.seeds * len(SIZES) * len(STRATEGIES)


# It grows as a lab's sweep does, in every direction: more data, more models, more seeds.
SWEEPS = {1_000: Sweep(1, 4, 5), 10_000: Sweep(5, 4, 10), 100_000: Sweep(16, 5, 25)}


def suite(sweep: Sweep) -> dict[str, Any]:
    """Return a suite of that many cells, and a teacher for each data set, size and seed."""
    datasets = [{"name": "toy", "classes": 2 + i, "train": 1000} for i in range(sweep.datasets)]
    return {
        "suite": "sweep",
        "question": "Which strategy wins on which model and data?",
        "task": {"name": "classify", "test_size": 40, "monitor_size": 40},
        "matrix": {
            "dataset": datasets,
            "size": list(SIZES),
            "backbone": [{"name": name, "weights": "random"} for name in BACKBONES[: sweep.backbones]],
            "strategy": list(STRATEGIES),
            "seed": list(range(sweep.seeds)),
        },
        "recipe": {"epochs": 10, "lr": 3e-3, "augment": {"flip": True}},
        "overrides": [
            {"when": {"size": 500}, "set": {"recipe": {"epochs": 4}}},
            {"when": {"strategy": "scratch", "size": [20, 50]}, "set": {"recipe": {"epochs": 20}}},
        ],
        "exclude": [{"when": {"strategy": "scratch", "size": 20}, "reason": "twenty examples train nothing"}],
    }


def write_suite(folder: Path, sweep: Sweep) -> Path:
    """Write the suite file into a folder and return its path."""
    path = folder / "sweep.yaml"
    with path.open("w", encoding="utf-8") as handle:
        YAML(typ="safe", pure=True).dump(suite(sweep), handle)
    return path


def fill(plan: Plan, store: Store) -> None:
    """Write what a run of the plan would leave: a record and predictions for each cell that is not excluded."""
    store.predictions("x").parent.mkdir(parents=True, exist_ok=True)
    logits = io.BytesIO()
    np.savez(logits, logits=np.zeros((40, 5), np.float32), labels=np.zeros(40, np.int64))
    for entry in plan.runnable:
        # Not store.write, which waits for the disk after each file: minutes for what nobody looks at.
        store.path(entry.cell.id).write_text(dumps(made(entry, plan.suite.suite)), encoding="utf-8")
        store.predictions(entry.cell.id).write_bytes(logits.getvalue())


def made(entry: Entry, suite: str) -> Record:
    """Return a record that ended ok (one in 200 was skipped), of the size that a real one has."""
    cell = entry.cell
    draw = random.Random(cell.id)
    if draw.random() < 0.005:
        return Record(cell.id, suite, cell, "skipped", "the model has too few stages", environment=ENVIRONMENT)
    epochs, size = cell.recipe["epochs"], cell.size
    level = SIZES.index(size) / len(SIZES) + 0.1 * len(cell.strategy["name"]) / 16
    accuracy = round(min(0.99, 0.3 + 0.5 * level + draw.gauss(0, 0.02)), 4)
    train = 1e-3 * size * epochs * draw.uniform(0.9, 1.1)
    parents = 5e-3 * size if cell.parents else 0.0
    curve = tuple(
        Point(
            epoch=float(epoch),
            step=epoch * size // 32,
            train_loss=2.3 / epoch + draw.random() / 10,
            train_accuracy=min(1.0, accuracy + draw.random() / 10),
            monitor_loss=2.3 / epoch + draw.random() / 5,
            monitor_accuracy=accuracy * (1 - 0.7 * 0.6**epoch) + draw.gauss(0, 0.006),
            seconds=train * epoch / epochs,
        )
        for epoch in range(1, min(epochs, 10) + 1)
    )
    return Record(
        cell.id,
        suite,
        cell,
        "ok",
        started_at="2026-01-01T00:00:00+00:00",
        metrics={
            "accuracy": accuracy,
            "macro_f1": accuracy - draw.random() / 50,
            "nll": 2.1 * (1 - accuracy) + draw.random() / 50,
            "ece": 0.05 + draw.random() / 50,
            "auroc": 0.5 + accuracy / 2,
        },
        curve=curve,
        seconds=Seconds(0.2, 0.4, train, 0.1, 0.3, parents, parents, train + 0.6, train + 0.6 + parents),
        cost=Cost(11_689_512, 11_689_512, 31_352_192, 62_704_384, 2_000_000_000 * size, 912_000_000, 46_758_048),
        latency=(draw.choice(LATENCIES[1]), draw.choice(LATENCIES[32])),
        environment=ENVIRONMENT,
        artifacts=({"kind": "pixels", "id": f"{draw.getrandbits(64):016x}", "seconds": 0.2},),
        details={
            "stages": [f"layer{i}" for i in range(1, 5)],
            "rounds": 1,
            "architecture": {"summary": LAYERS, "macs_by_fvcore": 31_352_192},
        },
    )


def _latency(batch: int, per_image_ms: float, draw: random.Random) -> Latency:
    samples = tuple(round(batch * per_image_ms * draw.uniform(0.95, 1.3), 4) for _ in range(80))
    p50, p90, p99 = (float(np.percentile(samples, q)) for q in (50, 90, 99))
    return Latency("cpu", 2, batch, p50, p90, p99, samples, 1000 * batch / p50)


# A few are drawn for all: 80 samples for each of 100,000 records would take longer than all else.
LATENCIES = {
    batch: [_latency(batch, per_image_ms, random.Random(seed)) for seed in range(20)]
    for batch, per_image_ms in ((1, 8.0), (32, 0.9))
}

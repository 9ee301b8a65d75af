"""Made-up records for the tests of whatever reads records."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from bench.cell import Cell
from bench.record import Cost, Latency, Point, Record, Seconds
from bench.report import Study

SIZES = (100, 500, 2000)
ACCURACY = {
    "scratch": (0.40, 0.65, 0.76),
    "feature_extract": (0.68, 0.775, 0.82),
    "partial_finetune": (0.66, 0.80, 0.86),
    "full_finetune": (0.62, 0.815, 0.885),
    "distill": (0.64, 0.81, 0.89),
}
TRAIN_SECONDS = {
    "scratch": (14.0, 64.0, 250.0),
    "feature_extract": (0.2, 0.7, 2.6),
    "partial_finetune": (3.0, 13.0, 55.0),
    "full_finetune": (7.5, 33.0, 128.0),
    "distill": (8.0, 35.0, 133.0),
}
ENVIRONMENT = {
    "fingerprint": "0f3c2a9d1b77",
    "cpu": "Example CPU 2.0 GHz",
    "gpu": None,
    "driver": None,
    "torch": "2.11.0",
    "cuda": None,
    "python": "3.11.9",
    "threads": 2,
    "cores": 2,
    "system": "Linux x86_64",
    "packages": {"torch": "2.11.0", "timm": "1.0.20", "torchvision": "0.26.0"},
    "git_commit": "4156e7d",
    "git_dirty": False,
}
SUMMARY = "\n".join(["Layer            Output Shape     Param #", "=" * 42, "Conv2d           [1, 32, 32, 32]  864"])


def cell(
    strategy: Mapping[str, Any] | str,
    size: int = 100,
    seed: int = 0,
    backbone: str = "tf_efficientnet_lite0",
    dataset: Mapping[str, Any] | str = "fashion_mnist",
    **other: Any,
) -> Cell:
    """Return a resolved cell; names stand for the mappings that a planner would make."""
    spec = {"name": strategy} if isinstance(strategy, str) else dict(strategy)
    weights = "random" if spec["name"] == "scratch" else "pretrained"
    digest = None if weights == "random" else f"sha256:{backbone}"
    data = {"name": dataset} if isinstance(dataset, str) else dict(dataset)
    parts: dict[str, Any] = {
        "task": {"name": "classify", "version": 1},
        "dataset": {"version": 1, "digest": "sha256:data", "resolution": 64, **data},
        "size": size,
        "backbone": {"name": backbone, "source": "timm", "weights": weights, "digest": digest},
        "strategy": {"version": 1, **spec},
        "recipe": {"epochs": 10, "batch_size": 32, "lr": 1e-3, "augment": {"flip": True}},
        "seed": seed,
    }
    return Cell(**{**parts, **other})


def record(of: Cell, accuracy: float, train: float = 5.0, **other: Any) -> Record:
    """Return a record that ended ok, with every number a real one has."""
    noise = random.Random(of.id)
    parents = 200.0 * of.size / 2000 if of.parents else 0.0
    light = of.strategy["name"] == "feature_extract"
    prepare, setup, shared = of.size * 2e-4, 0.4, (of.size * 5e-3 if light else 0.0) + parents
    standalone = prepare + setup + train + shared
    mean_loss = 2.3 * (1 - accuracy)
    curve = tuple(
        Point(
            epoch=float(e),
            step=e * of.size // 32,
            train_loss=mean_loss * (1 + 2.0 / e),
            train_accuracy=min(1.0, accuracy + 0.05),
            monitor_loss=mean_loss * (1 + 1.0 / e),
            monitor_accuracy=accuracy * (1 - 0.7 * 0.6**e) + noise.gauss(0, 0.006),
            seconds=train * e / 10,
        )
        for e in range(1, 11)
    )
    metrics = {
        "accuracy": accuracy,
        "macro_f1": accuracy - 0.01,
        "auroc": 0.5 + accuracy / 2,
        "nll": 2.1 * (1 - accuracy),
        "ece": 0.05 + noise.gauss(0, 0.005),
    }
    trained = 12_810 if light else 3_383_818
    latency = tuple(
        Latency("cpu", 2, batch, p50, p50 * 1.06, p50 * 1.3, (p50,) * 3, 1000 * batch / p50)
        for batch, p50 in ((1, 9.3), (32, 118.0))
    )
    defaults: dict[str, Any] = {
        "cell_id": of.id,
        "suite": "homework1",
        "cell": of,
        "status": "ok",
        "started_at": "2026-01-01T00:00:00Z",
        "metrics": metrics,
        "curve": curve,
        "seconds": Seconds(prepare, setup, train, 3.1, 2.0, shared, parents, train + setup, standalone),
        "cost": Cost(3_383_818, trained, 31_500_000, 63_000_000, 2_000_000_000 * of.size, 912_000_000, 13_600_000),
        "latency": latency,
        "environment": ENVIRONMENT,
        "details": {"architecture": {"summary": SUMMARY}},
    }
    return Record(**{**defaults, **other})


def failed(of: Cell, status: str, reason: str) -> Record:
    """Return a record of a cell that did not end ok."""
    ran = {} if status == "skipped" else {"environment": ENVIRONMENT}
    return Record(of.id, "homework1", of, status, reason, **ran)  # type: ignore[arg-type]


def study(records: list[Record] | tuple[Record, ...], **other: Any) -> Study:
    """Return a study of these records."""
    defaults: dict[str, Any] = {
        "suite": {
            "suite": "homework1",
            "question": "On one data set, which strategy wins at each label budget, and what does it cost?",
            "task": {"name": "classify"},
        },
        "primary": "accuracy",
        "records": tuple(records),
        "parents": frozenset(),
        "command": "bench run suites/homework1.yaml",
    }
    return Study(**{**defaults, **other})


def homework(seeds: int = 3, noise: float = 0.004, **other: Any) -> Study:
    """Return five strategies at three sizes with a teacher each, shaped like a real run."""
    records: list[Record] = []
    teachers: dict[tuple[int, int], Cell] = {}
    draw = random.Random(7)
    for place, size in enumerate(SIZES):
        for seed in range(seeds):
            teacher = cell("full_finetune", size, seed, backbone="tf_efficientnet_lite2")
            teachers[size, seed] = teacher
            level = (0.66, 0.83, 0.90)[place] + draw.gauss(0, noise)
            records.append(record(teacher, level, 200.0 * size / 2000))
            luck = draw.gauss(0, noise)
            for name, accuracy in ACCURACY.items():
                options: dict[str, Any] = {"name": name}
                parents = {}
                if name == "distill":
                    options |= {"temperature": 4.0, "teacher": {"backbone": "tf_efficientnet_lite2"}}
                    parents = {"teacher": teacher.id}
                made = cell(options, size, seed, parents=parents)
                got = accuracy[place] + luck + draw.gauss(0, noise / 2)
                records.append(record(made, got, TRAIN_SECONDS[name][place] * (1 + 0.05 * draw.random())))
    return study(records, parents=frozenset(t.id for t in teachers.values()), **other)

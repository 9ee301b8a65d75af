"""The cases of the benchmark and their budget: what is trained, on which sides, how often, against which target.

The sizes are such that the whole run takes less than 15 minutes on 2 cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from benchmarks.harness import MOVIES, RATE, TOY_TEXTS, Data, Question, pictures

LITE0, LITE2, RESNET18 = "tf_efficientnet_lite0", "tf_efficientnet_lite2", "resnet18"
# TINY is a BERT of two small layers, drawn from a seed: it needs no package with weights.
MINILM, TINY = "minilm_l6", "tiny_bert"
STRATEGIES = ("scratch", "feature_extract", "partial_finetune", "full_finetune", "distill")
PEERS = {"full_finetune": ("lightning",), "feature_extract": ("sklearn",)}
TRAINERS = ("trainer", "tuned_trainer")

# How many times as fast as the naive side: the least, and the goal. As fast as the tuned side at least, everywhere.
TARGETS = {
    "cpu": {
        "scratch": (1.8, 2.5),
        "feature_extract": (12.0, 25.0),
        "partial_finetune": (3.0, 6.0),
        "full_finetune": (1.8, 2.5),
        "distill": (2.5, 4.0),
        "matrix": (3.0, 6.0),
    },
    "cuda": {
        "scratch": (5.0, 20.0),
        "feature_extract": (50.0, 200.0),
        "partial_finetune": (10.0, 30.0),
        "full_finetune": (5.0, 20.0),
        "distill": (8.0, 30.0),
        "matrix": (15.0, 50.0),
    },
}
# How many times as fast as the Trainer of the transformers library with its defaults.
TRAINER = {"cpu": {"full_finetune": (1.5, None), "feature_extract": (10.0, None)}, "cuda": {}}
NEVER_SLOWER = (1.0, None)
# The peak learning rate of a head alone, which has further to go and where rounding does not grow.
HEAD_RATE = 1e-3

# For the planned budget alone: examples a second that the tuned side trains on 2 CPU cores, and the work of one side
# for an example in an epoch, with that of a training step as the unit (others, harness).
RATES = {
    (LITE0, "64 px"): 230.0,
    (RESNET18, "64 px"): 220.0,
    (LITE0, "128 px"): 60.0,
    (LITE0, "32 px"): 900.0,
    (RESNET18, "32 px"): 900.0,
    (MINILM, MOVIES.label): 100.0,
    (TINY, TOY_TEXTS.label): 2000.0,
}
PASSES = {
    "scratch": (1.0, 1.0),
    "feature_extract": (0.4, 0.08),
    "partial_finetune": (0.6, 0.3),
    "full_finetune": (1.0, 1.0),
    "distill": (3.5, 2.9),
}
NAIVE_FACTOR = 2.2
FIXED_SECONDS = 2.0


@dataclass(frozen=True)
class Case:
    """One strategy on one backbone and data set, by the harness and by `sides`, in so many rounds of a seed each.

    `labels` is the number of labelled examples.
    """

    backbone: str
    data: Data
    strategy: str
    labels: int
    rounds: int
    sides: tuple[str, ...]
    epochs: int = 10
    test_size: int = 1000

    @property
    def name(self) -> str:
        """The name that a test has in brackets."""
        return f"{self.backbone}-{self.data.label.replace(' ', '')}-{self.strategy}"

    @property
    def backbones(self) -> tuple[str, ...]:
        """The backbones that are trained: the teacher's too."""
        return (self.backbone, LITE2) if self.strategy == "distill" else (self.backbone,)

    def question(self, backbone: str | dict[str, str], seed: int) -> Question:
        """Return what one round trains; `backbone` may name a checkpoint."""
        lr = HEAD_RATE if self.strategy == "feature_extract" else RATE
        return Question(backbone, self.data, (self.strategy,), (self.labels,), (seed,), self.epochs, self.test_size, lr)

    def targets(self, device: str) -> dict[str, tuple[float, float | None]]:
        """Return the target and the goal of the ratio against each side that has one."""
        known = {
            "naive": TARGETS[device].get(self.strategy),
            "tuned": NEVER_SLOWER,
            "trainer": TRAINER[device].get(self.strategy),
            "tuned_trainer": NEVER_SLOWER,
        }
        return {side: target for side in self.sides if (target := known.get(side)) is not None}

    def describe(self, kind: str, device: str, environment: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the stored results say of the case itself; `kind` is the clock, "warm" or "cold"."""
        targets = self.targets(device) if kind == "warm" else {}
        return _described(kind, self, self.strategy, self.labels, targets, environment)

    def planned_seconds(self) -> float:
        """Return about what it takes on 2 CPU cores."""
        unit = self.labels * self.epochs / RATES[self.backbone, self.data.label]
        others, ours = PASSES[self.strategy]
        work = {"naive": others * NAIVE_FACTOR, "sklearn": 0.06, "trainer": others * NAIVE_FACTOR}
        scored = self.test_size * 0.3 / RATES[self.backbone, self.data.label]
        sides = sum(work.get(side, others) * unit + scored for side in self.sides) + ours * unit + scored
        return self.rounds * sides + FIXED_SECONDS


def cases(device: str, quick: bool) -> tuple[Case, ...]:
    """Return the cases for "cpu" or "cuda"; the quick ones only try the benchmark's own code."""
    if quick:
        return (
            *(_case(LITE0, 32, s, 20, 1, ("naive", "tuned", *PEERS.get(s, ())), quick) for s in STRATEGIES),
            _case(RESNET18, 32, "full_finetune", 20, 2, ("tuned",), quick),
            *texts(quick),
        )
    if device == "cuda":
        return (
            *(_case(LITE0, 64, s, 5000, 3, ("naive", "tuned", *PEERS.get(s, ()))) for s in STRATEGIES),
            *(_case(RESNET18, 64, s, 5000, 3, ("tuned",)) for s in STRATEGIES),
            *(_case(LITE0, 128, s, 2000, 3, ("tuned",)) for s in STRATEGIES),
            *texts(quick),
        )
    return (
        *(_case(LITE0, 64, s, _labels(s), 2, ("naive", "tuned", *PEERS.get(s, ()))) for s in STRATEGIES),
        *(_case(RESNET18, 64, s, _labels(s, 64, 400), 2, ("tuned",)) for s in STRATEGIES),
        *(_case(LITE0, 128, s, _labels(s, 32, 100), 2, ("tuned",)) for s in STRATEGIES),
        *texts(quick),
    )


def texts(quick: bool) -> tuple[Case, ...]:
    """Return the cases of texts, by the Trainer of the transformers library on the other side.

    A head learns in the same order on both sides. A whole encoder learns from batches of like length by the harness and
    of any length by the Trainer: accuracies agree within what seeds do, so there is a round more.
    """
    if quick:
        return tuple(Case(TINY, TOY_TEXTS, s, 20, 1, TRAINERS, 2, 50) for s in ("feature_extract", "full_finetune"))
    return (
        Case(MINILM, MOVIES, "feature_extract", 1000, 2, TRAINERS, test_size=500),
        Case(MINILM, MOVIES, "full_finetune", 256, 3, TRAINERS, epochs=3, test_size=500),
    )


def _described(
    kind: str,
    asked: Case | Matrix,
    strategy: str,
    n: int | str,
    targets: Mapping[str, Any],
    environment: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "backbone": asked.backbone,
        "weights": "drawn from a seed" if asked.backbone in (RESNET18, TINY) else "pretrained",
        "data": asked.data.label,
        "strategy": strategy,
        "n": n,
        "epochs": asked.epochs,
        "test_size": asked.test_size,
        "targets": targets,
        "environment": environment,
    }


def _labels(strategy: str, labels: int = 64, for_a_head: int = 1000) -> int:
    """Return the labels of a case: a head alone is cheap, and its target is for 1,000."""
    return for_a_head if strategy == "feature_extract" else labels


def _case(
    backbone: str, px: int, strategy: str, labels: int, rounds: int, sides: tuple[str, ...], quick: bool = False
) -> Case:
    if quick:
        return Case(backbone, pictures(px), strategy, labels, rounds, sides, epochs=2, test_size=50)
    return Case(backbone, pictures(px), strategy, labels, rounds, sides, test_size=500)


@dataclass(frozen=True)
class Matrix:
    """Several strategies at some sizes: the harness shares what cells have in common, the other side does not."""

    sizes: tuple[int, ...]
    backbone: str = LITE0
    data: Data = field(default_factory=partial(pictures, 64))
    epochs: int = 10
    test_size: int = 500
    side: str = "naive"
    strategies: tuple[str, ...] = STRATEGIES

    @property
    def name(self) -> str:
        """The name that a test has in brackets."""
        return f"{self.backbone}-{self.data.label.replace(' ', '')}"

    @property
    def backbones(self) -> tuple[str, ...]:
        """The backbones that are trained: the teacher's too."""
        return (self.backbone, LITE2) if "distill" in self.strategies else (self.backbone,)

    def question(self, backbone: str | dict[str, str]) -> Question:
        """Return the suite of one seed; `backbone` may name a checkpoint."""
        return Question(backbone, self.data, self.strategies, self.sizes, (0,), self.epochs, self.test_size)

    def describe(self, device: str, environment: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what the stored results say of the matrix itself."""
        sizes = " and ".join(map(str, self.sizes))
        targets = {"naive": TARGETS[device]["matrix"]} if self.side == "naive" else {}
        return _described("matrix", self, f"all {len(self.strategies)}", sizes, targets, environment)

    def planned_seconds(self) -> float:
        """Return about what it takes on 2 CPU cores."""
        cells = [
            Case(self.backbone, self.data, s, n, 1, (self.side,), self.epochs)
            for s in self.strategies
            for n in self.sizes
        ]
        return sum(case.planned_seconds() - FIXED_SECONDS for case in cells)


def matrices(device: str, quick: bool) -> tuple[Matrix, ...]:
    """Return the small matrices: of pictures beside the textbook, of texts beside the Trainer."""
    alone = tuple(name for name in STRATEGIES if name != "distill")
    if quick:
        texts = Matrix((20, 40), TINY, TOY_TEXTS, 1, 50, "trainer", alone)
        return (Matrix((20, 40), data=pictures(32), epochs=1, test_size=50), texts)
    texts = Matrix((128, 256), MINILM, MOVIES, 3, 500, "trainer", alone)
    return (Matrix((500, 2000) if device == "cuda" else (24, 48)), texts)


def cold(device: str, quick: bool) -> tuple[Case, ...]:
    """Return the cases that are measured in fresh processes."""
    if quick:
        few = _case(LITE0, 32, "feature_extract", 20, 1, ("naive",), quick)
        return (few, Case(TINY, TOY_TEXTS, "full_finetune", 20, 1, ("trainer",), 2, 50))
    labels = 5000 if device == "cuda" else 500
    return (
        _case(LITE0, 64, "feature_extract", labels, 2, ("naive",)),
        *(replace(case, sides=("trainer",)) for case in texts(quick)),
    )

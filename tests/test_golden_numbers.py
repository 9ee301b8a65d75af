"""A tiny run of every plugin gives the numbers that the golden file pins.

A plugin's `version` is in the identity of every cell that uses it. When these numbers move, stored records no longer
say what the plugin does now: raise its `version`, then write the file anew with `python tests/test_golden_numbers.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learners import CPU, learner, network_of, problem_of, round_of
from learners import OPTIONS as STRATEGY_OPTIONS
from PIL import Image
from sklearn.metrics import log_loss

from bench.datasets import datasets
from bench.datasets.toy import Toy
from bench.measure.clock import Clock
from bench.quality.probabilities import softmax
from bench.recipe import Augment, Recipe
from bench.strategies import strategies
from bench.tasks import tasks
from bench.training.pictures import Pictures

GOLDEN = Path(__file__).parent / "golden" / "numbers.json"
# Plain gradient descent: Adam would turn the rounding of a gradient near 0 into a whole step.
RECIPE = Recipe(epochs=6, batch_size=8, optimizer="sgd", lr=0.05, augment=Augment(flip=True))
# What a plugin can't be made without, and small sizes.
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    **{("strategy", name): options for name, options in STRATEGY_OPTIONS.items()},
    ("task", "classify"): {"test_size": 30, "monitor_size": 12},
    ("task", "few_shot"): {"ways": 3, "queries": 5, "episodes": 20},
}
# Data sets whose pictures are there without a network, or are drawn here.
PICTURES = ("digits", "image_folder", "toy")
PLUGINS = [
    *(("strategy", name) for name in strategies.names()),
    *(("task", name) for name in tasks.names()),
    *(("dataset", name) for name in PICTURES),
]
REGISTRIES: dict[str, Any] = {"strategy": strategies, "task": tasks, "dataset": datasets}


def numbers(kind: str, name: str, folder: Path) -> dict[str, Any]:
    """Return the version and the numbers of one plugin on made-up data."""
    spec = {"name": name, **OPTIONS.get((kind, name), {})}
    if (kind, name) == ("dataset", "image_folder"):
        spec["path"] = str(folder_of_pictures(folder / "pictures"))
    plugin = REGISTRIES[kind].create(spec)
    found = {"strategy": of_strategy, "task": of_task, "dataset": of_dataset}[kind](plugin, folder)
    return {"version": plugin.version, **{key: round(float(value), 5) for key, value in found.items()}}


def of_strategy(strategy: Any, folder: Path) -> dict[str, float]:
    """Learn 24 toy pictures and be scored on 60; a parent is another network, as it was drawn."""
    made = learner(folder, strategy, RECIPE, parents={role: network_of(seed=9) for role in strategy.parents()})
    one = round_of(24, RECIPE)
    made.fit(one)
    logits = made.logits(one.test)
    return {
        "accuracy": (logits.argmax(axis=1) == one.test.labels).mean(),
        "nll": log_loss(one.test.labels, softmax(logits)),
    }


def of_task(task: Any, folder: Path) -> dict[str, float]:
    """Score the same bad classifier on every round, and sum up which examples were drawn."""
    rounds = list(task.rounds(problem_of(12)))
    drawn = 0.0
    scores = []
    for i, one in enumerate(rounds):
        logits = np.random.default_rng(i).normal(size=(len(one.test), len(one.classes)))
        logits[np.arange(len(one.test)), one.test.labels] += 1
        scores.append(task.score(logits.astype(np.float32), one))
        for selection in (one.train, one.test, one.validation, one.monitor):
            if selection is not None:
                drawn += float((np.sin(selection.index + 1.0) * np.arange(1, len(selection) + 1)).sum())
    return {"drawn": drawn, **{k: v for k, v in task.summary(scores).metrics.items() if v is not None}}


def of_dataset(dataset: Any, folder: Path) -> dict[str, float]:
    """Prepare the first pictures of each split."""
    pictures = Pictures(dataset, 16, "bilinear", folder, Clock(CPU))
    found = {}
    for split in ("train", "test"):
        examples = pictures.examples(split)
        pixels = pictures.pixels(split, np.arange(min(20, len(examples.labels)))).float()
        weights = np.arange(1, len(examples.labels) + 1)
        found |= {
            f"{split}_mean": pixels.mean(),
            f"{split}_deviation": pixels.std(),
            f"{split}_labels": np.average(examples.labels, weights=weights),
        }
    return found


def folder_of_pictures(folder: Path) -> Path:
    """Write eight toy pictures of each of three classes."""
    examples = Toy().examples("train")
    for i in range(24):
        path = folder / f"class {examples.labels[i]}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(examples.read(i)).save(path)
    return folder


def complaint(kind: str, name: str, found: dict[str, Any], golden: dict[str, Any] | None) -> str | None:
    """Say what is wrong between the numbers of now and those of the golden file, and what to do."""
    update = f"update {GOLDEN.name} with `python tests/{Path(__file__).name}`"
    if golden is None:
        return f"the {kind} {name!r} has no golden numbers: {update}"
    moved = [k for k in found.keys() | golden.keys() if not near(k, found.get(k), golden.get(k))]
    if golden["version"] != found["version"]:
        return f"the {kind} {name!r} has a new version: {update}"
    if moved:
        changes = ", ".join(f"{k} {golden.get(k)} -> {found.get(k)}" for k in sorted(moved))
        return f"the numbers of the {kind} {name!r} changed ({changes}): raise `version`, then {update}"
    return None


def near(key: str, one: float | None, other: float | None) -> bool:
    """Say whether two numbers differ by no more than two processors' rounding: one example of 60 may fall over."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= (0.02 if key == "accuracy" else 1e-3 * max(1.0, abs(other)))


@pytest.mark.parametrize(("kind", "name"), PLUGINS, ids=lambda word: word)
def test_the_numbers_of_a_plugin_are_those_of_its_version(kind: str, name: str, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    wrong = complaint(kind, name, numbers(kind, name, tmp_path), golden.get(kind, {}).get(name))
    assert wrong is None, wrong


def test_numbers_that_moved_ask_for_a_new_version() -> None:
    golden = {"version": 1, "accuracy": 0.5, "nll": 1.0}
    assert complaint("strategy", "s", {**golden, "nll": 1.0005}, golden) is None
    moved = complaint("strategy", "s", {**golden, "nll": 1.01}, golden)
    assert moved is not None
    assert "raise `version`, then update numbers.json" in moved
    new = complaint("strategy", "s", {**golden, "version": 2, "nll": 1.01}, golden)
    assert new is not None
    assert "raise" not in new


def main() -> None:
    """Write the golden file anew; refuse when numbers moved and a version did not."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    fresh: dict[str, dict[str, Any]] = {}
    for kind, name in PLUGINS:
        with tempfile.TemporaryDirectory() as folder:
            found = numbers(kind, name, Path(folder))
        known = golden.get(kind, {}).get(name)
        wrong = complaint(kind, name, found, known)
        if wrong and "raise `version`" in wrong:
            sys.exit(wrong)
        fresh.setdefault(kind, {})[name] = found if wrong else known
    GOLDEN.write_text(json.dumps(fresh, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

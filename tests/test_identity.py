"""Cell ids: pinned, made of what can change a number, and of nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import layouts
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.backbones import backbones
from bench.cell import Cell
from bench.datasets import datasets
from bench.errors import BenchError
from bench.planner import expand
from bench.rates import SCHEDULES
from bench.recipe import CLASS_WEIGHTS, Augment, Head, Recipe
from bench.strategies import strategies
from bench.suite import load
from bench.tasks import tasks
from suites import write

GOLDEN = Path(__file__).parent / "golden" / "cell_ids.json"

# Whoever adds a field says here whether it can change a number ("identity") or not ("runtime").
FIELDS = {
    "bench.cell.Cell": {
        "task": "identity",
        "dataset": "identity",
        "size": "identity",
        "backbone": "identity",
        "strategy": "identity",
        "recipe": "identity",
        "seed": "identity",
        "parents": "identity",
        "runtime": "runtime",
        "also_test": "identity",
    },
    "bench.recipe.Recipe": {
        "epochs": "identity",
        "batch_size": "identity",
        "optimizer": "identity",
        "lr": "identity",
        "weight_decay": "identity",
        "schedule": "identity",
        "label_smoothing": "identity",
        "augment": "identity",
        "precision": "identity",
        "selection": "identity",
        "validation": "identity",
        "curve_points": "identity",
        "decay_norms": "identity",
        "patience": "identity",
        "clip_norm": "identity",
        "class_weights": "identity",
        "sampling": "identity",
        "ema": "identity",
        "head": "identity",
    },
    "bench.recipe.Head": {"hidden": "identity", "norm": "identity", "dropout": "identity"},
    "bench.recipe.Even": {"name": "identity"},
    "bench.recipe.Balanced": {"name": "identity"},
    "bench.recipe.Effective": {"name": "identity", "beta": "identity"},
    "bench.rates.OneCycle": {"name": "identity"},
    "bench.rates.Cosine": {"name": "identity", "warmup": "identity"},
    "bench.rates.Linear": {"name": "identity", "warmup": "identity"},
    "bench.rates.Constant": {"name": "identity", "warmup": "identity"},
    "bench.rates.Step": {"name": "identity", "every": "identity", "gamma": "identity"},
    "bench.rates.Plateau": {
        "name": "identity",
        "on": "identity",
        "factor": "identity",
        "patience": "identity",
        "threshold": "identity",
    },
    "bench.augment.Augment": dict.fromkeys(
        (
            "flip",
            "shift",
            "views",
            "vertical_flip",
            "rotate",
            "brightness",
            "contrast",
            "saturation",
            "hue",
            "policy",
            "magnitude",
            "number",
            "fresh",
            "mixup",
            "cutmix",
        ),
        "identity",
    ),
    "bench.backbones.huggingface": {
        "model": "identity",
        "weights": "identity",
        "pooling": "identity",
        "layers": "identity",
    },
    "bench.backbones.timm": {"model": "identity", "weights": "identity"},
    "bench.backbones.torchvision": {"model": "identity", "weights": "identity"},
    "bench.backbones.toy": {"model": "identity", "weights": "identity"},
    "bench.datasets.digits": {"resolution": "identity"},
    "bench.datasets.fashion_mnist": {"resolution": "identity"},
    "bench.datasets.huggingface_text": {
        "repository": "identity",
        "config": "identity",
        "revision": "identity",
        "path": "runtime",
        "text": "identity",
        "label": "identity",
        "train": "identity",
        "test": "identity",
        "test_share": "identity",
        "max_length": "identity",
    },
    "bench.datasets.image_folder": {
        "path": "runtime",
        "test_share": "identity",
        "on_broken": "runtime",
        "links": "runtime",
        "resolution": "identity",
        "group_pattern": "identity",
        "group_file": "runtime",
        "group_column": "identity",
    },
    "bench.datasets.medmnist": {
        "subset": "identity",
        "size": "identity",
        "join_val": "identity",
        "path": "runtime",
        "resolution": "identity",
    },
    "bench.datasets.torchvision": {"root": "runtime", "resolution": "identity"},
    "bench.backbones.toy_text": {
        "model": "identity",
        "weights": "identity",
        "layers": "identity",
        "pooling": "identity",
    },
    "bench.datasets.sentiment": {
        "domain": "identity",
        "threshold": "identity",
        "test_share": "identity",
        "max_length": "identity",
    },
    "bench.datasets.text_file": {
        "path": "runtime",
        "text": "runtime",
        "label": "runtime",
        "split": "runtime",
        "test_path": "runtime",
        "test_share": "identity",
        "group": "runtime",
        "max_length": "identity",
    },
    "bench.datasets.toy_text": {"train": "identity", "test": "identity", "max_length": "identity"},
    "bench.datasets.toy": {"classes": "identity", "train": "identity", "test": "identity", "resolution": "identity"},
    "bench.strategies.advised": {"few": "identity", "many": "identity", "unfreeze": "identity"},
    "bench.strategies.bitfit": {},
    "bench.strategies.consistent_distill": {"teacher": "identity", "temperature": "identity"},
    "bench.strategies.decoupled_distill": {
        "teacher": "identity",
        "temperature": "identity",
        "alpha": "identity",
        "beta": "identity",
    },
    "bench.strategies.discriminative": {"decay": "identity", "rates": "identity"},
    "bench.strategies.distill": {"teacher": "identity", "temperature": "identity", "alpha": "identity"},
    "bench.strategies.feature_extract": {"standardize": "identity"},
    "bench.strategies.finetune": {"unfreeze": "identity", "norms": "identity", "head": "identity", "lr": "identity"},
    "bench.strategies.frozen_random": {},
    "bench.strategies.full_finetune": {"decay": "identity"},
    "bench.strategies.gradual_unfreeze": {
        "steps": "identity",
        "unfreeze": "identity",
        "decay": "identity",
        "lr": "identity",
        "norms": "identity",
    },
    "bench.strategies.hint_distill": {
        "teacher": "identity",
        "hint": "identity",
        "temperature": "identity",
        "alpha": "identity",
    },
    "bench.strategies.l2_sp": {"pull": "identity", "shrink": "identity"},
    "bench.strategies.lora": {"rank": "identity", "alpha": "identity"},
    "bench.strategies.lp_ft": {"probe": "identity", "lr": "identity", "norms": "identity"},
    "bench.strategies.norm_only": {},
    "bench.strategies.partial_finetune": {"unfreeze": "identity"},
    "bench.strategies.protonet": {},
    "bench.strategies.scratch": {},
    "bench.strategies.soup": {"members": "identity", "strategy": "identity"},
    "bench.strategies.surgical": {
        "stages": "identity",
        "first": "identity",
        "last": "identity",
        "auto": "identity",
        "probe": "identity",
        "lr": "identity",
    },
    "bench.strategies.transferability": {},
    "bench.strategies.wise_ft": {"alpha": "identity", "probe": "identity", "lr": "identity", "norms": "identity"},
    "bench.tasks.classify": {"test_size": "identity", "monitor_size": "identity", "primary": "runtime"},
    "bench.tasks.few_shot": {"ways": "identity", "queries": "identity", "episodes": "identity"},
}


def cells(folder: Path, changes: Mapping[str, Any] | None = None) -> list[Cell]:
    return [entry.cell for entry in expand(load(write(folder, changes))).entries]


def matrix(**axes: Any) -> dict[str, Any]:
    return {"matrix": axes}


def pinned(folder: Path) -> dict[str, str]:
    """Return the ids that the golden file pins, by what the cells are."""
    distill = {"name": "distill", "teacher": {"strategy": "full_finetune"}}
    found = {}
    for name, changes in {
        "toy": matrix(strategy=["scratch", "feature_extract", {"name": "partial_finetune", "unfreeze": 2}, distill]),
        "recipe": {"recipe": {"lr": 0.01, "augment": {"flip": True, "shift": 2}, "selection": "best_val"}},
        "digits": matrix(dataset=["digits"], size=[50], backbone=["resnet18"], strategy=["scratch"], seed=[7]),
        "few_shot": {
            "task": {"name": "few_shot", "ways": 3, "episodes": 10, "test_size": None, "monitor_size": None},
            **matrix(strategy=["protonet"], dataset=[{"name": "toy", "classes": 5}]),
        },
    }.items():
        for cell in cells(folder, changes):
            found[f"{name}: {cell.strategy['name']}"] = cell.id
    return found


def test_ids_are_those_of_the_golden_file(tmp_path: Path) -> None:
    """An id that changes makes every stored result of the cell unfindable.

    If that is meant, because its numbers change too, raise `version` of the plugin, or IDENTITY_VERSION when the
    meaning of a field changes, and write the new ids into the file.
    """
    assert pinned(tmp_path) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_every_field_is_classified_as_identity_or_runtime() -> None:
    found: dict[str, dict[str, str]] = {}
    for data in (Cell, Recipe, Augment, Head, *CLASS_WEIGHTS.values(), *SCHEDULES.values()):
        runtime = {"runtime"} if data is Cell else set()
        name = f"{data.__module__}.{data.__qualname__}"
        found[name] = {f.name: "runtime" if f.name in runtime else "identity" for f in fields(data)}
    for registry in (backbones, datasets, strategies, tasks):
        for name in registry.names():
            plugin = registry.get(name)
            told = {f.name: "identity" if f.metadata.get("identity", True) else "runtime" for f in fields(plugin)}
            assert found.setdefault(plugin.__module__, told) == told
    assert found == FIELDS


def shuffled(value: Any, draw: Any) -> Any:
    """Return the same plain JSON with the keys of every mapping in another order."""
    if isinstance(value, Mapping):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


def test_ids_do_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    distill = {"name": "distill", "teacher": {"strategy": {"name": "full_finetune", "decay": 0.9}}, "alpha": 0.25}
    cell = cells(tmp_path, matrix(strategy=[distill]))[-1]

    @given(st.data())
    def in_any_order(data: st.DataObject) -> None:
        assert Cell.from_json(shuffled(cell.to_json(), data.draw)).id == cell.id

    in_any_order()


def test_ids_do_not_depend_on_how_a_suite_says_it(tmp_path: Path) -> None:
    ids = [cell.id for cell in cells(tmp_path)]
    same = {
        "suite": "another",
        "question": "Another?",
        "task": {"monitor_size": 10, "test_size": 30, "name": "classify"},
        "matrix": {
            "strategy": [{"standardize": True, "name": "feature_extract"}],
            "dataset": ["toy"],
            "backbone": [{"name": "toy_cnn", "source": "toy", "weights": "pretrained"}],
            "recipe.epochs": [2],
        },
        "recipe": {"epochs": 5, "lr": 1e-3, "schedule": {"name": "one_cycle"}, "ema": None, "head": {"norm": "none"}},
        "overrides": [{"when": {"size": 12}, "set": {"recipe": {"epochs": 6}}}],
        "deadline_seconds": 100,
    }
    assert [cell.id for cell in cells(tmp_path / "elsewhere", same)] == ids


def test_ids_do_not_depend_on_where_files_are_but_on_what_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    ids = []
    for place, content in (("one", b"weights"), ("two/deep", b"weights"), ("three", b"others")):
        folder = tmp_path / place
        layouts.folder(folder / "pictures", classes=("cat", "dog"), each=10)
        (folder / "my.pt").write_bytes(content)
        teacher = {"strategy": "full_finetune", "backbone": {"name": "toy_cnn", "weights": str(folder / "my.pt")}}
        axes = {
            "dataset": [{"name": "image_folder", "path": str(folder / "pictures")}],
            "backbone": [{"name": "toy_cnn", "weights": str(folder / "my.pt")}],
            "strategy": ["feature_extract", {"name": "distill", "teacher": teacher}],
        }
        found = cells(folder, {**matrix(**axes), "task": {"test_size": None}})
        assert str(tmp_path) not in json.dumps([cell.identity() for cell in found])
        ids.append([cell.id for cell in found])
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])


def test_other_pictures_are_another_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    ids = set()
    for each in (10, 11):
        folder = layouts.folder(tmp_path / str(each) / "pictures", each=each)
        changes = matrix(dataset=[{"name": "image_folder", "path": str(folder)}])
        ids |= {cell.id for cell in cells(tmp_path, {**changes, "task": {"test_size": None}})}
    assert len(ids) == 2


@pytest.mark.parametrize("part", ["task", "dataset", "backbone", "strategy"])
def test_raising_the_version_of_a_plugin_makes_another_cell(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = cells(tmp_path)
    registry = {"task": tasks, "dataset": datasets, "backbone": backbones, "strategy": strategies}[part]
    spec = getattr(before, part)
    plugin = registry.get(spec["source"] if part == "backbone" else spec["name"])
    monkeypatch.setattr(plugin, "version", plugin.version + 1)
    (after,) = cells(tmp_path)
    assert after.id != before.id
    assert getattr(after, part)["version"] == spec["version"] + 1
    assert replace(after, **{part: spec}).id == before.id


@pytest.mark.parametrize(
    "changes",
    [
        {"task": {"test_size": 31}},
        matrix(size=[13]),
        matrix(seed=[1]),
        matrix(dataset=[{"name": "toy", "train": 61}]),
        matrix(dataset=[{"name": "toy", "resolution": 24}]),
        matrix(backbone=[{"name": "toy_cnn", "weights": "random"}]),
        matrix(backbone=["resnet18"]),
        matrix(strategy=["full_finetune"]),
        matrix(strategy=[{"name": "feature_extract", "standardize": False}]),
        *({"recipe": {name: value}} for name, value in {
            "epochs": 3, "batch_size": 9, "optimizer": "sgd", "lr": 0.002, "weight_decay": 0.0, "schedule": "cosine",
            "label_smoothing": 0.1, "augment": {"flip": True}, "precision": "bf16", "selection": "best_val",
            "validation": 0.3, "curve_points": 3, "decay_norms": True, "clip_norm": 1.0, "class_weights": "balanced",
            "sampling": "balanced", "ema": 0.99, "head": {"dropout": 0.1},
        }.items()),
        *({"recipe": {"augment": {name: value}}} for name, value in {
            "vertical_flip": True, "rotate": 5, "brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.1,
            "policy": "rand_augment", "magnitude": 3, "number": 1, "fresh": True, "mixup": 0.2, "cutmix": 1,
        }.items()),
        {"recipe": {"schedule": {"name": "cosine", "warmup": 0.1}}},
        {"recipe": {"selection": "best_val", "patience": 3}},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_can_change_a_number_changes_the_id(changes: Mapping[str, Any], tmp_path: Path) -> None:
    assert cells(tmp_path, changes)[0].id != cells(tmp_path)[0].id


def test_a_student_of_another_teacher_is_another_cell(tmp_path: Path) -> None:
    ids = set()
    for epochs in (5, 6):
        override = {"when": {"strategy": "full_finetune"}, "set": {"recipe": {"epochs": epochs}}}
        strategy = {"name": "distill", "teacher": {"strategy": "full_finetune"}}
        ids.add(cells(tmp_path, {**matrix(strategy=[strategy]), "overrides": [override]})[-1].id)
    assert len(ids) == 2


def test_a_cell_is_read_back_whole_and_builds_its_plugins_again(tmp_path: Path) -> None:
    strategy = {"name": "distill", "teacher": {"strategy": {"name": "partial_finetune", "unfreeze": 2}}, "alpha": 0.25}
    for cell in cells(tmp_path, matrix(strategy=[strategy])):
        again = Cell.from_json(json.loads(json.dumps(cell.to_json())))
        assert (again, again.id) == (cell, cell.id)
        for part, registry in (("task", tasks), ("dataset", datasets), ("strategy", strategies)):
            built = registry.create(cell.plugin(part))
            assert built.name == getattr(cell, part)["name"]
    with pytest.raises(BenchError, match="unknown option 'version'"):
        strategies.create(cell.strategy)

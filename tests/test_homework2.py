"""Homework 2 in its short form, from a folder of pictures and from a file in MedMNIST's format, to its report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import runs
from PIL import Image

from bench.planner import expand
from bench.suite import load

SUITE = Path(__file__).parents[1] / "suites" / "homework2.yaml"
CLASSES = ("healthy", "fluid", "opaque")
EACH = 200
EDGE = 32


def picture(kind: int, draw: np.random.Generator) -> np.ndarray:
    """Return a grey picture, uint8 [edge, edge]: dark, with a bright spot or haze by its kind."""
    y, x = np.mgrid[:EDGE, :EDGE] / EDGE
    cx, cy = draw.uniform(0.3, 0.7, 2)
    spot = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.01) * (kind == 1)
    haze = y * (kind == 2)
    return (np.clip(0.25 + 0.5 * spot + 0.5 * haze + 0.08 * draw.normal(size=x.shape), 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 200 pictures, four of each patient, whose number is in the name."""
    draw, root = np.random.default_rng(0), tmp_path_factory.mktemp("clinic")
    for kind, name in enumerate(CLASSES):
        (root / name).mkdir()
        for i in range(EACH):
            Image.fromarray(picture(kind, draw)).save(root / name / f"p{i // 4:03d}_{i}.png")
    return root


def arguments(**settings: str) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_folder_of_three_classes_to_its_report(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LIMIT_SECONDS", 570)
    data = f"[{{name: image_folder, path: {folder}, resolution: 32, group_pattern: '(p[0-9]+)_'}}]"
    asked = ["run", str(SUITE), "--profile", "ci", "--device", "cpu", *arguments(matrix__dataset=data)]
    ended = runs.bench(tmp_path, *asked)
    assert ended.returncode == 0, ended.stderr
    found = runs.records(tmp_path, "homework2_ci").values()
    assert Counter(r["status"] for r in found) == {"ok": 5}
    assert max(r["metrics"]["accuracy"] for r in found) > 0.6
    report = (tmp_path / "reports" / "homework2_ci" / "index.md").read_text(encoding="utf-8")
    for heading in ("The data", "Evaluation", "Errors", "Seeing", "Which backbone, without training"):
        assert f"\n## {heading}" in report, heading
    assert "chosen on validation" in report or "validation" in report


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_file_in_the_format_of_medmnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LIMIT_SECONDS", 570)
    draw, arrays = np.random.default_rng(1), {}
    for split, count in (("train", 120), ("val", 12), ("test", 60)):
        labels = np.arange(count) % 2
        arrays[f"{split}_images"] = np.stack([picture(int(2 * k), draw)[2:30, 2:30] for k in labels])
        arrays[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    data = f"[{{name: medmnist, subset: pneumoniamnist, path: {tmp_path}, resolution: 32}}]"
    only = ["--only", "strategy=feature_extract|transferability"]
    asked = [
        "run",
        str(SUITE),
        "--profile",
        "ci",
        "--device",
        "cpu",
        *only,
        *arguments(matrix__dataset=data, recipe__epochs="15"),
    ]
    ended = runs.bench(tmp_path, *asked)
    assert ended.returncode == 0, ended.stderr
    found = runs.records(tmp_path, "homework2_ci").values()
    assert Counter(r["status"] for r in found) == {"ok": 2}
    accuracy = {r["cell"]["strategy"]["name"]: r["metrics"]["accuracy"] for r in found}
    assert accuracy["transferability"] > 0.9
    assert accuracy["feature_extract"] > 0.7


@pytest.mark.parametrize("profile", [None, "derma", "blood", "folder", "ci"])
def test_every_profile_plans_three_backbones_at_least_where_it_is_in_full(
    profile: str | None, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    settings = [f"matrix.dataset.0.path={folder}"] if profile in ("folder", "ci") else []
    plan = expand(load(SUITE, profile, settings))
    backbones = {entry.cell.backbone["name"] for entry in plan.entries}
    assert len(backbones) == (1 if profile == "ci" else 3)
    assert not any(entry.skip for entry in plan.entries)
    recipes = [entry.cell.recipe for entry in plan.entries]
    assert all(r["class_weights"] == "balanced" and r["selection"] == "best_val" for r in recipes)

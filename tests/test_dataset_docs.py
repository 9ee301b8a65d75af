"""docs/adding-a-dataset.md does what it says, and an image folder goes through the whole harness."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import layouts
import packages
import pages
import pytest
import runs

import suites
from bench.datasets import datasets
from bench.datasets._medical import SETS
from bench.datasets.huggingface_text import HuggingFaceText
from bench.datasets.image_folder import ImageFolder
from bench.datasets.medmnist import MedMnist
from bench.datasets.text_file import TextFile

PAGE = pages.DOCS / "adding-a-dataset.md"


@pytest.fixture(scope="module")
def blocks() -> dict[str, list[str]]:
    return pages.blocks("adding-a-dataset.md")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run python in a folder whose modules and packages it finds, as if they were installed."""
    environment = runs.environment(runs.ENVIRONMENT, {"PYTHONPATH": str(folder), "BENCH_CACHE": str(folder / "cache")})
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(p.read_text()) for p in sorted((folder / "results").glob("*/*.json")) if len(p.stem) == 12]


def test_the_example_on_the_page_is_a_plugin_that_runs(blocks: dict[str, list[str]], tmp_path: Path) -> None:
    plugin, maker = blocks["python"]
    entries = tomllib.loads(blocks["toml"][0])["project"]["entry-points"]["bench.datasets"]
    packages.install(tmp_path, "my-data", "datasets", entries, {"npz_file": plugin})
    (tmp_path / "try.yaml").write_text(blocks["yaml"][0])

    missing = run(tmp_path, "-m", "bench", "plan", "try.yaml")
    assert missing.returncode == 2
    assert "npz_file: cannot read digits.npz" in missing.stderr
    assert len(missing.stderr.strip().splitlines()) == 1

    assert run(tmp_path, "-c", maker).returncode == 0
    ended = run(tmp_path, "-m", "bench", "run", "try.yaml", "--no-report", "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    (record,) = records(tmp_path)
    assert record["status"] == "ok"
    listed = run(tmp_path, "-m", "bench", "list", "datasets", "--filter", "npz_file")
    assert "your own" in listed.stdout


def test_an_image_folder_with_broken_files_goes_through_the_harness(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets", each=20)
    layouts.picture(root / "cat" / "0.png", seed=5, grey=True, size=(40, 9))
    (root / "cat" / "cut.jpg").write_bytes(layouts.picture(tmp_path / "x.jpg", size=(64, 64)).read_bytes()[:700])
    matrix = {"dataset": [{"name": "image_folder", "path": "pets"}], "size": [12]}
    suites.write(tmp_path, {"matrix": matrix, "task": {"test_size": None}})
    ended = run(tmp_path, "-m", "bench", "run", "toy.yaml", "--no-report", "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("left out: 1 of 41 pictures, which can't be decoded: cat/cut.jpg") == 1
    (record,) = records(tmp_path)
    assert record["status"] == "ok"


def section(title: str) -> str:
    return PAGE.read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "plugin", "defaults"),
    [
        ("Your own pictures", ImageFolder, ("test_share", "on_broken", "links")),
        ("MedMNIST", MedMnist, ("size", "join_val")),
        ("Texts", TextFile, ("text", "label", "test_share")),
        ("Texts of the Hugging Face hub", HuggingFaceText, ("text", "label", "train", "test_share")),
    ],
)
def test_the_page_has_every_option_and_its_default(title: str, plugin: type[Any], defaults: tuple[str, ...]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", section(title), re.M)
    told = {name: default.strip("` ") for name, default in rows}
    fields = {field.name: field.default for field in dataclasses.fields(plugin)}
    assert told.keys() == fields.keys()
    assert all(told[name] == str(fields[name]).lower() for name in defaults)


def test_the_page_names_the_subsets_that_there_are() -> None:
    (row,) = re.findall(r"^\| `subset` .*$", section("MedMNIST"), re.M)
    assert set(re.findall(r"`(\w+mnist)`", row)) == set(SETS)


def test_the_page_names_only_datasets_that_are_registered() -> None:
    named = {
        name
        for row in re.findall(r"^\| (`.*?) \|", section("Sets that are here"), re.M)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert {"fashion_mnist", "digits", "toy", "image_folder", "cifar10", "medmnist"} <= named <= set(datasets.names())

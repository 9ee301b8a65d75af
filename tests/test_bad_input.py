"""Mistakes on a command line: one line on stderr, exit 2, no trace. Those in a suite are in faults/suites.txt."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import packages
import pytest
from refusals import refused
from runs import bench

from suites import write


def matrix(**axes: Any) -> dict[str, Any]:
    return {"matrix": axes}


COMMAND_MISTAKES: dict[str, tuple[list[str], str]] = {
    "unknown device": (["--device", "gpu"], r"--device gpu: choose auto, cpu or cuda"),
    "a device that is not there": (
        ["--device", "cuda"],
        r"--device cuda: CUDA_VISIBLE_DEVICES .* hides every GPU; use --device cpu",
    ),
    "unknown engine": (["--engine", "raz"], r"--engine raz: choose local"),
    "unknown option": (["--profil", "x"], r"bench run: no such option: --profil; did you mean '--profile'\?"),
    "an option without its value": (["--set"], r"option '--set' requires an argument"),
    "one file too many": (["other.yaml"], r"bench run: got unexpected extra argument"),
    "results that are a file": (["--results", "toy.yaml"], r"toy.yaml: is not a folder; choose another with --results"),
    "results below a file": (
        ["--results", "toy.yaml/x"],
        r"toy.yaml/x: cannot be made: .* choose another with --results",
    ),
    "results with too long a name": (["--results", "r" * 300], r"r{300}.*: cannot be read: File name too long"),
    "reports that are a file": (["--reports", "toy.yaml"], r"toy.yaml: cannot be written; choose .* --reports"),
    "reports with too long a name": (["--reports", "r" * 300], r"r{300}: cannot be written; choose .* --reports"),
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(("arguments", "said"), COMMAND_MISTAKES.values(), ids=COMMAND_MISTAKES.keys())
def test_a_bad_command_is_one_line_and_leaves_nothing_behind(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"profiles": {"smoke": {"recipe": {"epochs": 1}}}})
    line = refused(["run", "toy.yaml", *arguments], capsys, tmp_path)
    assert re.match(said, line), line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plna"], "bench: no such command 'plna'; did you mean 'plan'?"),
        (["run"], "bench run: missing argument 'suite'; see bench run --help"),
        (["data", "fetc", "toy"], "bench data: no such command 'fetc'; did you mean 'fetch'?"),
        (["data", "fetch", "toyy"], "unknown dataset 'toyy'; did you mean 'toy'?"),
        (["list", "dataset"], "list dataset: choose datasets, backbones, strategies or tasks"),
        (["list", "strategies", "--filter", "x*"], "no strategies match 'x*'"),
        (["show", "0000"], "no cell '0000' in results"),
        (["why", "0000"], "no cell '0000' in results"),
    ],
)
def test_bad_usage_of_any_command_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(arguments, capsys, tmp_path) == said


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_results_that_cannot_be_read_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    (tmp_path / "results").mkdir(mode=0o000)
    assert "results" in refused(["run", "toy.yaml"], capsys, tmp_path)


def test_a_mistake_is_the_same_line_from_a_real_command(tmp_path: Path) -> None:
    write(tmp_path, matrix(strategy=["scrach"]))
    ended = bench(tmp_path, "run", "toy.yaml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: toy.yaml:7:14: unknown strategy 'scrach'; did you mean 'scratch'?\n"
    assert names(tmp_path) == ["toy.yaml"]


def test_a_checkpoint_of_another_model_is_found_before_anything_runs(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    write(tmp_path, matrix(backbone=["toy_cnn", {"name": "toy_cnn", "weights": "other.safetensors"}]))
    ended = bench(tmp_path, "run", "toy.yaml", "--json", extra={"TMPDIR": str(tmp_path.parent)})
    assert (ended.returncode, ended.stdout) == (2, "")
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("error: toy.yaml:4:30: other.safetensors: does not fit toy_cnn")
    assert "checkpoint of another model" in last
    assert names(tmp_path) == ["other.safetensors", "toy.yaml"]


OUT_OF_REACH = '''
from dataclasses import dataclass
from typing import ClassVar

from bench.datasets import Examples, Facts
from bench.errors import DataError


@dataclass(frozen=True)
class Far:
    """Data that are known, and cannot be had."""

    name: ClassVar[str] = "far"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "image"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "far away"
    resolution: int | None = None

    def facts(self) -> Facts:
        return Facts("0", ("a", "b"), {"train": 100, "test": 100})

    def fetch(self) -> None:
        raise DataError("far: no source can be reached; connect to the network")

    def examples(self, split: str) -> Examples:
        self.fetch()
        raise AssertionError
'''


def test_data_that_cannot_be_had_are_found_before_anything_runs(tmp_path: Path) -> None:
    extra = packages.install(
        tmp_path / "plugins", "far", "datasets", {"far": "far_away:Far"}, {"far_away": OUT_OF_REACH}
    )
    work = tmp_path / "work"
    write(work, matrix(dataset=["toy", "far"]))
    ended = bench(work, "run", "toy.yaml", "--json", extra={**extra, "TMPDIR": str(tmp_path)})
    assert (ended.returncode, ended.stdout) == (2, "")
    said = "error: toy.yaml:3:18: far: no source can be reached; connect to the network"
    assert ended.stderr.splitlines()[-1] == said
    assert names(work) == ["toy.yaml"]

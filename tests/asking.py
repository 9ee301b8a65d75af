"""A finished run whose trained cells are asked about new inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import runs

from bench.cli import main
from bench.shelf import Shelf
from bench.store import Store


def finished(folder: Path, suite: Path) -> Path:
    """Run a suite that has its best cell explained in a folder; return the folder."""
    ended = runs.bench(folder, "run", suite.name, "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    assert "is not explained" not in ended.stdout
    return folder


def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in the folder of a run, without a GPU; return it."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return folder


def probabilities(folder: Path, suite: str, cell_id: str) -> dict[int, np.ndarray]:
    """Return what a cell of a run gave each class on test, by the number of the example."""
    found = Shelf(Store(folder / "results", suite)).predictions(cell_id)
    assert found is not None
    powers = np.exp(found.logits.astype(float))
    return dict(zip(found.index.tolist(), powers / powers.sum(axis=1, keepdims=True), strict=True))


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Run `bench predict` and return its exit code, what it printed, and what it said beside that."""
    with pytest.raises(SystemExit) as ended:
        main(["predict", *map(str, words)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err

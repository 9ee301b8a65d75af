"""An error in any stage of a cell, from its data to its score, is a record of that cell, and the others go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import packages
import pytest
import runs

import suites

DATA = """
from dataclasses import dataclass
from typing import ClassVar
from bench.datasets.toy import Toy

@dataclass(frozen=True)
class FaultyData(Toy):
    name: ClassVar[str] = "faulty_data"
    at: str = ""

    def facts(self):
        from multiprocessing import parent_process
        if self.at == "facts" and parent_process():
            raise RuntimeError("no facts today")
        return super().facts()

    def examples(self, split):
        if self.at == split:
            raise RuntimeError(f"no {split} today")
        return super().examples(split)
"""
TASK = """
from dataclasses import dataclass
from typing import ClassVar
from bench.tasks.classify import Classify

@dataclass(frozen=True)
class FaultyTask(Classify):
    name: ClassVar[str] = "faulty_task"
    at: str = ""

    def rounds(self, problem):
        self._maybe("rounds")
        yield from super().rounds(problem)

    def score(self, logits, test):
        self._maybe("score")
        return super().score(logits, test)

    def summary(self, scores):
        self._maybe("summary")
        return super().summary(scores)

    def _maybe(self, stage):
        if self.at == stage:
            raise RuntimeError(f"no {stage} today")
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which both plugins are installed."""
    folder = tmp_path_factory.mktemp("plugins")
    packages.install(
        folder, "faulty-data", "datasets", {"faulty_data": "faulty_data:FaultyData"}, {"faulty_data": DATA}
    )
    return packages.install(
        folder, "faulty-task", "tasks", {"faulty_task": "faulty_task:FaultyTask"}, {"faulty_task": TASK}
    )


def run(folder: Path, plugins: dict[str, str], changes: dict[str, Any]) -> list[dict[str, Any]]:
    suites.write(folder, changes)
    done = runs.bench(folder, "run", "toy.yaml", "--no-report", extra=plugins)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return list(runs.records(folder, "toy").values())


def test_data_that_cannot_be_read_fail_their_cells_alone(tmp_path, plugins):
    faulty = [{"name": "faulty_data", "at": at} for at in ("facts", "train", "test")]
    found = run(tmp_path, plugins, {"matrix": {"dataset": [*faulty, "toy"]}})
    ended = {r["cell"]["dataset"].get("at", "none"): (r["status"], r["reason"]) for r in found}
    assert ended == {
        "none": ("ok", None),
        **{at: ("failed", f"RuntimeError: no {at} today") for at in ("facts", "train", "test")},
    }


@pytest.mark.parametrize("at", ["rounds", "score", "summary"])
def test_a_task_that_raises_fails_its_cell_with_the_traceback(tmp_path, plugins, at):
    (record,) = run(tmp_path, plugins, {"task": {"name": "faulty_task", "at": at, "test_size": 30, "monitor_size": 10}})
    assert (record["status"], record["reason"]) == ("failed", f"RuntimeError: no {at} today")
    assert "in _maybe" in record["details"]["traceback"]
    assert record["metrics"] == {}
    assert record["seconds"]["standalone"] is None

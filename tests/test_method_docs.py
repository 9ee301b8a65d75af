"""docs/adding-a-strategy.md and docs/adding-a-task.md do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import packages
import pages
import pytest
import runs
from learners import learner, problem_of, round_of

from bench.strategies import Phase, Strategy, strategies
from bench.tasks import Task, tasks


def blocks(page: str) -> dict[str, str]:
    """Return the code block of each language of a page."""
    found = pages.blocks(page)
    assert [len(codes) for codes in found.values()] == [1, 1, 1]
    return {language: code for language, (code,) in found.items()}


def installed(folder: Path, page: str, kind: str) -> None:
    """Put a page's example and suite into a folder, as if the example were an installed package."""
    code = blocks(page)
    entries = tomllib.loads(code["toml"])["project"]["entry-points"][f"bench.{kind}"]
    (place,) = entries.values()
    packages.install(folder, "ours", kind, entries, {place.partition(":")[0]: code["python"]})
    (folder / "try.yaml").write_text(code["yaml"])


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return runs.bench(folder, *words, extra={"PYTHONPATH": str(folder)})


@pytest.fixture
def example(monkeypatch):
    """Run a page's example here, and forget its name afterwards."""

    def run(page: str, registry: Any, **options: Any) -> Any:
        registry.names()
        monkeypatch.setattr(registry, "_plugins", dict(registry._plugins))
        known = set(registry.names())
        sys.modules["example"] = type(sys)("example")
        exec(blocks(page)["python"], sys.modules["example"].__dict__)
        (name,) = set(registry.names()) - known
        return registry.create({"name": name, **options})

    yield run
    sys.modules.pop("example", None)


@pytest.mark.parametrize(
    ("page", "kind", "name"),
    [("adding-a-strategy.md", "strategies", "cautious_finetune"), ("adding-a-task.md", "tasks", "long_tail")],
)
def test_the_example_on_the_page_is_a_plugin_that_runs(page, kind, name, tmp_path):
    installed(tmp_path, page, kind)
    assert name in bench(tmp_path, "list", kind).stdout
    ended = bench(tmp_path, "run", "try.yaml", "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    found = runs.records(tmp_path, "try").values()
    assert Counter(r["status"] for r in found) == {"ok": {"strategies": 2, "tasks": 4}[kind]}
    assert name in (tmp_path / "reports" / "try" / "index.md").read_text(encoding="utf-8")


def test_a_wrong_option_of_the_example_is_an_error_of_the_suite(tmp_path):
    installed(tmp_path, "adding-a-strategy.md", "strategies")
    wrong = "matrix.strategy=[{name: cautious_finetune, pull: -1.0}]"
    refused = bench(tmp_path, "plan", "try.yaml", "--set", wrong)
    assert refused.returncode == 2
    assert "pull must be 0 or more, not -1.0" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_the_example_strategy_trains_what_it_says_and_pulls_from_zero(example, tmp_path):
    # The pull is far above the rounding of the loss.
    strategy = example("adding-a-strategy.md", strategies, pull=1e4)
    made = learner(tmp_path, strategy)
    pulls: list[float] = []
    plain = type(strategy).loss

    def loss(self, step):
        pulls.append(float((plain(self, step) - Strategy.loss(self, step)).detach()))
        return plain(self, step)

    type(strategy).loss = loss
    made.fit(round_of(24))
    assert made.epochs == (1, 2)
    # Three steps of the head alone, and the first of the last stage with it.
    assert pulls[:4] == [0.0] * 4
    assert min(pulls[4:]) > 0
    assert {name.partition(".")[0] for name in made.trained} == {"last", "head"}


def test_the_example_task_draws_a_tail_and_nests_sizes(example):
    task = example("adding-a-task.md", tasks)
    drawn = [next(task.rounds(problem_of(size))).train for size in range(3, 31)]
    assert [len(selection) for selection in drawn] == list(range(3, 31))
    assert all(set(small.index) < set(large.index) for small, large in pairwise(drawn))
    counts = np.bincount(drawn[-1].labels)
    assert counts[0] > counts[1] > counts[2] >= 1


def test_the_pages_name_every_member_of_their_contracts():
    for page, contract in (("adding-a-strategy.md", Strategy), ("adding-a-task.md", Task)):
        told = set(re.findall(r"^\| `(\w+)", (pages.DOCS / page).read_text(encoding="utf-8"), re.M))
        own = {n for n in {*vars(contract), *contract.__annotations__} if not n.startswith("_")}
        assert told == own - {"name", "version"}
    page = (pages.DOCS / "adding-a-strategy.md").read_text(encoding="utf-8")
    assert all(f"`{field.name}`" in page for field in fields(Phase))

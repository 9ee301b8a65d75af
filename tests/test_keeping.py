"""Whose trained weights are kept: the best of each data set, parents', all, or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import suites
from bench import schedule
from bench.cell import Cell
from bench.errors import SuiteError
from bench.planner import Plan, expand
from bench.record import Record
from bench.store import Store
from bench.suite import load
from bench.tensors import UNSEALED, seal
from bench.terminal import Silent

DISTILL = {"name": "distill", "teacher": {"strategy": "full_finetune"}}


class Scoring:
    """An engine whose cells score as they are told, by their seed and data, and that keeps weights as a worker does."""

    def __init__(self, scores: Mapping[Any, float | None], rounds: int = 1) -> None:
        self.scores, self.rounds, self.ran = scores, rounds, list[Any]()

    def check(self, cells: Any, watch: Any) -> None:
        return None

    def run(self, job: Mapping[str, Any], deadline_seconds: Any, watch: Any) -> dict[str, Any]:
        cell = Cell.from_json(job["cell"])
        key = (cell.dataset["classes"], cell.seed, cell.strategy["name"])
        score = next((s for part in (key, key[:2], cell.seed) if (s := self.scores.get(part, 0.0)) != 0.0), None)
        self.ran.append(key)
        if score is None:
            return {"status": "failed", "reason": "made up"}
        above = job["weights_above"]
        if job["weights"] and (above is None or (self.rounds == 1 and score > above)):
            write(Path(job["weights"]))
        predictions = Path(job["predictions"])
        predictions.parent.mkdir(parents=True, exist_ok=True)
        np.savez(predictions, logits=np.zeros((1, 2), np.float32))
        made = Record(cell.id, job["suite"], cell, "ok", metrics={"accuracy": score}, details={"rounds": self.rounds})
        return made.to_json()


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.zeros(3)}, path, UNSEALED)
    seal(path)


def planned(folder: Path, **changes: Any) -> Plan:
    matrix = {"seed": [0, 1, 2], "dataset": [{"name": "toy"}], **changes.pop("matrix", {})}
    return expand(load(suites.write(folder, {"matrix": matrix, **changes})))


def ran(folder: Path, plan: Plan, scores: Mapping[Any, float | None], **options: Any) -> list[Any]:
    """Run a plan with these scores, and return which cells ran."""
    engine = Scoring(scores, options.pop("rounds", 1))
    schedule.run(plan, Store(folder, "toy"), engine, Silent(), **options)
    return engine.ran


def kept(folder: Path, plan: Plan) -> set[Any]:
    """Return the seeds whose weights the suite keeps."""
    by_id = {entry.cell.id: entry.cell.seed for entry in plan.entries}
    return {by_id[cell_id] for cell_id in Store(folder, "toy").kept_ids()}


@pytest.mark.parametrize(
    "scores", [(0.5, 0.9, 0.7), (0.9, 0.7, 0.5), (0.5, 0.7, 0.9), (0.5, None, 0.4), (0.8, 0.8, 0.8)]
)
def test_at_the_end_the_best_cell_has_its_weights_and_no_other(
    tmp_path: Path, scores: tuple[float | None, ...]
) -> None:
    plan = planned(tmp_path)
    ran(tmp_path, plan, dict(enumerate(scores)))
    best = max((s, -i) for i, s in enumerate(scores) if s is not None)
    assert kept(tmp_path, plan) == {-best[1]}


def test_each_data_set_has_a_best_cell_over_all_sizes_and_strategies(tmp_path: Path) -> None:
    matrix = {"dataset": [{"name": "toy"}, {"name": "toy", "classes": 4}], "size": [12, 24]}
    plan = planned(tmp_path, matrix=matrix)
    ran(tmp_path, plan, {(3, 0): 0.4, (3, 1): 0.6, (3, 2): 0.5, (4, 0): 0.9, (4, 1): 0.8, (4, 2): 0.7})
    by_id = {entry.cell.id: entry.cell for entry in plan.entries}
    cells = [by_id[i] for i in Store(tmp_path, "toy").kept_ids()]
    assert sorted((c.dataset["classes"], c.seed, c.size) for c in cells) == [(3, 1, 12), (4, 0, 12)]


def test_a_later_run_goes_on_from_the_best_that_is_there(tmp_path: Path) -> None:
    first, more = planned(tmp_path), planned(tmp_path, matrix={"seed": [0, 1, 2, 3, 4]})
    ran(tmp_path, first, {0: 0.5, 1: 0.9, 2: 0.6})
    assert ran(tmp_path, more, {3: 0.8, 4: 0.7}) == [(3, 3, "feature_extract"), (3, 4, "feature_extract")]
    assert kept(tmp_path, more) == {1}
    part = planned(tmp_path, matrix={"seed": [5]})  # the best is in no plan of this run
    ran(tmp_path, part, {5: 0.95})
    assert [Store(tmp_path, "toy").kept_ids()] == [{part.entries[0].cell.id}]


def test_weights_of_parents_stay_whoever_beats_them(tmp_path: Path) -> None:
    plan = planned(tmp_path, matrix={"strategy": ["full_finetune", DISTILL, "scratch"], "seed": [0]})
    scores = {(3, 0, "full_finetune"): 0.7, (3, 0, "distill"): 0.8, (3, 0, "scratch"): 0.6}
    ran(tmp_path, plan, scores)
    store = Store(tmp_path, "toy")
    by_name = {e.cell.strategy["name"]: e.cell.id for e in plan.entries}
    assert store.has_weights(by_name["full_finetune"])
    assert store.kept_ids() == {by_name["distill"]}
    again = planned(tmp_path / "b", matrix={"strategy": ["full_finetune", DISTILL, "scratch"], "seed": [0]})
    ran(tmp_path / "b", again, {**scores, (3, 0, "full_finetune"): 0.9})
    assert Store(tmp_path / "b", "toy").kept_ids() == set()  # the parent is the best, and has its own already


def test_all_weights_are_kept_where_a_suite_says_so_and_those_that_lack_are_made(tmp_path: Path) -> None:
    scores = {0: 0.5, 1: 0.9, 2: 0.7}
    plan = planned(tmp_path)
    ran(tmp_path, plan, scores)
    every = planned(tmp_path, weights="all")
    assert [seed for _, seed, _ in ran(tmp_path, every, scores)] == [0, 2]
    assert kept(tmp_path, every) == {0, 1, 2}
    assert ran(tmp_path, every, scores) == []


def test_no_weights_are_kept_where_a_suite_wants_none_but_for_children(tmp_path: Path) -> None:
    plan = planned(tmp_path, weights="none", matrix={"strategy": [DISTILL], "seed": [0]})
    ran(tmp_path, plan, {0: 0.5})
    assert Store(tmp_path, "toy").kept_ids() == set()
    assert Store(tmp_path, "toy").with_weights() == {e.cell.id for e in plan.entries if e.role}


def test_a_task_of_many_rounds_has_no_one_model_to_keep(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    ran(tmp_path, plan, {0: 0.5, 1: 0.9, 2: 0.7}, rounds=5)
    assert kept(tmp_path, plan) == set()
    assert ran(tmp_path, planned(tmp_path, report={"explain": "best"}), {0: 0.5}) == []


def test_to_be_explained_only_the_best_cell_runs_again_when_its_weights_are_gone(tmp_path: Path) -> None:
    scores = {0: 0.5, 1: 0.9, 2: 0.7}
    ran(tmp_path, planned(tmp_path, weights="none"), scores)
    asked = planned(tmp_path, report={"explain": "best"})
    assert [entry.cell.seed for entry in schedule.status(asked, Store(tmp_path, "toy")).missing] == [1]
    assert [seed for _, seed, _ in ran(tmp_path, asked, scores)] == [1]
    assert kept(tmp_path, asked) == {1}
    assert ran(tmp_path, asked, scores) == []


def test_the_best_is_looked_for_when_all_other_cells_are_done(tmp_path: Path) -> None:
    """It had no weights, and what ran after it scored less: it runs again in the same run, after them."""
    ran(tmp_path, planned(tmp_path, weights="none", matrix={"seed": [1]}), {1: 0.9})
    asked = planned(tmp_path, report={"explain": "best"})
    assert [seed for _, seed, _ in ran(tmp_path, asked, {0: 0.5, 1: 0.9, 2: 0.7})] == [0, 2, 1]
    assert kept(tmp_path, asked) == {1}


def test_damaged_weights_are_no_weights(tmp_path: Path) -> None:
    asked = planned(tmp_path, report={"explain": "best"})
    ran(tmp_path, asked, {0: 0.5, 1: 0.9, 2: 0.7})
    (path,) = (tmp_path / "toy" / "weights").iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    assert Store(tmp_path, "toy").trained(path.stem) is None
    assert [seed for _, seed, _ in ran(tmp_path, asked, {1: 0.9})] == [1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"report": {"explain": "bets"}}, r"toy\.yaml:\d+:\d+: explain must be 'best' or 'none', not 'bets'.*'best'"),
        ({"report": {"explian": "best"}}, r"unknown key 'explian'; did you mean 'explain'\?"),
        ({"report": {"examples": 0}}, "examples must be 1 or more, not 0"),
        ({"report": {"examples": 100}}, "examples must be 20 or less, not 100"),
        ({"report": {"examples": True}}, "examples must be a whole number, not true"),
        ({"report": "best"}, "report must be a mapping"),
        ({"weights": "some"}, "weights must be 'best', 'all' or 'none', not 'some'"),
        ({"weights": None, "report": {"explain": False}}, "explain must be"),
        ({"weights": "none", "report": {"explain": "best"}}, r"toy\.yaml:\d+:\d+: explain: best needs weights"),
    ],
)
def test_a_wrong_word_is_one_line_with_its_place(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        load(suites.write(tmp_path, changes))


def test_what_is_kept_and_shown_is_no_part_of_an_identity(tmp_path: Path) -> None:
    plain = [e.cell.id for e in planned(tmp_path).entries]
    assert [e.cell.id for e in planned(tmp_path, weights="all", report={"explain": "best"}).entries] == plain

"""From a suite to its cells: spans, overrides, exclusions, parents, order, names."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import overview
from bench.cell import Cell
from bench.errors import SuiteError, UsageError
from bench.naming import labels
from bench.planner import Plan, expand
from bench.suite import load
from suites import write

ROOT = Path(__file__).parents[1]
TEACHER = {"name": "distill", "teacher": {"strategy": "full_finetune"}}


def plan(folder: Path, changes: Mapping[str, Any] | None = None, only: str | None = None, *settings: str) -> Plan:
    return expand(load(write(folder, changes), settings=settings), only)


def matrix(**axes: Any) -> dict[str, Any]:
    return {"matrix": axes}


def points(planned: Plan, *fields: str) -> list[tuple[Any, ...]]:
    """Return some fields of every cell, names for plugins."""
    rows = []
    for entry in planned.entries:
        parts = (getattr(entry.cell, f, None) or entry.cell.recipe.get(f) for f in fields)
        rows.append(tuple(p["name"] if isinstance(p, Mapping) else p for p in parts))
    return rows


def test_a_product_is_every_combination(tmp_path: Path) -> None:
    planned = plan(tmp_path, matrix(size=[6, 12], strategy=["scratch", "full_finetune"], seed=[0, 1]))
    assert sorted(points(planned, "size", "strategy")) == sorted(
        [(n, s) for n in (6, 12) for s in ("scratch", "full_finetune")] * 2
    )
    assert len({e.cell.id for e in planned.entries}) == 8


def test_zip_takes_axes_in_step_and_crosses_seeds(tmp_path: Path) -> None:
    changes = {"span": "zip", **matrix(size=[6, 12], strategy=["scratch", "full_finetune"], seed=[0, 1, 2])}
    planned = plan(tmp_path, changes)
    assert sorted(points(planned, "size", "strategy")) == [(6, "scratch")] * 3 + [(12, "full_finetune")] * 3


def test_an_ablation_varies_one_axis_at_a_time_and_crosses_seeds(tmp_path: Path) -> None:
    axes = {"size": [6, 12], "strategy": ["scratch", "full_finetune"], "seed": [0, 1], "recipe.lr": [0.1, 0.2, 0.3]}
    planned = plan(tmp_path, {"span": "ablation", "matrix": axes})
    base = [
        (6, "scratch", 0.1),
        (12, "scratch", 0.1),
        (6, "full_finetune", 0.1),
        (6, "scratch", 0.2),
        (6, "scratch", 0.3),
    ]
    assert sorted(points(planned, "size", "strategy", "lr")) == sorted(base * 2)


def test_overrides_merge_in_order_and_axes_of_the_recipe_have_the_last_word(tmp_path: Path) -> None:
    overrides = [
        {"when": {"strategy": ["scratch", "full_finetune"]}, "set": {"recipe": {"epochs": 3, "augment": {"shift": 1}}}},
        {"when": {"strategy": {"name": "scratch"}, "size": 12}, "set": {"recipe": {"epochs": 4, "lr": 5.0}}},
        {"when": {"size": [6]}, "set": {"recipe": {"augment": {"views": 2}}}},
    ]
    axes = {"size": [6, 12], "strategy": ["scratch", "full_finetune", "feature_extract"], "recipe.lr": [0.5]}
    planned = plan(tmp_path, {"matrix": axes, "overrides": overrides, "recipe": {"augment": {"flip": True}}})
    found = {(e.cell.size, e.cell.strategy["name"]): e.cell.recipe for e in planned.entries}
    assert {key: recipe["epochs"] for key, recipe in found.items()} == {
        (6, "scratch"): 3,
        (12, "scratch"): 4,
        (6, "full_finetune"): 3,
        (12, "full_finetune"): 3,
        (6, "feature_extract"): 2,
        (12, "feature_extract"): 2,
    }
    assert found[6, "scratch"]["augment"] == {"flip": True, "shift": 1, "views": 2}
    assert found[12, "feature_extract"]["augment"] == {"flip": True, "shift": 0, "views": 8}
    assert {recipe["lr"] for recipe in found.values()} == {0.5}


def test_an_override_matches_an_option_that_the_suite_leaves_to_its_default(tmp_path: Path) -> None:
    when = {"strategy": {"name": "partial_finetune", "unfreeze": 1}, "dataset": {"classes": 3}}
    changes = matrix(strategy=["partial_finetune", {"name": "partial_finetune", "unfreeze": 2}])
    planned = plan(tmp_path, {**changes, "overrides": [{"when": when, "set": {"recipe": {"epochs": 9}}}]})
    assert {e.cell.strategy["unfreeze"]: e.cell.recipe["epochs"] for e in planned.entries} == {1: 9, 2: 2}


def test_an_axis_of_the_recipe_can_lie_deep(tmp_path: Path) -> None:
    planned = plan(tmp_path, {"matrix": {"recipe.augment.flip": [False, True]}, "recipe": {"augment": {"shift": 2}}})
    assert [e.cell.recipe["augment"] for e in planned.entries] == [
        {"flip": False, "shift": 2, "views": 8},
        {"flip": True, "shift": 2, "views": 8},
    ]


def test_a_teacher_is_an_ordinary_cell_planned_once_before_its_students(tmp_path: Path) -> None:
    students = [{**TEACHER, "alpha": alpha} for alpha in (0.25, 0.5)]
    planned = plan(tmp_path, matrix(strategy=students))
    assert [e.role for e in planned.entries] == ["teacher", None, None]
    teacher, *others = (e.cell for e in planned.entries)
    assert all(cell.parents == {"teacher": teacher.id} for cell in others)
    assert (teacher.size, teacher.seed, teacher.dataset) == (others[0].size, others[0].seed, others[0].dataset)


@pytest.mark.parametrize("order", [["full_finetune", TEACHER], [TEACHER, "full_finetune"]])
def test_a_teacher_that_the_matrix_has_is_no_extra_cell(tmp_path: Path, order: list[Any]) -> None:
    planned = plan(tmp_path, matrix(strategy=order))
    assert points(planned, "strategy") == [("full_finetune",), ("distill",)]
    assert planned.parents == frozenset()


def test_a_teacher_can_have_a_teacher(tmp_path: Path) -> None:
    planned = plan(tmp_path, matrix(strategy=[{"name": "distill", "teacher": {"strategy": TEACHER}}]))
    assert points(planned, "strategy") == [("full_finetune",), ("distill",), ("distill",)]
    first, second, third = (e.cell for e in planned.entries)
    assert (second.parents, third.parents) == ({"teacher": first.id}, {"teacher": second.id})


def test_a_teacher_can_differ_in_more_than_its_strategy(tmp_path: Path) -> None:
    teacher = {
        "strategy": "full_finetune",
        "size": 30,
        "dataset": {"name": "toy", "classes": 4},
        "recipe": {"epochs": 5},
    }
    planned = plan(tmp_path, matrix(strategy=[{"name": "distill", "teacher": teacher}]))
    assert points(planned, "size", "epochs") == [(30, 5), (12, 2)]
    assert [e.cell.dataset["classes"] for e in planned.entries] == [4, 3]


def test_overrides_reach_teachers(tmp_path: Path) -> None:
    override = {"when": {"strategy": "full_finetune"}, "set": {"recipe": {"epochs": 7}}}
    planned = plan(tmp_path, {**matrix(strategy=[TEACHER]), "overrides": [override]})
    assert points(planned, "strategy", "epochs") == [("full_finetune", 7), ("distill", 2)]


def test_an_excluded_cell_is_skipped_with_its_reason(tmp_path: Path) -> None:
    changes = matrix(strategy=["scratch", "feature_extract"], size=[6, 12])
    exclude = [{"when": {"strategy": "scratch", "size": 6}, "reason": "six is too few"}]
    planned = plan(tmp_path, {**changes, "exclude": exclude})
    assert [e.skip for e in planned.entries] == ["six is too few", None, None, None]
    assert len(planned.runnable) == 3


def test_an_excluded_size_need_not_fit_the_data(tmp_path: Path) -> None:
    exclude = [{"when": {"size": 1000}, "reason": "the toy set is small"}]
    assert len(plan(tmp_path, {**matrix(size=[12, 1000]), "exclude": exclude}).runnable) == 1


def test_a_cell_whose_teacher_is_left_out_is_left_out_with_that_reason(tmp_path: Path) -> None:
    exclude = [{"when": {"strategy": "full_finetune"}, "reason": "no time"}]
    planned = plan(tmp_path, {**matrix(strategy=[TEACHER]), "exclude": exclude})
    assert [(e.cell.strategy["name"], e.skip) for e in planned.entries] == [
        ("distill", "its teacher is left out: no time")
    ]


def test_a_strategy_that_needs_what_the_task_lacks_is_skipped_with_that_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.strategies.scratch import Scratch

    monkeypatch.setattr(Scratch, "needs", frozenset({"labels", "two_views"}))
    planned = plan(tmp_path, matrix(strategy=["scratch", "feature_extract"]))
    assert [e.skip for e in planned.entries] == [
        "scratch needs two_views; the task classify does not provide it",
        None,
    ]


def test_of_two_equal_cells_one_may_be_excluded(tmp_path: Path) -> None:
    backbones = ["toy_cnn", {"name": "toy_cnn", "weights": "random"}]
    changes = matrix(strategy=["scratch", "feature_extract"], backbone=backbones)
    with pytest.raises(SuiteError, match="two cells of the matrix are the same: scratch"):
        plan(tmp_path, changes)
    when = {"strategy": "scratch", "backbone": {"weights": "random"}}
    planned = plan(tmp_path, {**changes, "exclude": [{"when": when, "reason": "the same"}]})
    assert points(planned, "strategy") == [("scratch",), ("feature_extract",), ("feature_extract",)]
    assert len(planned.runnable) == 3
    assert len(set(planned.titles.values())) == 3


def test_only_takes_cells_by_their_ids_and_the_parents_that_they_need(tmp_path: Path) -> None:
    axes = {"matrix": {"strategy": [TEACHER, "full_finetune"], "seed": [0, 1]}}
    whole = plan(tmp_path, axes)
    by_name = {(e.cell.strategy["name"], e.cell.seed): e for e in whole.entries}
    student, teacher = by_name["distill", 0].cell, by_name["full_finetune", 0].cell
    chosen = plan(tmp_path, axes, f"cell={student.id}")
    assert [(e.cell.id, e.role) for e in chosen.entries][-1] == (student.id, None)
    assert {e.cell.id for e in chosen.entries} == {student.id, teacher.id}
    alone = plan(tmp_path, axes, f"cell={teacher.id}")
    assert [(e.cell.id, e.role) for e in alone.entries] == [(teacher.id, None)]
    with pytest.raises(
        UsageError, match=f"--only cell={teacher.id[:-1]}x: is no cell of the suite; did you mean '{teacher.id}'"
    ):
        plan(tmp_path, axes, f"cell={student.id}|{teacher.id[:-1]}x")


def test_weights_are_looked_for_only_when_a_strategy_starts_from_them(tmp_path: Path) -> None:
    absent = [{"name": "toy_cnn", "weights": "none.pt"}]
    cell = plan(tmp_path, matrix(strategy=["scratch"], backbone=absent)).entries[0].cell
    assert (cell.backbone["weights"], cell.backbone["digest"]) == ("random", "random")
    with pytest.raises(SuiteError, match=r"no file 'none.pt'"):
        plan(tmp_path, matrix(strategy=["feature_extract"], backbone=absent))


def test_a_when_may_speak_of_values_that_a_profile_takes_away(tmp_path: Path) -> None:
    changes = {
        **matrix(size=[6, 12]),
        "overrides": [{"when": {"size": 12}, "set": {"recipe": {"epochs": 3}}}],
        "profiles": {"smoke": {"matrix": {"size": [6]}}, "more": {"matrix": {"size": [24]}}},
        "exclude": [{"when": {"size": 24}, "reason": "later"}],
    }
    path = write(tmp_path, changes)
    assert [len(expand(load(path, name)).entries) for name in (None, "smoke", "more")] == [2, 1, 1]


@pytest.mark.parametrize(
    ("only", "kept"),
    [
        ("strategy=scratch,size=6", [(6, "scratch", 0.001), (6, "scratch", 0.5)]),
        (
            "strategy=scratch|distill, size=6|12,recipe.lr=1e-3",
            [
                *[(6, "scratch", 0.001), (6, "full_finetune", 0.001), (6, "distill", 0.001)],
                *[(12, "scratch", 0.001), (12, "full_finetune", 0.001), (12, "distill", 0.001)],
            ],
        ),
        ("size=12,recipe.lr=5e-1,strategy=distill", [(12, "full_finetune", 0.5), (12, "distill", 0.5)]),
    ],
)
def test_only_keeps_what_matches_and_the_parents_it_needs(tmp_path: Path, only: str, kept: list[Any]) -> None:
    axes = {"size": [6, 12], "strategy": ["scratch", "feature_extract", TEACHER], "recipe.lr": [1e-3, 0.5]}
    assert points(plan(tmp_path, {"matrix": axes}, only), "size", "strategy", "lr") == kept


@given(
    st.lists(st.sampled_from(["scratch", "feature_extract", "distill", "full_finetune"]), min_size=1, unique=True),
    st.permutations([6, 9, 12]),
    st.permutations([0, 1, 2]),
)
def test_parents_come_first_and_cells_that_share_artifacts_stay_together(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], sizes: list[int], seeds: list[int]
) -> None:
    strategies = [TEACHER if name == "distill" else name for name in names]
    changes = matrix(strategy=strategies, size=sizes, seed=seeds, backbone=["toy_cnn", "resnet18"])
    entries = plan(tmp_path_factory.getbasetemp() / "order", changes).entries
    seen: set[str] = set()
    for entry in entries:
        assert set(entry.cell.parents.values()) <= seen
        seen.add(entry.cell.id)
    for shares in (
        lambda cell: cell.backbone["name"],
        lambda cell: (cell.backbone["name"], cell.size),
        lambda cell: (cell.backbone["name"], cell.size, cell.seed),
    ):
        runs = [key for key, _ in groupby(shares(entry.cell) for entry in entries)]
        assert len(runs) == len(set(runs))


def test_homework1_is_45_cells_and_9_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = expand(load(ROOT / "suites" / "homework1.yaml"))
    assert len(planned.entries) - len(planned.parents) >= 45
    assert len(planned.parents) == 9
    assert len(planned.runnable) == len(planned.entries)
    assert len(set(planned.titles.values())) == len(planned.entries)
    own = [planned.titles[e.cell.id] for e in planned.entries if e.role is None]
    teachers = [planned.titles[e.cell.id] for e in planned.entries if e.role]
    assert max(map(len, own)) <= 47
    assert not any("lite0" in title for title in own)
    assert all("lite2" in title for title in teachers)


def test_titles_tell_all_cells_apart(tmp_path: Path) -> None:
    (tmp_path / "one.pt").write_bytes(b"1")
    (tmp_path / "two.pt").write_bytes(b"2")
    files = [{"name": "toy_cnn", "weights": str(tmp_path / name)} for name in ("one.pt", "two.pt")]
    planned = plan(
        tmp_path,
        {
            "matrix": {
                "dataset": ["toy", {"name": "toy", "train": 90}],
                "backbone": ["toy_cnn", {"name": "toy_cnn", "weights": "random"}, *files],
                "strategy": ["feature_extract", {**TEACHER, "alpha": 0.2}, {**TEACHER, "alpha": 0.3}],
                "recipe.lr": [0.1, 0.2],
                "seed": [0, 1],
            }
        },
    )
    assert len(planned.entries) == 2 * 4 * (3 + 1) * 2 * 2
    assert len(set(planned.titles.values())) == len(planned.entries)


def test_an_option_that_is_null_goes_without_saying() -> None:
    assert labels([{"name": "net", "layers": layers} for layers in (None, 3, 2)]) == [
        "net", "net(layers=3)", "net(layers=2)",
    ]  # fmt: skip


def test_a_label_names_the_options_that_differ_and_no_more() -> None:
    def distill(name: str, temperature: float = 4.0, **options: Any) -> dict[str, Any]:
        teacher = {"strategy": {"name": name, "version": 1, **options}, "backbone": {"name": "big", "digest": "1"}}
        return {"name": "distill", "version": 1, "temperature": temperature, "teacher": teacher}

    assert labels([{"name": "scratch", "version": 1}, distill("full_finetune")]) == ["scratch", "distill"]
    assert labels([distill("scratch"), distill("full_finetune", decay=1.0)]) == [
        "distill(teacher.strategy=scratch)",
        "distill(teacher.strategy=full_finetune)",
    ]
    assert labels([distill("full_finetune", decay=0.5), distill("full_finetune", decay=1.0)]) == [
        "distill(teacher.strategy.decay=0.5)",
        "distill(teacher.strategy.decay=1.0)",
    ]
    assert labels([distill("scratch"), distill("scratch", 2.0)]) == [
        "distill(temperature=4.0)",
        "distill(temperature=2.0)",
    ]
    assert labels([{"name": "x", "digest": "0123456789"}, {"name": "x", "digest": "9876543210"}]) == [
        "x(digest=01234567)",
        "x(digest=98765432)",
    ]


def test_a_planned_cell_has_the_id_that_its_json_has(tmp_path: Path) -> None:
    changes = matrix(strategy=[TEACHER, "scratch"], size=[12, 24], seed=[0, 1], **{"recipe.epochs": [1, 2]})
    for entry in plan(tmp_path, changes).entries:
        assert entry.cell.id == Cell.from_json(entry.cell.to_json()).id


@given(st.text(alphabet="ab ·=(,).-\t\xa0é", min_size=1, max_size=60), st.integers(5, 30))
def test_words_that_need_more_than_a_line_are_wrapped_as_textwrap_does(words: str, width: int) -> None:
    fits = len(words) <= width and words.isprintable()
    assert overview._wrapped(words, width) == ([words] if fits else textwrap.wrap(words, width) or [""])

"""A suite's history: what is kept, where a level changed, and what is shown of it."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import ENVIRONMENT, cell, record
from runs import bench

from bench.compare.history import LEAST, added, change_points, line, read, run_of, series
from bench.errors import StoreError
from bench.report import timeline, write_history


def records(commit: int, accuracy: float = 0.8, params: int = 0, machine: str = "m", **other: float):
    """Return the records of one run at a commit."""
    luck = random.Random(commit)
    environment = {**ENVIRONMENT, "git_commit": f"{commit:07x}{'0' * 33}", "fingerprint": machine}
    made = []
    for name in ("scratch", "full_finetune"):
        for seed in range(3):
            got = record(
                cell(name, 100, seed), accuracy + luck.gauss(0, 0.004), other.get("train", 5.0) + luck.gauss(0, 0.1)
            )
            cost = replace(got.cost, params_total=(got.cost.params_total or 0) + params)
            made.append(
                replace(got, cost=cost, environment=environment, started_at=f"2026-01-{commit:02}T00:00:00+00:00")
            )
    return made


def runs_of(*each):
    return [run_of(made) for made in each]


@given(st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=3))
def test_a_series_of_a_few_runs_with_noise_has_no_change(values):
    if len(set(np.diff(values))) > 1:
        assert change_points(values) == [] or min(abs(np.diff(values))) == 0


def test_a_change_of_level_is_found_where_it_is_and_noise_is_none():
    draw = np.random.default_rng(0)
    found = [change_points([*draw.normal(0, 1, 12), *draw.normal(5, 1, 12)]) for _ in range(60)]
    assert sum(any(abs(at - 12) <= 1 for at in each) for each in found) >= 57
    quiet = [change_points(list(draw.normal(0, 1, 24))) for _ in range(300)]
    assert sum(map(bool, quiet)) <= 15


def test_a_number_without_noise_changes_where_it_changes():
    assert change_points([5, 5, 5, 6, 6, 5]) == [3, 5]
    assert change_points([5.0] * 30) == []
    assert change_points([]) == []


def test_a_level_needs_a_few_runs():
    assert LEAST == 3
    draw = np.random.default_rng(1)
    hiccup = list(draw.normal(0, 1, 20))
    hiccup[10] = 40.0
    assert change_points(hiccup) == [] or all(
        b - a >= LEAST for a, b in zip([0, *change_points(hiccup)], [*change_points(hiccup), 20], strict=True)
    )


def test_a_series_names_the_commit_with_which_it_changed():
    runs = runs_of(*(records(i, params=0 if i < 8 else 7) for i in range(1, 15)))
    changed = [each for each in series(runs) if each.changes]
    assert {each.measure for each in changed} == {"params_total"}
    (first, *_) = changed
    assert first.runs[first.changes[0]].commit.startswith("0000008")
    assert first.levels()[1] - first.levels()[0] == 7


def test_a_loss_of_accuracy_is_a_change_and_a_slower_machine_is_another_series():
    lost = runs_of(*(records(i, 0.8 if i < 10 else 0.75) for i in range(1, 20)))
    assert {each.measure for each in series(lost) if each.changes} >= {"accuracy", "macro_f1"}
    moved = runs_of(*(records(i, machine="a" if i < 10 else "b", train=5.0 if i < 10 else 9.0) for i in range(1, 20)))
    times = [each for each in series(moved) if each.measure == "seconds_train"]
    assert {each.machine for each in times} == {"a", "b"}
    assert not any(each.changes for each in times)


def test_a_run_is_a_line_that_comes_back_and_is_there_once():
    one, two = runs_of(records(1), records(2))
    assert read(line(one), "x") == [one]
    assert added(added([two], one), one) == [one, two]
    with pytest.raises(StoreError, match=r"^history\.jsonl:2: is no line of a history"):
        read(line(one) + '{"commit": 1}\n', "history.jsonl")


def test_records_that_an_earlier_commit_left_are_not_of_the_run():
    mixed = [*records(1)[:3], *records(2)[3:]]
    run = run_of(mixed)
    assert run.commit.startswith("0000002")
    assert {point.split(" · ")[0] for point in run.values["accuracy"]} == {"full_finetune"}


def test_a_series_goes_on_when_the_suite_gets_other_cells():
    more = [
        *records(2),
        *(replace(r, cell=replace(r.cell, backbone={**r.cell.backbone, "name": "resnet18"})) for r in records(2)),
    ]
    more = [replace(r, cell_id=r.cell.id) for r in more]
    lengths = {each.point: len(each.values) for each in series(runs_of(records(1), more)) if each.measure == "accuracy"}
    assert lengths["scratch · tf_efficientnet_lite0 · fashion_mnist · n=100"] == 2
    assert lengths["scratch · resnet18 · fashion_mnist · n=100"] == 1


def test_failed_cells_and_seeds_that_are_not_timed_leave_their_number_out():
    made = records(1)
    made[0] = replace(made[0], timing_valid=False)
    made[1] = replace(made[1], status="failed")
    run = run_of(made)
    assert (
        run.values["seconds_train"]["scratch · tf_efficientnet_lite0 · fashion_mnist · n=100"] == made[2].seconds.train
    )


def test_the_page_names_what_changed_with_its_commit(tmp_path):
    found = series(runs_of(*(records(i, params=0 if i < 8 else 7) for i in range(1, 15))))
    page = timeline.page("shop", found)
    said = "".join(span.text for words in page.answer[1].items for span in words)
    point = "full_finetune · tf_efficientnet_lite0 · fashion_mnist · n=100"
    assert f"params_total of {point}: 3,383,818 to 3,383,825 with 0000008 (2026-01-08)" in said
    assert len(page.figures()) == 1
    one, two = (write_history("shop", found, tmp_path / name) for name in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()
    assert "2 of " in page.answer[0].words[0].text
    quiet = timeline.page("shop", series(runs_of(records(1))))
    assert quiet.answer[0].words[0].text == "No series changed its level."


def test_history_is_kept_and_shown_by_the_command(tmp_path):
    for i in range(1, 9):
        folder = tmp_path / "results" / "shop"
        folder.mkdir(parents=True, exist_ok=True)
        for r in records(i, params=0 if i < 5 else 1):
            (folder / f"{r.cell_id}.json").write_text(json.dumps(r.to_json()), encoding="utf-8")
        done = bench(tmp_path, "history", "add", "shop")
        assert done.stdout == f"results/history/shop.jsonl: {i} run{'s' * (i > 1)}\n"
    shown = bench(tmp_path, "history", "show", "shop", "--reports", "reports")
    assert "params_total" in shown.stdout
    assert "changed with 0000005" in shown.stdout
    assert (tmp_path / "reports/shop-history/index.html").exists()
    all_of = bench(tmp_path, "history", "show", "shop", "--measure", "accuracy")
    assert len(all_of.stdout.splitlines()) == 2
    for words, said in (
        (["show", "shop", "--measure", "acuracy"], "did you mean 'accuracy'"),
        (["show", "none"], "results/history/none.jsonl: is not there; `bench history add none` begins it"),
    ):
        wrong = bench(tmp_path, "history", *words)
        assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
        assert said in wrong.stderr

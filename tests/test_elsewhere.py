"""Cells that are tested on other data sets too: what a plan makes of it, what is measured, what a report says."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest
import runs
from hypothesis import given
from hypothesis import strategies as st
from records import homework
from safetensors.numpy import load_file
from test_schema import validator  # noqa: F401 - a fixture

from bench.cell import Cell
from bench.cli import main
from bench.compare.answers import apart
from bench.datasets import Download, datasets
from bench.datasets._classes import renumbered, unknown
from bench.datasets.toy import Toy
from bench.engines.job import Job
from bench.engines.trial import first_mistake
from bench.engines.worker import run as run_cell
from bench.errors import SuiteError
from bench.explain import differences
from bench.measure import latency
from bench.measure.quality import quality
from bench.planner import Plan, expand
from bench.report import page, write
from bench.report.elsewhere import answer, blocks, names
from bench.report.page import Page
from bench.report.study import Study, sections
from bench.suite import load
from suites import TOY
from suites import write as write_suite

OTHER, LARGER = {"name": "toy", "test": 45}, {"name": "toy", "train": 90}
TEACHER = {"name": "distill", "teacher": {"strategy": "full_finetune"}}


def plan(folder: Path, *also_test: Any, profile: str | None = None, **changes: Any) -> Plan:
    return expand(load(write_suite(folder, {"also_test": list(also_test), **changes}), profile))


def cell(folder: Path, *also_test: Any, **changes: Any) -> Cell:
    return plan(folder, *also_test, **changes).entries[-1].cell


def refused(folder: Path, *also_test: Any, **changes: Any) -> str:
    with pytest.raises(SuiteError) as caught:
        plan(folder, *also_test, **changes)
    line = str(caught.value)
    assert line.startswith(f"{folder / 'toy.yaml'}:")
    assert "\n" not in line
    return line.partition(": ")[2]


# plan


def test_a_cell_that_is_tested_elsewhere_is_another_cell_that_draws_the_same(tmp_path: Path) -> None:
    alone, tested = cell(tmp_path), cell(tmp_path, OTHER)
    assert alone.id != tested.id
    assert tested.learnt_id == alone.id == alone.learnt_id
    assert tested.entropy("init") == alone.entropy("init")
    assert "also_test" not in alone.identity()
    (entry,) = tested.identity()["also_test"]
    assert (entry["name"], entry["test"], entry["digest"]) == ("toy", 45, Toy(test=45).facts().digest)
    assert replace(tested, also_test=()).id == alone.id


def test_the_order_and_what_a_suite_leaves_unsaid_are_in_no_id(tmp_path: Path) -> None:
    ids = {
        cell(tmp_path, *which).id
        for which in ([OTHER, LARGER], [LARGER, OTHER], [{**LARGER, "classes": 3}, {**OTHER, "resolution": 16}])
    }
    assert len(ids) == 1
    assert cell(tmp_path, OTHER).id not in ids


def test_a_cell_is_not_tested_elsewhere_on_its_own_data(tmp_path: Path) -> None:
    both = ["toy", OTHER]
    planned = plan(tmp_path, *both, matrix={"dataset": both})
    found = [(e.cell.dataset["test"], [t["test"] for t in e.cell.also_test]) for e in planned.entries]
    assert found == [(60, [45]), (45, [60])]
    alone = plan(tmp_path, OTHER, matrix={"dataset": both}).entries
    assert alone[1].cell.id == expand(load(write_suite(tmp_path, {"matrix": {"dataset": [OTHER]}}))).entries[0].cell.id


def test_a_teacher_is_the_row_of_its_name(tmp_path: Path) -> None:
    rows = plan(tmp_path, OTHER, matrix={"strategy": [TEACHER, "full_finetune"]})
    assert len(rows.entries) == 2
    student, teacher = sorted(rows.entries, key=lambda entry: entry.cell.strategy["name"])
    assert student.cell.parents == {"teacher": teacher.cell.id}
    assert (teacher.role, student.role) == (None, None)
    assert teacher.cell.also_test == student.cell.also_test != ()
    parent, _ = plan(tmp_path, OTHER, matrix={"strategy": [TEACHER]}).entries
    assert (parent.role, parent.cell) == ("teacher", teacher.cell)


def test_a_parent_that_learns_other_data_is_tested_on_that_alone(tmp_path: Path) -> None:
    larger = {"name": "distill", "teacher": {"strategy": "full_finetune", "dataset": LARGER}}
    parent, student = plan(tmp_path, OTHER, matrix={"strategy": [larger]}).entries
    assert (parent.role, parent.cell.dataset["train"]) == ("teacher", 90)
    assert (parent.cell.also_test, student.cell.also_test) == ((), cell(tmp_path, OTHER).also_test)
    # Its classes need not be those of the data set that the suite tests on.
    other = {"name": "distill", "teacher": {"strategy": "full_finetune", "dataset": {"name": "toy", "classes": 4}}}
    assert len(plan(tmp_path, OTHER, matrix={"strategy": [other]}).entries) == 2


def test_paths_are_in_no_id_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    found = []
    for place in ("one", "two/deep"):
        for name in ("home", "away"):
            layouts.folder(tmp_path / place / name, each=10)
        home, away = ({"name": "image_folder", "path": str(tmp_path / place / name)} for name in ("home", "away"))
        changes = {"matrix": {"dataset": [home]}, "task": {"test_size": None}}
        found.append(cell(tmp_path / place, away, **changes))
        assert found[-1].elsewhere()[0]["path"] == away["path"]
        assert Cell.from_json(json.loads(json.dumps(found[-1].to_json()))) == found[-1]
    assert found[0].id == found[1].id
    assert str(tmp_path) not in json.dumps([each.identity() for each in found])


def test_why_names_each_data_set(tmp_path: Path) -> None:
    told = differences(cell(tmp_path, OTHER), cell(tmp_path))
    assert "also_test.toy.test: 45, there 'nothing'" in told
    assert all(line.startswith("also_test.toy.") for line in told)
    both = differences(cell(tmp_path, OTHER, LARGER), cell(tmp_path))
    assert "also_test.toy(test=60, train=90).train: 90, there 'nothing'" in both


@pytest.mark.parametrize(
    ("also_test", "said"),
    [
        ([{"name": "toi"}], "unknown dataset 'toi'; did you mean 'toy'?"),
        ([{"name": "toy", "tests": 3}], "unknown option 'tests' of dataset 'toy'; did you mean 'test'?"),
        ([{"name": "toy", "test": "many"}], "dataset 'toy': test must be a whole number, not 'many'"),
        ([{"test": 45}], "also_test must be a name or a mapping with a name"),
        ([OTHER, {**OTHER, "resolution": 16}], "toy is named twice"),
        (["toy"], "toy is what the cells learn, and they are tested on it anyway"),
        ([{**OTHER, "resolution": 32}], "toy is seen at the resolution at which toy is learnt; leave it out"),
        ([{"name": "image_folder", "path": "nowhere"}], "nowhere"),
        ([{"name": "toy", "classes": 2}], "toy has a class that the cells do not learn: 'bar 90 degrees (1)'."),
        (["digits"], "digits has classes that the cells do not learn: '0', '1', '2'"),
    ],
    ids=str,
)
def test_what_cannot_be_tested_is_refused_with_its_place(also_test: list[Any], said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, *also_test)


def test_both_lists_of_classes_are_named(tmp_path: Path) -> None:
    told = refused(tmp_path, {"name": "toy", "classes": 2})
    for name in (*(Toy().facts().classes or ()), *(Toy(classes=2).facts().classes or ())):
        assert repr(name) in told


def test_a_misspelt_key_and_a_wrong_type_are_said(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"unknown key 'also_tests'; did you mean 'also_test'\?"):
        load(write_suite(tmp_path, {"also_tests": ["toy"]}))
    with pytest.raises(SuiteError, match="also_test must be a list, not 'toy'"):
        load(write_suite(tmp_path, {"also_test": "toy"}))


def test_a_profile_and_a_setting_may_set_it(tmp_path: Path) -> None:
    path = write_suite(tmp_path, {"profiles": {"away": {"also_test": [OTHER]}}})
    plain, away = expand(load(path)), expand(load(path, "away"))
    assert [len(p.entries[0].cell.also_test) for p in (plain, away)] == [0, 1]
    laid = expand(load(path, settings=["also_test=[{name: toy, test: 45}]"]))
    assert laid.entries[0].cell == away.entries[0].cell
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(load(path, "away").resolved()), encoding="utf-8")
    assert expand(load(saved)).entries[0].cell == away.entries[0].cell
    assert "also_test" not in load(path).resolved()


def test_the_schema_knows_it(validator: Any) -> None:  # noqa: F811
    assert validator.is_valid({**TOY, "also_test": ["toy", OTHER], "profiles": {"p": {"also_test": [OTHER]}}})
    for wrong in ("toy", [{"name": "toy", "tests": 3}], ["toi"], [{"test": 45}]):
        assert not validator.is_valid({**TOY, "also_test": wrong})


def test_what_is_not_here_yet_is_looked_at_again_before_any_cell_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "missing", lambda self: Download("a mirror"), raising=False)
    planned = plan(tmp_path, OTHER, {"name": "toy", "classes": 2})
    mistake = first_mistake([entry.cell.to_json() for entry in planned.entries])
    assert mistake is not None
    told = str(planned.error(mistake))
    assert "toy has a class that the cells do not learn: 'bar 90 degrees (1)'" in told
    text = (tmp_path / "toy.yaml").read_text(encoding="utf-8").splitlines()
    line = int(told.removeprefix(f"{tmp_path / 'toy.yaml'}:").split(":")[0])
    assert "classes: 2" in "\n".join(text[line - 1 : line + 1])
    assert first_mistake([entry.cell.to_json() for entry in plan(tmp_path, OTHER).entries]) is None


@given(st.data())
def test_classes_are_matched_by_name(data: st.DataObject) -> None:
    known = data.draw(st.lists(st.text(max_size=3), min_size=1, max_size=6, unique=True))
    classes = data.draw(st.lists(st.sampled_from(known) | st.text(max_size=3), min_size=1, max_size=6, unique=True))
    labels = np.array(data.draw(st.lists(st.integers(0, len(classes) - 1), max_size=20)), dtype=np.int64)
    found = renumbered(labels, classes, known)
    assert [known[i] if i >= 0 else None for i in found] == [
        classes[i] if classes[i] in known else None for i in labels
    ]
    assert (unknown("home", known, "other", classes) is None) == (set(classes) <= set(known))


# run


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.0)


def measured(of: Cell, folder: Path) -> dict[str, Any]:
    """Run a cell in this process, and return its record with its arrays and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: str(folder / f"{of.id}.{name}") for name in ("predictions", "weights", "progress")}
    job = Job("toy", of.to_json(), {}, str(folder / "artifacts"), device="cpu", **files)
    record = run_cell(asdict(job))
    assert record["status"] == "ok", record["reason"]
    with np.load(files["predictions"]) as arrays:
        return record | {"arrays": dict(arrays), "tensors": load_file(files["weights"])}


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(v.tobytes() == other[k].tobytes() for k, v in one.items())


def entry_of(of: Cell) -> dict[str, Any]:
    """Return a cell's own data set as `also_test` would have it, which no plan does."""
    return {k: v for k, v in of.dataset.items() if k != "resolution"}


FEW_SHOT = {
    "task": {"name": "few_shot", "ways": 2, "queries": 4, "episodes": 5, "test_size": None, "monitor_size": None},
    "matrix": {"strategy": ["protonet"]},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"matrix": {"strategy": ["full_finetune"]}, "recipe": {"selection": "best_val", "augment": {"shift": 1}}},
        {"matrix": {"strategy": ["feature_extract"]}, "task": {"test_size": None}},
        FEW_SHOT,
    ],
    ids=["full_finetune", "feature_extract", "few_shot"],
)
def test_tests_elsewhere_change_nothing_at_home_and_home_elsewhere_is_home(
    changes: Mapping[str, Any], tmp_path: Path
) -> None:
    alone = cell(tmp_path, **changes)
    (other,) = cell(tmp_path, OTHER, **changes).also_test
    before = measured(alone, tmp_path / "alone")
    after = measured(replace(alone, also_test=(other, entry_of(alone))), tmp_path / "tested")
    assert after["metrics"] == before["metrics"]
    assert same(after["tensors"], before["tensors"])
    own = {k: v for k, v in after["arrays"].items() if not k.startswith("also_test.")}
    assert same(own, before["arrays"])
    assert [{**p, "seconds": 0} for p in after["curve"]] == [{**p, "seconds": 0} for p in before["curve"]]
    home = after["details"]["also_test"][1]
    assert (home["metrics"], home["n"]) == (after["metrics"], len(before["arrays"]["labels"]))
    assert home["details"] == {k: after["details"][k] for k in home["details"]}
    assert same(
        {k: after["arrays"][f"also_test.1.{k}"] for k in ("logits", "labels", "index")},
        {k: before["arrays"][k] for k in ("logits", "labels", "index")},
    )
    assert "also_test" not in before["details"]
    again = measured(replace(alone, also_test=(entry_of(alone), other)), tmp_path / "turned")
    assert again["details"]["also_test"] == after["details"]["also_test"][::-1]


def test_examples_of_classes_that_are_not_learnt_count_nowhere(tmp_path: Path) -> None:
    few, strange = Toy(classes=2, test=30), datasets.create({"name": "digits"})
    entries = [
        {"name": "toy", "version": 1, "classes": 2, "train": 60, "test": 30, "digest": few.facts().digest},
        {"name": "digits", "version": 1, "digest": strange.facts().digest},
    ]
    record = measured(replace(cell(tmp_path, task={"test_size": 12}), also_test=tuple(entries)), tmp_path)
    partly, never = record["details"]["also_test"]
    assert partly["n"] == 12  # of the 15 that are shared
    assert partly["left_out"] == {"examples": 15, "classes": ["bar 90 degrees (1)"]}
    logits, labels, index = (record["arrays"][f"also_test.0.{k}"] for k in ("logits", "labels", "index"))
    assert set(labels) == {0}
    assert set(index % 2) == {0}
    assert quality(logits, labels, Toy().facts().classes or ()).metrics == partly["metrics"]
    assert partly["metrics"]["auroc"] is None
    assert "no contrast" in partly["reasons"]["metrics.auroc"]
    assert (never["n"], never["metrics"]["accuracy"]) == (0, None)
    assert "none of its test examples is of a class that the model knows" in never["reasons"]["metrics.accuracy"]
    assert not [k for k in record["arrays"] if k.startswith("also_test.1.")]


def test_episodes_that_cannot_be_asked_elsewhere_say_why(tmp_path: Path) -> None:
    entry = {"name": "toy", "version": 1, "classes": 2, "train": 60, "test": 30}
    entry["digest"] = Toy(classes=2, test=30).facts().digest
    record = measured(replace(cell(tmp_path, **FEW_SHOT), also_test=(entry,)), tmp_path)
    (told,) = record["details"]["also_test"]
    assert "4 examples of each class are drawn from the test split, and" in told["reasons"]["metrics.accuracy"]


def test_data_that_changed_since_the_plan_fail_the_cell_before_it_learns(tmp_path: Path) -> None:
    (entry,) = cell(tmp_path, OTHER).also_test
    changed = replace(cell(tmp_path), also_test=({**entry, "digest": "0"},))
    files = {name: str(tmp_path / name) for name in ("predictions", "weights", "progress")}
    record = run_cell(asdict(Job("toy", changed.to_json(), {}, str(tmp_path / "artifacts"), device="cpu", **files)))
    assert record["status"] == "failed"
    assert "the data have changed since this cell was planned" in record["reason"]
    assert not (tmp_path / "weights").exists()


def test_a_run_from_the_command_line_tells_what_is_lost_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("home", "away"):
        layouts.folder(tmp_path / name, each=20)
    home = {"name": "image_folder", "path": "home", "resolution": 16}
    changes = {
        "task": {"test_size": None},
        "matrix": {"dataset": [home], "strategy": ["feature_extract", TEACHER]},
        "also_test": [{"name": "image_folder", "path": "away"}],
    }
    write_suite(tmp_path, changes)
    extra = {"BENCH_CACHE": str(tmp_path / "cache")}
    ended = runs.bench(tmp_path, "run", "toy.yaml", extra=extra)
    assert ended.returncode == 0, ended.stderr
    records = runs.records(tmp_path, "toy")
    tested = {i: r for i, r in records.items() if "also_test" in r["details"]}
    assert (len(records), len(tested)) == (3, 3)
    shown = (tmp_path / "reports" / "toy" / "index.md").read_text(encoding="utf-8")
    assert "Elsewhere" in shown
    assert "loses least" in shown
    with (tmp_path / "reports" / "toy" / "cells.csv").open(encoding="utf-8") as handle:
        rows = {row["cell_id"]: row for row in csv.DictReader(handle)}
    (column,) = [k for k in next(iter(rows.values())) if k.startswith("also_test.") and k.endswith(".accuracy")]
    for cell_id, record in records.items():
        assert rows[cell_id][column] == str(tested[cell_id]["details"]["also_test"][0]["metrics"]["accuracy"])
        assert str(tmp_path) not in json.dumps(record["details"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", extra["BENCH_CACHE"])
    for words in (["plan", "toy.yaml", "--json"], ["compare", "results/toy", "results/toy"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code in (0, 4)
        told = capsys.readouterr().out
        assert words[0] == "compare" or {c["state"] for c in json.loads(told)["cells"]} == {"cached"}


# report


# The least first.
LOSES = ("scratch", "distill", "feature_extract", "full_finetune", "partial_finetune")


def shifted(seeds: int = 3, **other: Any) -> Study:
    """Return a study whose strategies lose 0.02 to 0.10 on another data set, some more than others."""
    made = homework(seeds, **other)
    places = {name: i for i, name in enumerate(LOSES)}
    found = []
    for record in made.records:
        if record.cell_id in made.parents:
            found.append(record)
            continue
        lost = 0.02 + 0.02 * places[record.cell.strategy["name"]] + 0.001 * record.cell.seed
        home = record.metrics["accuracy"]
        assert home is not None
        spec = {"name": "scans", "version": 1, "digest": "d" * 64}
        entry = {
            "dataset": spec, "n": 500, "metrics": {"accuracy": home - lost}, "reasons": {}, "details": {}
        }  # fmt: skip
        of = replace(record.cell, also_test=(spec,))
        found.append(replace(record, cell_id=of.id, cell=of, details={**record.details, "also_test": [entry]}))
    return replace(made, records=tuple(found))


def words_of(found: Any) -> str:
    return "".join(span.text for block in found for span in block.words)


def elsewhere_of(study: Study) -> tuple[str, list[list[str]], str]:
    """Return the sentence, the rows of the one table, and its caption."""
    (section,) = sections(study)
    named = names(study.records)
    _, table = blocks(section, study.primary, named, 2)
    return words_of(answer(section, study.primary, named)), [[s.text for s in row] for row in table.rows], table.caption


def test_the_strategy_that_loses_least_is_named_and_how_sure_that_is() -> None:
    told, rows, caption = elsewhere_of(shifted())
    least = LOSES[0]
    assert told.startswith(f"Tested on scans at n = 2000, {least} loses least: 0.021 ± 0.001 (")
    assert "shown to lose more" in told
    assert "The best there is distill with 0.8" in told
    row = next(row for row in rows if row[:2] == [least, "2000"])
    assert row[4] == "0.021 ± 0.001"
    assert row[5].startswith("0.0")
    assert "tested on scans as well (500 examples)" in caption
    assert len(rows) == 5 * 3


def test_few_seeds_give_no_verdict_and_equal_losses_no_difference() -> None:
    assert "no verdict from 2 seeds" in elsewhere_of(shifted(2))[0]
    made = shifted()
    level = []
    for i, record in enumerate(made.records):
        entries = record.details.get("also_test")
        home = record.metrics["accuracy"] or 0.0
        metrics = {"accuracy": home - 0.05 - 0.01 * (i * 7919 % 13) / 13}
        new = {**record.details, "also_test": [{**entries[0], "metrics": metrics}]} if entries else record.details
        level.append(replace(record, details=new))
    assert "no difference is shown from" in elsewhere_of(replace(made, records=tuple(level)))[0]


def test_one_seed_has_an_interval_over_test_examples() -> None:
    right = quality(np.eye(2, dtype=np.float32)[np.arange(40) % 2], np.zeros(40, dtype=np.int64), ("a", "b"))
    wrong = quality(np.eye(2, dtype=np.float32)[np.ones(30, int)], np.zeros(30, dtype=np.int64), ("a", "b"))
    found = []
    for record in shifted(1).records:
        details = dict(record.details)
        if "also_test" in details:
            entry = {**details["also_test"][0], "metrics": {"accuracy": 0.0}, "details": wrong.details}
            details |= {**right.details, "also_test": [entry]}
        found.append(replace(record, metrics={**record.metrics, "accuracy": 0.5}, details=details))
    told, rows, _ = elsewhere_of(replace(shifted(1), records=tuple(found)))
    low, _, high, mark = rows[0][5].split()
    assert float(low) < 0.5 < float(high)
    assert mark == "[1]"
    assert "no verdict from 1 seed" in told


def test_two_test_sets_are_drawn_again_each_on_its_own() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random(400) < 0.8, rng.random(300) < 0.6
    found = apart([first], [second])
    assert found.mean == pytest.approx(first.mean() - second.mean())
    deviation = np.sqrt(first.var() / 400 + second.var() / 300)
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)


def test_a_reason_stands_where_the_number_would_be_and_what_was_left_out_is_said() -> None:
    made = shifted()
    found = []
    for record in made.records:
        entries = record.details.get("also_test")
        if entries:
            left = {"examples": 7, "classes": ["gnu", "emu"]}
            none = {"metrics": {"accuracy": None}, "reasons": {"metrics.accuracy": "it rained"}, "n": 0}
            chosen = none if record.cell.size == 100 else {}
            record = replace(
                record, details={**record.details, "also_test": [{**entries[0], "left_out": left, **chosen}]}
            )
        found.append(record)
    made = replace(made, records=tuple(found))
    _, rows, caption = elsewhere_of(made)
    assert next(row for row in rows if row[1] == "100")[3:] == ["– [1]", "–", "–"]
    assert "7 examples are left out, of classes that are not learnt: gnu and emu" in caption


def test_data_sets_of_one_name_are_told_apart_from_each_other_and_from_home() -> None:
    made = shifted()
    records = []
    for record in made.records:
        entries = record.details.get("also_test")
        if entries:
            home = {k: v for k, v in record.cell.dataset.items() if k != "resolution"}
            specs = [{**home, "test": 45, "digest": "1"}, {**home, "test": 30, "digest": "2"}]
            told = [{**entries[0], "dataset": spec} for spec in specs]
            record = replace(record, details={**record.details, "also_test": told})
        records.append(record)
    named = names(records)
    assert sorted(name.partition("(")[2] for name in named.values()) == ["test=30)", "test=45)"]


def test_a_page_of_old_records_is_as_it_was(tmp_path: Path) -> None:
    old = homework()
    assert names(old.records) == {}
    made: Page = page(old)
    assert not [b for b in made.blocks if getattr(b, "text", "") == "Elsewhere"]


def test_a_report_with_tests_elsewhere_is_the_same_bytes_again_and_exports_its_numbers(tmp_path: Path) -> None:
    study = shifted(2)
    for name in ("a", "b"):
        write(study, tmp_path / name)
    for path in sorted(p for p in (tmp_path / "a").iterdir() if p.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    with (tmp_path / "a" / "cells.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    tested = [row for row in rows if row["also_test.scans.accuracy"]]
    assert len(tested) == 5 * 3 * 2
    assert all(float(r["metrics.accuracy"]) > float(r["also_test.scans.accuracy"]) for r in tested)
    told = json.loads((tmp_path / "a" / "cells.json").read_text(encoding="utf-8"))
    assert [t["name"] for t in told["tables"]].count("elsewhere") == 1
    for ending in ("md", "html"):
        assert "loses least" in (tmp_path / "a" / f"index.{ending}").read_text(encoding="utf-8")

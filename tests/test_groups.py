"""Patients: all pictures of one on one side of every split, in data sets and in the task."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.datasets import datasets
from bench.datasets._split import by_group, stratified
from bench.errors import DataError, OptionError, Skip
from bench.grouping import held_out
from bench.tasks import Problem, Round
from bench.tasks.classify import Classify

Ints = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@st.composite
def grouped(draw: st.DrawFn) -> tuple[Ints, Ints]:
    """Draw the labels and the groups of some examples: mostly a class a group, some with several."""
    classes = draw(st.integers(2, 4))
    labels, groups = [], []
    for group in range(draw(st.integers(2 * classes, 14))):
        own = group % classes
        for _ in range(draw(st.integers(1, 9))):
            labels.append(draw(st.integers(0, classes - 1)) if draw(st.integers(0, 5)) == 0 else own)
            groups.append(group)
    return np.array(labels, np.int64), np.array(groups, np.int64)


def problem_of(labels: Ints, groups: Ints, size: int, seed: int, validation: float | None) -> Problem:
    test = np.arange(int(labels.max()) + 1)
    far = {"train": groups, "test": test + 1000}
    return Problem({"train": labels, "test": test}, tuple("abcd"[: len(test)]), size, seed, validation, far)


def only(given: Problem, monitor: int = 20) -> Round:
    (found,) = Classify(monitor_size=monitor).rounds(given)
    return found


# the split of a data set


@given(made=grouped(), share=st.floats(0.05, 0.6), data=st.data())
def test_whole_groups_are_held_out_and_every_class_keeps_one(
    made: tuple[Ints, Ints], share: float, data: st.DataObject
) -> None:
    labels, groups = made
    order = data.draw(st.permutations(sorted(set(groups.tolist()))))
    held = held_out(labels, groups, order, share)
    assert not set(groups[held]) & set(groups[~held])
    assert set(labels[~held]) == set(labels)
    assert np.array_equal(held, held_out(labels, groups, order, share))


@given(made=grouped(), share=st.floats(0.05, 0.6))
def test_a_class_that_has_two_groups_of_its_own_is_on_both_sides(made: tuple[Ints, Ints], share: float) -> None:
    labels, groups = made
    pure = np.array([len(set(labels[groups == g])) == 1 for g in groups])
    labels, groups = labels[pure], groups[pure]
    if not len(labels):
        return
    held = held_out(labels, groups, sorted(set(groups.tolist())), share)
    for label in set(labels.tolist()):
        of = groups[labels == label]
        sides = {bool(side) for side in held[labels == label]}
        assert sides == ({True, False} if len(set(of)) > 1 else {False})


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), share=st.floats(0.01, 0.99))
def test_groups_of_one_are_split_as_if_there_were_none(labels: list[int], share: float) -> None:
    y = np.array(labels, np.int64)
    names = [f"picture {i}" for i in range(len(y))]
    plain, whole = stratified(y, names, share), by_group(y, np.arange(len(y)), names, share)
    assert all(np.array_equal(plain[split], whole[split]) for split in plain)


def test_the_share_is_met_where_groups_are_small() -> None:
    labels = np.repeat(np.arange(3), (200, 400, 800))
    groups = np.arange(1400) // 5
    held = held_out(labels, groups, list(range(280)), 0.2)
    assert [int(held[labels == c].sum()) for c in range(3)] == [40, 80, 160]


# the task


@settings(max_examples=150)
@given(
    made=grouped(),
    part=st.floats(0, 1),
    share=st.one_of(st.none(), st.floats(0.05, 0.5)),
    monitor=st.integers(0, 30),
    seed=st.integers(0, 9),
)
def test_train_validation_monitor_and_test_share_no_group(
    made: tuple[Ints, Ints], part: float, share: float | None, monitor: int, seed: int
) -> None:
    labels, groups = made
    present = len(set(labels.tolist()))
    size = present + 1 + round(part * (len(labels) - present - 1))
    given = problem_of(labels, groups, min(size, len(labels)), seed, share)
    try:
        found = only(given, monitor)
    except Skip:
        # Only where nothing can be set aside: then there is none even when all is asked for.
        assert share is not None
        assert given.size <= present or not held_out(labels, groups, sorted(set(groups.tolist())), 0.5).any()
        return
    parts = [p for p in (found.train, found.validation, found.monitor) if p is not None]
    whose = [set(groups[p.index].tolist()) for p in parts]
    assert sum(map(len, whose)) == len(set().union(*whose))
    every = [i for p in parts for i in p.index.tolist()]
    assert len(every) == len(set(every))
    # The budget is kept to the example, and training has every class.
    assert len(found.train) + len(found.validation or ()) == given.size
    assert set(found.train.labels.tolist()) == set(labels.tolist())
    again = only(given, monitor)
    assert np.array_equal(again.train.index, found.train.index)


@settings(max_examples=60)
@given(made=grouped(), share=st.one_of(st.none(), st.floats(0.1, 0.5)), seed=st.integers(0, 9))
def test_sizes_are_nested(made: tuple[Ints, Ints], share: float | None, seed: int) -> None:
    labels, groups = made
    present = len(set(labels.tolist()))
    before: dict[str, set[int]] = {"train": set(), "validation": set()}
    for size in range(present + 1, int(0.5 * len(labels)), 3):
        try:
            found = only(problem_of(labels, groups, size, seed, share))
        except Skip:
            continue
        now = {"train": set(found.train.index.tolist())}
        now["validation"] = set() if found.validation is None else set(found.validation.index.tolist())
        assert all(before[name] <= now[name] for name in now)
        before = now


def test_parts_are_stratified_and_of_many_patients() -> None:
    labels = np.repeat(np.arange(2), (3000, 1000))
    groups = np.arange(4000) // 10
    for size in (100, 500, 2000):
        found = only(problem_of(labels, groups, size, 0, 0.2), 400)
        assert found.validation is not None
        assert found.monitor is not None
        assert (len(found.train), len(found.validation), len(found.monitor)) == (0.8 * size, 0.2 * size, 400)
        for part in (found.train, found.validation, found.monitor):
            assert Counter(part.labels.tolist())[0] == pytest.approx(0.75 * len(part), abs=25)
    small, large = (only(problem_of(labels, groups, size, 0, 0.2), 400) for size in (100, 500))
    # Eighty pictures of about seventy patients, not of eight; and the same are watched at both sizes.
    assert len(set(groups[small.train.index])) > 55
    assert small.monitor is not None
    assert large.monitor is not None
    assert np.array_equal(small.monitor.index, large.monitor.index)


def test_patients_of_the_test_split_are_not_learnt_from() -> None:
    given = problem_of(np.arange(40) % 2, np.arange(40) // 2, 10, 0, None)
    far = {"train": given.groups["train"], "test": np.array([0, 1])}  # type: ignore[index]
    found = only(replace(given, groups=far))
    assert not {0, 1} & {*far["train"][found.train.index].tolist(), *far["train"][found.monitor.index].tolist()}  # type: ignore[union-attr]
    with pytest.raises(Skip, match="size 38 is larger than the 36 training examples that share no group with test"):
        only(replace(given, groups=far, size=38))


# image folders


def patients(root: Path, each: int = 3, count: int = 10) -> Path:
    """Write pictures of so many patients of each class, named pNN_i.png."""
    for label in ("normal", "sick"):
        for patient in range(count):
            for i in range(each):
                name = f"p{label[0]}{patient:02d}_{i}.png"
                layouts.picture(root / label / name, seed=layouts.hash_of(f"{label}{patient}{i}"))
    return root


def opened(root: Path, **options: Any) -> Any:
    return datasets.create({"name": "image_folder", "path": str(root), **options})


def sides(dataset: Any) -> dict[str, set[str]]:
    """Return the patients of each split."""
    found = {}
    for split in ("train", "test"):
        part = dataset.examples(split)
        found[split] = {name.split("/")[1].split("_")[0] for name in part.ids}
        assert len(set(part.groups.tolist())) == len(found[split])
    return found


BY_NAME = {"group_pattern": "(p[a-z][0-9]+)_"}


def table(folder: Path, text: str, name: str = "patients.csv") -> dict[str, str]:
    (folder / name).write_text(text, encoding="utf-8")
    return {"group_file": str(folder / name), "group_column": "patient"}


def rows(root: Path, form: str = "{name},{patient}") -> str:
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))
    told = [form.format(name=n, file=Path(n).name, stem=Path(n).stem, patient=n.split("/")[1][:4]) for n in names]
    return "\n".join(told)


def test_a_pattern_keeps_a_patient_on_one_side(tmp_path: Path) -> None:
    root = patients(tmp_path / "scans")
    plain = opened(root)
    assert plain.examples("train").groups is None
    dataset = opened(root, **BY_NAME)
    found = sides(dataset)
    assert not found["train"] & found["test"]
    assert dataset.facts().counts == {"train": 48, "test": 12}
    assert dataset.facts().digest != plain.facts().digest


@pytest.mark.parametrize(
    ("head", "form", "name"),
    [
        ("image,patient", "{name},{patient}", "patients.csv"),
        ("lesion,patient,image", "x,{patient},{file}", "patients.csv"),
        ("\ufeffpatient\tage\timage", "{patient}\t40\t{stem}", "patients.tsv"),
    ],
)
def test_a_table_names_pictures_in_any_way(head: str, form: str, name: str, tmp_path: Path) -> None:
    root = patients(tmp_path / "scans")
    dataset = opened(root, **table(tmp_path, f"{head}\n{rows(root, form)}\n", name))
    assert sides(dataset) == sides(opened(root, **BY_NAME))


def test_the_digest_is_of_the_groups_and_not_of_where_they_come_from(tmp_path: Path) -> None:
    root = patients(tmp_path / "scans")
    one = opened(root, **table(tmp_path, f"image,patient\n{rows(root)}"))
    (tmp_path / "elsewhere").mkdir()
    other = opened(root, **table(tmp_path / "elsewhere", f"image,patient\n{rows(root)}"))
    assert one.facts() == other.facts() == opened(root, **BY_NAME).facts()
    fewer = opened(root, **table(tmp_path, f"image,patient\n{rows(root).replace(',pn01', ',pn00')}"))
    assert fewer.facts().digest != other.facts().digest


def test_training_pictures_of_test_patients_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "scans"
    patients(root / "train")
    patients(root / "test", count=2)
    dataset = opened(root, group_pattern="(p[a-z][0-9]+)_")
    assert dataset.facts().counts == {"train": 48, "test": 12}
    assert "left out: 12 pictures of the training pool, of groups that are in test as well: pn00, pn01, ps00" in (
        caplog.text
    )
    found = {split: dataset.examples(split).groups.tolist() for split in ("train", "test")}
    assert not set(found["train"]) & set(found["test"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group_pattern": "(p[a-z]0[0-4])_"}, "group_pattern fits none of normal/pn05_0.png, normal/pn05_1.png"),
        ({"group_file": "gone.csv", "group_column": "patient"}, "gone.csv: No such file or directory"),
    ],
)
def test_pictures_without_a_group_are_named(options: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        opened(patients(tmp_path / "scans"), **options).facts()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,pateint\nx,y", "has no column 'patient'; did you mean 'pateint'?"),
        ("", "has no column 'patient'; it has none"),
        ("image,patients", "did you mean 'patients'?"),
        ("image,patient\nnormal/pn00_0.png,1\npn00_0,2", "says two things of the patient of pn00_0: 1 and 2"),
        ("image,patient\nnormal/pn00_0.png,1", "does not say the patient of normal/pn00_1.png, normal/pn00_2.png, "),
        ("image,patient\n\x00", "does not say the patient of"),
    ],
)
def test_a_table_that_does_not_do_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        opened(patients(tmp_path / "scans"), **table(tmp_path, text)).facts()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_of_one_patient_is_refused(tmp_path: Path) -> None:
    root = patients(tmp_path / "scans", count=3)
    layouts.folder(root, ("rare",), each=5)
    with pytest.raises(DataError, match=r"every class needs a group to learn from and another one for test: .* rare"):
        opened(root, group_pattern="(p[a-z][0-9]+|rare)").facts()


@pytest.mark.parametrize(
    ("options", "said", "path"),
    [
        ({"group_pattern": "p("}, "group_pattern is no regular expression", "group_pattern"),
        ({"group_pattern": "p"}, "has 0 groups in brackets; it needs one", "group_pattern"),
        ({"group_pattern": "(p)(q)"}, "has 2 groups in brackets", "group_pattern"),
        ({"group_file": "a.csv"}, "group_file goes with group_column", "group_file"),
        ({"group_column": "a"}, "group_column goes with group_file", "group_column"),
        ({**BY_NAME, "group_file": "a.csv", "group_column": "a"}, "not both", "group_file"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, str], said: str, path: str) -> None:
    with pytest.raises(OptionError) as error:
        opened(Path("x"), **options)
    assert said in str(error.value)
    assert error.value.path == (path,)

"""Surveys of data sets: what is counted, which twins are found, and that the report says it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest
import records
import runs
from PIL import Image, ImageEnhance

import suites
from bench import survey as surveys
from bench.datasets import Examples, datasets
from bench.report import Study, data, page
from bench.report.page import Block, Figure, Heading, Page, Paragraph
from bench.report.study import sections
from bench.shelf import Shelf
from bench.store import Store
from bench.survey import SHOWN_SIGNS, Survey, dumps, loads
from bench.survey import look as looking
from bench.survey.look import survey
from bench.survey.texts import excerpts
from bench.survey.twins import Prints, near, perceptual

Picture = np.ndarray[Any, Any]


def scene(seed: int, edge: int = 64, colour: bool = True) -> Picture:
    """Return a smooth picture with shapes, as photographs have; no two seeds look alike."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 6, 3) if colour else (6, 6), dtype=np.uint8))
    return np.asarray(small.resize((edge, edge), Image.Resampling.BICUBIC))


def split(pictures: list[Picture], labels: list[int], name: str, groups: list[int] | None = None) -> Examples:
    whose = None if groups is None else np.array(groups, np.int64)
    ids = [f"{name}/{i}" for i in range(len(pictures))]
    return Examples(ids, np.array(labels, np.int64), lambda i: pictures[i], whose)


def looked(train: list[Picture], test: list[Picture], labels: tuple[list[int], list[int]] | None = None) -> Survey:
    """Return the survey of two classes, which come in turn unless they are given."""
    of_train, of_test = labels or tuple([i % 2 for i in range(len(part))] for part in (train, test))
    given = {"train": split(train, of_train, "train"), "test": split(test, of_test, "test")}
    return survey("mine", "image", ["class 0", "class 1"], given)[0]


def test_classes_sizes_and_pixels_are_counted() -> None:
    white, black = np.full((4, 6, 3), 255, np.uint8), np.zeros((4, 6, 3), np.uint8)
    half = np.concatenate([white[:, :3], black[:, :3]], axis=1)
    found = looked([white, black, half, scene(1, 8)], [scene(2, 8), scene(3, 8)], ([0, 0, 1, 1], [1, 1]))
    assert found.counts == {"train": (2, 2), "test": (0, 2)}
    pictures = found.pictures
    assert pictures is not None
    assert pictures.looked == {"train": 4, "test": 2}
    assert [(s.height, s.width, s.channels, s.count) for s in pictures.sizes] == [(4, 6, 3, 3), (8, 8, 3, 3)]
    assert (pictures.distinct, pictures.height, pictures.width) == (2, (4, 6, 8), (6, 7, 8))
    assert (pictures.grey, pictures.blank) == (3, 2)
    assert pictures.brightness[0] == 0.5
    # Each picture counts once, however large it is.
    every = [p.reshape(-1, 3) / 255 for p in (white, black, half, scene(1, 8))]
    mean = np.mean([p.mean(axis=0) for p in every], axis=0)
    square = np.mean([(p**2).mean(axis=0) for p in every], axis=0)
    assert pictures.mean == pytest.approx(mean, abs=1e-4)
    assert pictures.std == pytest.approx(np.sqrt(square - mean**2), abs=1e-4)


def test_grey_pictures_have_one_channel() -> None:
    found = looked([scene(i, 16, colour=False) for i in range(4)], [scene(9, 16, colour=False)])
    assert found.pictures is not None
    assert len(found.pictures.mean) == 1
    assert found.pictures.grey == 0


def test_pictures_that_are_there_twice_are_counted_value_for_value() -> None:
    train = [scene(i) for i in range(6)]
    train[4] = train[0]
    found = looked(train, [train[1], scene(50), train[2]], ([0, 0, 0, 1, 1, 1], [0, 0, 1])).twins
    assert found is not None
    assert (found.exact, found.near, found.other_label) == (2, 0, 1)
    assert [(p.test, p.train, p.exact) for p in found.pairs] == [
        ("test/0", "train/1", True),
        ("test/2", "train/2", True),
    ]
    assert (found.repeated, found.conflicting) == ({"train": 1, "test": 0}, 1)


def as_jpeg(picture: Picture) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "saved as a JPEG": as_jpeg,
    "made smaller": lambda p: np.asarray(Image.fromarray(p).resize((40, 40))),
    "made grey": lambda p: np.asarray(Image.fromarray(p).convert("L")),
    "made brighter": lambda p: np.asarray(ImageEnhance.Brightness(Image.fromarray(p)).enhance(1.08)),
    "with some noise": lambda p: (p + np.random.default_rng(0).normal(0, 4, p.shape)).clip(0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_picture_that_was_changed_a_little_is_nearly_the_same(change: Callable[[Picture], Picture]) -> None:
    train = [scene(i) for i in range(60)]
    found = looked(train, [change(train[i]) for i in range(20)] + [scene(i) for i in range(100, 140)]).twins
    assert found is not None
    assert found.exact == 0
    assert found.near >= 19
    assert all(p.test.split("/")[1] == p.train.split("/")[1] for p in found.pairs)


def test_other_pictures_are_not_taken_for_the_same() -> None:
    found = looked([scene(i) for i in range(300)], [scene(i) for i in range(1000, 1300)]).twins
    assert found is not None
    assert (found.exact, found.near) == (0, 0)


def test_flat_pictures_have_nothing_to_compare() -> None:
    grey = [np.full((16, 16), 90 + i, np.uint8) for i in range(8)]
    found = looked(grey[:4], grey[4:]).twins
    assert found is not None
    assert found.near == 0


def test_every_near_pair_is_found_by_the_search_that_a_double_loop_finds() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (40, 32, 32))
    thumbs = {
        name: (base[rng.integers(0, 40, count)] + rng.normal(0, 3, (count, 32, 32))).clip(0, 255).astype(np.uint8)
        for name, count in (("train", 90), ("test", 50))
    }
    prints = {name: Prints([bytes([i]) for i in range(len(t))], t) for name, t in thumbs.items()}
    codes = {name: perceptual(t) for name, t in thumbs.items()}
    slow = {}
    for i, one in enumerate(thumbs["test"]):
        alike = [
            (np.corrcoef(one.ravel(), other.ravel())[0, 1], -j)
            for j, other in enumerate(thumbs["train"])
            if int(codes["test"][i] ^ codes["train"][j]).bit_count() <= 4
        ]
        if alike and max(alike)[0] >= 0.995:
            slow[i] = -max(alike)[1]
    assert len(slow) > 10
    assert near(prints["train"], prints["test"], {}) == slow


def test_of_many_pictures_some_are_drawn_and_it_is_said_of_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MOST", {"train": 30, "test": 10})
    train, test = [scene(i, 8) for i in range(50)], [scene(i, 8) for i in range(100, 120)]
    found = looked(train, test)
    assert found == looked(train, test)
    assert found.total("train") == 50
    assert found.pictures is not None
    assert found.pictures.looked == {"train": 30, "test": 10}
    said = told(found)
    assert "of those drawn to be looked at (30 of 50 train and 10 of 20 test)" in said


def test_pictures_of_many_sizes_are_each_looked_at_in_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "TOGETHER", 5)
    train = [scene(i, 8 + i % 3, colour=i % 2 == 0) for i in range(14)]
    found = looked(train, [train[13], train[4]])
    assert found.twins is not None
    assert [(p.test, p.train) for p in found.twins.pairs] == [("test/0", "train/13"), ("test/1", "train/4")]
    assert found.pictures is not None
    assert sum(size.count for size in found.pictures.sizes) == 16


def test_the_sheet_has_a_row_for_each_class_and_is_the_same_each_time() -> None:
    train = [scene(i, 20 + i) for i in range(30)]
    given = {"train": split(train, [i % 3 for i in range(30)], "train"), "test": split(train[:1], [0], "test")}
    sheets = {survey("mine", "image", "abc", given)[1] for _ in range(2)}
    (sheet,) = sheets
    assert sheet is not None
    with Image.open(io.BytesIO(sheet)) as image:
        assert image.size == (8 * 60 - 4, 3 * 60 - 4)


def test_texts_are_counted_and_their_twins_are_found() -> None:
    texts = ["so good", "so bad", "very very good indeed", "so good", ":-)"]
    tested = ["so bad", "Very, very good \n indeed!", ":-(", "good so"]
    given = {
        "train": Examples(list("abcde"), np.array([1, 0, 1, 0, 1]), lambda i: texts[i]),  # type: ignore[arg-type,return-value]
        "test": Examples(list("fghi"), np.array([1, 1, 0, 1]), lambda i: tested[i]),  # type: ignore[arg-type,return-value]
    }
    found, sheet = survey("texts", "text", ["bad", "good"], given)
    assert sheet is None
    assert found.pictures is None
    assert found.texts is not None
    assert found.texts.words == {"train": (1, 2, 2, 2, 4), "test": (1, 1, 2, 2, 4)}
    assert found.texts.samples == (("so bad", "so good"), ("so good", "very very good indeed", ":-)"))
    assert found.twins is not None
    assert (found.twins.exact, found.twins.near, found.twins.other_label, found.twins.conflicting) == (1, 1, 1, 1)
    assert [(pair.test, pair.train, pair.exact) for pair in found.twins.pairs] == [("f", "b", True), ("g", "c", False)]
    said = told(found)
    assert "Words of a train text: 1 to 4, half of them 2 to 2, median 2." in said
    assert "are in the training pool as well, and 1 of them but for case and signs; 1 of them under" in said
    assert loads(dumps(found)) == found
    held = json.loads(excerpts({0: "a\u202eb\n c", 7: "w " * 900}))
    assert held["0"] == "a\u202eb c"
    assert len(held["7"]) == SHOWN_SIGNS


def test_a_survey_is_read_back_as_it_was_written() -> None:
    found = looked([scene(i) for i in range(4)], [scene(0)])
    assert loads(dumps(found)) == found


def test_groups_in_both_splits_are_counted() -> None:
    pictures = [scene(i) for i in range(6)]
    given = {
        "train": split(pictures[:4], [0, 1, 0, 1], "train", [0, 0, 1, 2]),
        "test": split(pictures[4:], [0, 1], "test", [2, 3]),
    }
    found, _ = survey("mine", "image", "ab", given)
    assert found.groups == {"train": 3, "test": 2, "both": 1}
    assert "3 groups to train on, 2 to test on; 1 are in both." in told(found)


# what reports say


class Held(Shelf):
    """A shelf with one survey, of whatever data set."""

    def __init__(self, found: Survey, png: bytes | None = None) -> None:
        self.found, self.png = found, png

    def survey(self, dataset: Any) -> Survey | None:
        return self.found

    def sheet(self, dataset: Any) -> bytes | None:
        return self.png

    def predictions(self, cell_id: str) -> None:
        return None


def study_of(found: Survey, png: bytes | None = None) -> Study:
    made = records.record(records.cell("scratch"), 0.7)
    made = replace(made, details={**made.details, "drawn": {"train": [3] * len(found.classes)}})
    return records.study([made], shelf=Held(found, png))


def looked_at(found: Survey, png: bytes | None = None) -> tuple[data.Surveyed, ...]:
    study = study_of(found, png)
    return data.surveyed(study, sections(study))


def words(blocks: Iterable[Block]) -> str:
    said = []
    for block in blocks:
        for spans in getattr(block, "items", None) or ((block.words,) if isinstance(block, Paragraph) else ()):
            said.append("".join(span.text for span in spans))
    return "\n".join(said)


def warned(found: Survey) -> str:
    """Return what a survey adds to the answer."""
    return words(data.warnings(looked_at(found)))


def told(found: Survey) -> str:
    """Return what the section on the data says in words."""
    (one,) = looked_at(found)
    return words(data.about(one))


def balanced(test: list[Picture]) -> Survey:
    return looked([scene(i) for i in range(20)], test)


def test_a_leak_stands_in_the_answer_and_at_the_top_of_the_section() -> None:
    leaky, sound = balanced([scene(3), scene(100)]), balanced([scene(101), scene(100)])
    said = "Leak: 1 of 2 test examples (50 %) are in the training pool as well"
    assert warned(leaky).startswith(said)
    assert told(leaky).startswith(said)
    assert "leak" not in (warned(sound) + told(sound)).lower()
    near = told(balanced([as_jpeg(scene(3)), scene(3)]))
    assert near.startswith("Leak: 2 of 2 test examples (100 %) are in the training pool as well, and 1 of them nearly")
    assert told(balanced([as_jpeg(scene(3))])).startswith("Possible leak: 1 of 1 test examples (100 %) are nearly the")
    assert "No test example is in the training pool as well" in told(sound)


def test_a_leak_too_small_to_move_the_answer_is_told_in_the_section_alone() -> None:
    found = balanced([scene(3), scene(100)])
    assert found.twins is not None
    small = replace(found, twins=replace(found.twins, compared={"train": 20, "test": 1000}))
    assert warned(small) == ""
    assert told(small).startswith("Leak: 1 of 1,000 test examples (0.10 %)")


def test_imbalance_is_told_with_what_to_do_from_three_to_one_on() -> None:
    found = balanced([scene(100)])
    for counts, is_told in (((90, 30), False), ((91, 30), True), ((91, 0), False)):
        said = warned(replace(found, counts={"train": counts, "test": (5, 5)}))
        assert ("Imbalance: the largest class, class 0 (91), has 3.0 times as many" in said) == is_told
        assert ("recipe.class_weights" in said) == is_told


def test_a_page_has_the_section_before_the_recipe_with_figures_in_words_too() -> None:
    train = split([scene(i) for i in range(20)], [i % 2 for i in range(20)], "train")
    found, png = survey("mine", "image", ["first", "second"], {"train": train, "test": train})
    made = page(study_of(found, png))
    headings = [block.text for block in made.blocks if isinstance(block, Heading)]
    assert headings.index("The data") == headings.index("Recipe") - 1
    assert words(made.answer).splitlines()[-1].startswith("Leak: 20 of 20")
    figures = {figure.name: figure for figure in made.figures()}
    assert "first 10 and 10 and second 10 and 10" in figures["classes"].alt
    assert "first and second" in figures["samples"].alt


def test_a_sheet_that_is_damaged_is_left_out_and_the_others_are_the_same_bytes() -> None:
    toy = datasets.create({"name": "toy"})
    found, png = survey("toy", "image", toy.facts().classes or (), {s: toy.examples(s) for s in ("train", "test")})
    assert png is not None
    both = {"classes", "samples"}
    drawn: dict[str, bytes] = {}
    for content, names in ((png, both), (png, both), (png[:60], {"classes"}), (None, {"classes"})):
        figures = [block for block in data.section(looked_at(found, content), 2) if isinstance(block, Figure)]
        assert {figure.name for figure in figures} == names
        assert all(drawn.setdefault(figure.name, figure.svg) == figure.svg for figure in figures)


def test_the_table_has_the_classes_drawn_at_each_size() -> None:
    found = replace(balanced([scene(100)]), counts={"train": (30, 10), "test": (2, 0)})
    blocks = data.section(looked_at(found), 2)
    (table,) = [t for t in Page("", (), (), tuple(blocks)).tables() if t.name == "classes"]
    assert table.head == ("class", "train", "test", "n = 100")
    texts = [[span.text for span in row] for row in table.rows]
    assert texts == [["class 0", "30", "2", "3"], ["class 1", "10", "0", "3"], ["most / fewest", "3.0", "–", "1.0"]]


@pytest.mark.parametrize("odd", [None, 3, [], {"train": 3}, {"train": ["x"]}, {"train": [1, 2, 3]}])
def test_what_a_strange_record_says_was_drawn_is_left_out(odd: object) -> None:
    study = study_of(balanced([scene(100)]))
    strange = tuple(replace(r, details={**r.details, "drawn": odd}) for r in study.records)
    (one,) = data.surveyed(replace(study, records=strange), sections(replace(study, records=strange)))
    assert one.drawn == {}


def test_a_study_without_a_survey_has_no_section(tmp_path: Path) -> None:
    for shelf in (None, Shelf(Store(tmp_path, "s"))):
        study = records.study([records.record(records.cell("scratch"), 0.7)], shelf=shelf)
        assert data.surveyed(study, sections(study)) == ()
    assert data.section((), 2) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"dataset": "x"}', b"\xff"])
def test_a_damaged_survey_is_none(content: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    spec = {"name": "mine", "version": 1, "digest": "d"}
    path = store.survey(spec)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    path.with_suffix(".png").write_bytes(content)
    assert Shelf(store).survey(spec) is None
    assert Shelf(store).sheet(spec) is None
    path.write_bytes(dumps(balanced([scene(1)])))
    assert Shelf(store).survey(spec) == balanced([scene(1)])


def test_a_survey_hangs_on_the_content_alone() -> None:
    spec = {"name": "toy", "version": 1, "digest": "d", "resolution": 16}
    assert surveys.key(spec) == surveys.key({**spec, "resolution": 64})
    assert len({surveys.key({**spec, **other}) for other in ({}, {"digest": "e"}, {"version": 2}, {"name": "x"})}) == 4


@pytest.mark.slow
def test_a_run_surveys_its_data_and_reports_them(tmp_path: Path) -> None:
    root = tmp_path / "scans"
    for label, count in (("normal", 14), ("sick", 50)):
        for i in range(count):
            layouts.picture(root / label / f"p{i % 10}_{i}.png", seed=layouts.hash_of(f"{label}{i}"))
    folder = {"name": "image_folder", "path": str(root), "group_pattern": "/(p[0-9])_", "resolution": 16}
    suites.write(tmp_path, {"matrix": {"dataset": [folder], "size": [12]}, "task": {"test_size": None}})
    extra = {"BENCH_CACHE": str(tmp_path / "cache")}
    ran = runs.bench(tmp_path, "run", "toy.yaml", "--device", "cpu", extra=extra)
    assert ran.returncode == 0, ran.stderr
    (kept,) = (tmp_path / "results" / "artifacts" / "surveys").glob("*.json")
    found = loads(kept.read_bytes())
    assert found.groups is not None
    assert found.groups["both"] == 0
    assert found.groups["train"] + found.groups["test"] == 10
    (record,) = runs.records(tmp_path, "toy").values()
    assert sum(record["details"]["drawn"]["train"]) == 12
    page_text = (tmp_path / "reports" / "toy" / "index.md").read_text(encoding="utf-8")
    assert "## The data" in page_text
    assert "none is in both" in page_text
    assert "Imbalance" in page_text
    # A store of an earlier version has none: it is made by the next run, though no cell is run.
    content, sheet = kept.read_bytes(), kept.with_suffix(".png").read_bytes()
    kept.unlink()
    again = runs.bench(tmp_path, "run", "toy.yaml", "--device", "cpu", extra=extra)
    assert again.returncode == 0, again.stderr
    assert (kept.read_bytes(), kept.with_suffix(".png").read_bytes()) == (content, sheet)
    assert (tmp_path / "reports" / "toy" / "index.md").read_text(encoding="utf-8") == page_text

"""The closer look of a report: what it says of stored predictions, and what it says when there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import layouts
import numpy as np
import pytest
import runs
from browser import PHONE, browser, opened
from records import cell, record, study
from safetensors.numpy import save_file

import suites
from bench.quality.curves import operating
from bench.quality.probabilities import softmax
from bench.report import Study, page, write
from bench.report.board import boards
from bench.report.closer import closer
from bench.report.page import Figure, Heading, Page, Paragraph, Table
from bench.report.study import sections
from bench.shelf import Shelf
from bench.store import Store
from bench.tensors import id_of

CLASSES = ("bird", "cat", "dog")
IDENTITY = {"dataset": ["fashion_mnist", 1, "sha256:data"], "resolution": 8, "interpolation": "bilinear"}


def answers(seed: int, classes: int, n: int = 80, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Return labels [n], the same for all seeds, and logits [n, classes]: what is hard is hard for most seeds."""
    labels = np.arange(n) % classes
    common, own = (np.random.default_rng(s).normal(size=(n, classes)) for s in (1000, seed))
    return labels, (common + own / 2 + skill * np.eye(classes)[labels]).astype(np.float32)


def shelved(
    folder: Path, classes: tuple[str, ...] = CLASSES, held_out: int | None = 30, pixels: bool = False, **arrays
) -> Study:
    """Return a study of three seeds of two strategies, with predictions; `arrays` replace those of every cell."""
    store = Store(folder, "homework1")
    identity = {**IDENTITY, "split": "train"}
    used = ({"kind": "pixels", "id": id_of("pixels", identity), "seconds": 0.1},)
    records = []
    for number, (strategy, seed) in enumerate((s, k) for s in ("scratch", "full_finetune") for k in range(3)):
        labels, logits = answers(number, len(classes), skill=0.6 + 0.6 * (strategy == "full_finetune"))
        kept = {"logits": logits, "labels": labels, "index": np.arange(len(labels)) + 100, "classes": [list(classes)]}
        if held_out:
            labels, logits = answers(number + 50, len(classes), held_out)
            kept |= {"validation_logits": logits, "validation_labels": labels, "validation_index": np.arange(held_out)}
        kept |= arrays
        of = cell(strategy, 100, seed)
        path = store.predictions(of.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **kept)
        score = float((kept["logits"].argmax(axis=1) == kept["labels"]).mean())
        records.append(replace(record(of, score), artifacts=used))
    if pixels:
        for split, keys in (("train", np.arange(4)), ("test", np.arange(100, 180))):
            path = store.artifacts / "pixels" / id_of("pixels", {**identity, "split": split}) / "0.safetensors"
            path.parent.mkdir(parents=True)
            rows = (keys[:, None, None, None] + np.zeros((1, 3, 8, 8))).astype(np.uint8)
            notes = {"identity": str({**identity, "split": split}).replace("'", '"')}
            save_file({"keys": keys, "rows": rows}, path, notes)
    return study(records, shelf=Shelf(store))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Page:
    return page(shelved(tmp_path_factory.mktemp("store"), pixels=True))  # in its place, among the rest


def looked(of: Study, most: int = 4) -> Page:
    """Return the closer look alone."""
    found = sections(of)
    return Page("", (), (), tuple(closer(of, found, [boards(s, of.primary) for s in found], most)))


def table(of: Page, name: str) -> Table:
    return next(t for t in of.tables() if t.name == name)


def rows(of: Table) -> dict[str, list[str]]:
    return {row[0].text: [span.text for span in row[1:]] for row in of.rows}


def texts(of: Page) -> str:
    return "\n".join("".join(s.text for s in b.words) for b in of.blocks if isinstance(b, Paragraph))


def figures(of: Page) -> dict[str, Figure]:
    return {f.name: f for f in of.figures()}


def test_the_closer_look_is_at_the_median_seed_of_the_best_strategy(made):
    assert "full_finetune on tf_efficientnet_lite0 at n = 100, seed" in texts(made)
    assert "the median of 3 seeds" in texts(made)
    titles = [b.text for b in made.blocks if isinstance(b, Heading)]
    assert titles.index("Evaluation") < titles.index("Errors") < titles.index("Failures and skips")


def test_the_evaluation_has_every_metric_with_an_interval_around_it(made):
    found = rows(table(made, "evaluation"))
    assert len(found) == 10
    for title, (value, held) in found.items():
        if title in ("NLL (nats)", "ECE"):
            assert held == "–"
            continue
        low, high = map(float, held.split(" to "))
        assert low < float(value) < high, title
    assert list(rows(table(made, "classes"))) == list(CLASSES)
    assert table(made, "classes").head[-1] == "n"
    assert {"confusion", "calibration", "roc", "precision-recall"} <= figures(made).keys()
    assert "Temperature scaling: T = " in texts(made)


def test_many_models_tell_which_examples_are_hard(made):
    caption = figures(made)["hard-examples"].caption
    assert "the 6 models of all strategies, backbones and seeds at n = 100" in caption
    assert "wrong 6 of 6" in figures(made)["hard-examples"].alt
    assert figures(made)["surest-mistakes"].svg.count(b"<image ") == 12


def test_errors_are_counted_once_in_each_table(made):
    wrong = [
        sum(int(row[2].text) for row in table(made, "confused").rows),
        *(sum(int(row[2].text) for row in table(made, f"errors_by_{by}").rows) for by in ("class", "confidence")),
    ]
    assert len(set(wrong)) == 1
    assert f"{wrong[0]} of 80 test examples are wrong" in texts(made)


def test_the_same_predictions_give_the_same_bytes(tmp_path):
    of = shelved(tmp_path / "store", pixels=True)
    first, second = (write(of, tmp_path / name).parent for name in ("a", "b"))
    for path in sorted(p for p in first.rglob("*") if p.is_file()):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name


def test_pictures_that_are_not_kept_leave_a_table_that_names_the_examples(tmp_path):
    found = looked(shelved(tmp_path))
    assert not {"surest-mistakes", "hard-examples"} & figures(found).keys()
    assert table(found, "surest-mistakes").rows[0][0].text.startswith("test/1")
    assert "pictures or texts are not kept" in table(found, "surest-mistakes").caption


def test_a_class_that_is_missing_from_test_is_a_dash_with_its_reason(tmp_path):
    labels, logits = answers(0, 3)
    found = looked(shelved(tmp_path, labels=labels % 2, logits=logits))
    for name in ("balanced accuracy (mean sensitivity)", "macro-F1", "AUROC, one against the rest, mean"):
        assert rows(table(found, "evaluation"))[name] == ["– [1]", "–"]
    assert table(found, "evaluation").notes == ("there is no test example of the class 'dog'",)
    assert rows(table(found, "classes"))["dog"][:2] == ["– [1]", "– [1]"]
    assert rows(table(found, "classes"))["dog"][-1] == "0"


def test_a_perfect_classifier_is_no_cause_for_an_error(tmp_path):
    labels, _ = answers(0, 3)
    found = looked(shelved(tmp_path, logits=(20 * np.eye(3)[labels]).astype(np.float32)))
    assert rows(table(found, "evaluation"))["accuracy"] == ["1.000", "1.000 to 1.000 [1]"]
    assert "no certainty" in table(found, "evaluation").notes[0]
    assert "0 of 80 test examples are wrong" in texts(found)
    assert "surest-mistakes" not in figures(found)


def thresholds(of: Study) -> dict[str, list[str]]:
    return rows(table(looked(of), "thresholds"))


def test_a_threshold_is_chosen_on_validation_and_on_nothing_else(tmp_path):
    two = ("healthy", "ill")

    def of(name: str, held_out: int, test: int) -> list[list[str]]:
        """Return the rows where all cells have these validation and test predictions, drawn from two seeds."""
        (labels, logits), (asked, said) = answers(held_out, 2, 30), answers(test, 2)
        held = {"validation_labels": labels, "validation_logits": logits}
        return list(thresholds(shelved(tmp_path / name, two, logits=said, labels=asked, **held)).values())

    first, other_test, other_validation = of("a", 5, 0), of("b", 5, 1), of("c", 6, 0)
    assert [row[0] for row in first] == [row[0] for row in other_test]
    assert [row[1] for row in first] != [row[1] for row in other_test]
    assert [row[0] for row in first] != [row[0] for row in other_validation]


def test_what_is_told_at_a_threshold_is_what_it_does_on_test(tmp_path):
    labels, logits = answers(3, 2)
    found = thresholds(shelved(tmp_path, ("healthy", "ill"), logits=logits, labels=labels))
    assert list(found) == ["0.5", "Youden", "specificity 0.95"]
    at = operating(labels == 1, softmax(logits)[:, 1], 0.5)
    assert found["0.5"][1] == f"{at.sensitivity:.3f} ({at.hits} of 40)"


def test_without_validation_the_threshold_is_a_half_and_it_says_so(tmp_path):
    found = looked(shelved(tmp_path, ("healthy", "ill"), held_out=None))
    assert list(rows(table(found, "thresholds"))) == ["0.5"]
    assert "no validation set was held out" in table(found, "thresholds").caption
    assert "Temperature" not in texts(found)


def test_where_all_of_validation_is_right_no_temperature_is_the_best(tmp_path):
    labels = np.arange(30) % 3
    logits = (9 * np.eye(3)[labels]).astype(np.float32)
    found = looked(shelved(tmp_path, validation_logits=logits, validation_labels=labels))
    assert "none is the best, all 30 validation examples are right" in texts(found)


def test_groups_are_told_of_where_they_are_known(tmp_path):
    groups = np.arange(80) // 8
    found = table(looked(shelved(tmp_path, groups=groups)), "errors_by_group")
    assert len(found.rows) == 10
    parts = [float(row[3].text.split("%")[0]) for row in found.rows]
    assert parts == sorted(parts, reverse=True)


def test_predictions_that_are_not_there_are_said_to_be_missing(tmp_path):
    of = shelved(tmp_path)
    for path in (tmp_path / "homework1" / "predictions").iterdir():
        path.unlink()
    assert "are not kept with these results" in texts(looked(of))
    assert looked(replace(of, shelf=None)).blocks == ()


def test_a_report_of_very_many_data_sets_looks_at_none(tmp_path):
    of = shelved(tmp_path)
    assert looked(of, 1).blocks
    assert looked(of, 0).blocks == ()


@pytest.mark.slow
def test_a_run_is_looked_at_closer_with_its_pictures_and_by_patient(tmp_path):
    for number in range(80):
        label = ("healthy", "ill")[number % 2]
        layouts.picture(tmp_path / "scans" / label / f"p{number % 16}_{number}.png", seed=number, size=(16, 16))
    scans = {"name": "image_folder", "path": str(tmp_path / "scans"), "group_pattern": r"(p\d+)_", "resolution": 16}
    changes = {
        "task": {"test_size": None},
        "matrix": {"dataset": [scans], "strategy": ["feature_extract", "scratch"], "size": [16]},
        "recipe": {"epochs": 3, "selection": "best_val", "validation": 0.5},
    }
    done = runs.bench(tmp_path, "run", suites.write(tmp_path, changes))
    assert done.returncode == 0, done.stderr
    shelf = Shelf(Store(tmp_path / "results", "toy"))
    held = [shelf.predictions(cell_id) for cell_id in runs.records(tmp_path, "toy")]
    assert [len(p.validation.labels) for p in held if p is not None and p.validation is not None] == [8, 8]
    assert all(p is not None and p.groups is not None and len(p.groups) == len(p.labels) for p in held)
    text = (tmp_path / "reports" / "toy" / "index.md").read_text(encoding="utf-8")
    assert "Thresholds were chosen on the 8 validation examples" in text
    assert "Errors by group of examples" in text
    assert "texts are not kept" not in text
    with browser() as chromium, opened(chromium, tmp_path / "reports" / "toy" / "index.html", PHONE) as seen:
        assert not seen.complaints
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        pictures = seen.page.locator("main img")
        assert all(pictures.nth(i).evaluate("p => p.complete && p.naturalWidth > 0") for i in range(pictures.count()))

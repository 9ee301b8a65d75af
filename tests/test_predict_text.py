"""A trained model of texts is asked about texts, and the report shows texts: mistakes, lengths, what it goes by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import runs
from asking import finished, inside, probabilities, told

import bench
import suites
from bench.datasets.toy_text import CLASSES, ToyText
from bench.shelf import Shelf
from bench.store import Store

SUITE: dict[str, Any] = {
    "suite": "praise",
    "matrix": {
        "dataset": [{"name": "toy_text", "max_length": 24}],
        "backbone": ["toy_encoder"],
        "strategy": ["full_finetune"],
        "size": [24],
    },
    "task": {"test_size": None},
    "recipe": {"epochs": 4, "lr": 3e-3},
    "report": {"explain": "best", "examples": 2},
}
TEXTS = ToyText().examples("test")
READ_TRAIN = ToyText().examples("train").read


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("praise")
    return finished(folder, suites.write(folder, SUITE))


@pytest.fixture
def here(done: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return inside(done, monkeypatch)


def cell(folder: Path) -> str:
    """Return the id of the one cell."""
    (found,) = runs.records(folder, "praise")
    return found


def stored(folder: Path) -> dict[int, np.ndarray]:
    """Return the probabilities on test that the run kept, by the number of the text."""
    return probabilities(folder, "praise", cell(folder))


def test_a_text_of_the_test_split_has_the_probabilities_that_the_run_gave_it(here: Path) -> None:
    expected = stored(here)
    frame = bench.predict(cell(here), texts=[TEXTS.read(i) for i in expected], device="cpu")
    assert frame["input"].tolist() == [TEXTS.read(i) for i in expected]
    for row, powers in zip(frame.to_dict("records"), expected.values(), strict=True):
        found = {row["label"]: row["probability"], row["label_2"]: row["probability_2"]}
        assert [found[name] for name in CLASSES] == pytest.approx(list(powers), abs=1e-4)
        assert row["label"] == CLASSES[powers.argmax()]


def test_texts_are_typed_or_in_files_and_one_that_is_no_text_is_a_line(here: Path, tmp_path: Path, capsys) -> None:
    lines, table = tmp_path / "few.txt", tmp_path / "few.csv"
    lines.write_bytes(b"a bright film\n\n<b>dull</b> \x1b[31mfilm\r\n" + b"\xff\xfe\n")
    table.write_text('id,text\n1,"a good,\nlong story"\n2,bad\n', encoding="utf-8")
    given = ["--text", "so moving", "--text", "so bad", lines, "--csv", table, "--out", tmp_path / "said.csv", "--json"]
    code, out, err = told(capsys, cell(here)[:6], *given)
    assert code == 3
    assert err.splitlines() == ["\\xff\\xfe: is not UTF-8 text"]
    said = pd.read_csv(tmp_path / "said.csv")
    first = ["so moving", "so bad", "a bright film", "<b>dull</b> \\x1b[31mfilm", "\\xff\\xfe"]
    assert said["input"].tolist() == [*first, "a good,\\x0along story", "bad"]
    assert said["label"].isin(CLASSES).tolist() == [name != "\\xff\\xfe" for name in said["input"]]
    answers = json.loads(out)
    assert [answer["input"] for answer in answers] == said["input"].tolist()
    assert answers[4] == {"input": "\\xff\\xfe", "label": None, "probability": None, "top": [],
                          "problem": "is not UTF-8 text"}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give --text, files that end in .txt, or a table of texts with --csv"),
        (["--text", " "], "--text is empty"),
        (["a.png"], "a.png: this cell has learnt from texts, and this is no file of texts; give --text"),
        (["none.txt"], "none.txt: there is no such file"),
        (["results"], "results: this cell has learnt from texts"),
        (["empty.txt"], "empty.txt: there is no text in this file"),
        (["--csv", "bad.csv"], "there is no column 'text'; it has a, b"),
        (["--csv", "bad.csv", "--column", "b"], "bad.csv:3: the column 'b' is empty"),
    ],
)
def test_a_mistake_is_one_line_before_any_worker_starts(here: Path, words: list[str], said: str, capsys) -> None:
    Path("empty.txt").write_text("\n \n", encoding="utf-8")
    Path("bad.csv").write_text("a,b\n1,x\n2,\n", encoding="utf-8")
    code, out, err = told(capsys, cell(here), *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


# the report


def test_the_report_shows_texts_and_how_long_those_are_that_go_wrong(done: Path) -> None:
    page = (done / "reports" / "praise" / "index.md").read_text(encoding="utf-8")
    data, errors = page.split("## The data")[1].split("\n## ")[0], page.split("## Errors")[1].split("\n## ")[0]
    assert "Words of a test text: 4 to 3" in data
    assert "Texts drawn from the training pool" in data
    assert sum(f"| {READ_TRAIN(i)} " in data for i in range(60)) == 6
    assert "nor one with the same words" in data
    surest = errors.split("The surest mistakes")[1].split("\n\n")[1].splitlines()
    assert surest[0].split("|")[-2].strip() == "text"
    for row in surest[2:]:
        number = int(row.split("|")[1].strip().removeprefix("test/"))
        assert row.split("|")[-2].strip() == TEXTS.read(number)
    lengths = errors.split("Errors by length")[1].split("\n\n")[1].splitlines()[2:]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in lengths]
    assert sum(int(row[1]) for row in cells) == 60
    assert cells[-1][0].endswith("24")  # as they were cut


def test_the_best_cell_is_explained_by_scores_of_tokens(done: Path) -> None:
    store = Store(done / "results", "praise")
    found = Shelf(store).explained(cell(done))
    assert found is not None
    assert (found.reason, found.modality) == (None, "text")
    arrays = found.arrays
    assert arrays["lengths"].tolist() == [len(pieces) for pieces in found.about["pieces"]]
    assert arrays["scores"].shape == (arrays["lengths"].sum(),)
    assert (arrays["gap"] < 0.05).all()
    assert arrays["agreement"][0].max() < 0.99  # a head drawn anew is not the one that training began with
    for number, pieces in zip(arrays["index"], found.about["pieces"], strict=True):
        assert TEXTS.read(int(number)).startswith("".join(pieces[1:-1]).strip())
    report = done / "reports" / "praise"
    seeing = (report / "index.md").read_text(encoding="utf-8").split("## Seeing")[1]
    assert "integrated gradients at the embeddings" in seeing
    assert "Texts that it had right" in seeing
    assert '<div class="shaded">' in (report / "index.html").read_text(encoding="utf-8")


def test_texts_that_are_not_kept_are_numbers(done: Path, tmp_path: Path) -> None:
    shelf = Shelf(Store(done / "results", "praise"))
    record = next(shelf.store.every())
    assert shelf.texts(record, "test", [3, 0]) == [TEXTS.read(3), TEXTS.read(0)]
    assert shelf.texts(record, "test", [60]) is None
    assert shelf.texts(record, "train", [0]) is None
    assert shelf.lengths(record, "test", [60]) is None
    assert Shelf(Store(tmp_path, "praise")).texts(record, "test", [0]) is None
    assert Shelf(Store(tmp_path, "praise")).lengths(record, "test", [0]) is None

"""The best cell is looked at and asked: its weights, where it looks, and what it says of new pictures."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import runs
from asking import finished, inside, probabilities, told
from PIL import Image

import bench
import suites
from bench.datasets.image_folder import ImageFolder
from bench.datasets.toy import draw
from bench.errors import UsageError
from bench.predicting import Answer, text
from bench.shelf import Shelf
from bench.store import Store

CLASSES = ("falling", "flat", "rising")
SUITE: dict[str, Any] = {
    "suite": "bars",
    "task": {"test_size": None},
    "matrix": {"dataset": [{"name": "image_folder", "path": "bars", "resolution": 16}], "size": [18, 24]},
    "recipe": {"epochs": 8},
    "report": {"explain": "best", "examples": 2},
}


def pictures(folder: Path, count: int = 14) -> None:
    """Write bars of three directions, in the formats that people have, one of them higher than wide."""
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = Image.fromarray(draw((number - 1) * np.pi / 4, 100 * number + i))
            image.resize((24, 30)).save(folder / name / f"{i:02}.{('png', 'jpg', 'bmp')[i % 3]}")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("bars")
    pictures(folder / "bars")
    return finished(folder, suites.write(folder, SUITE))


@pytest.fixture
def here(done: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return inside(done, monkeypatch)


def best(folder: Path) -> str:
    """Return the one cell that has weights."""
    (path,) = (folder / "results" / "bars" / "weights").iterdir()
    return path.stem


def stored(folder: Path) -> dict[str, np.ndarray]:
    """Return the probabilities on test of the best cell, by the names of the pictures."""
    names = ImageFolder(path=str(folder / "bars"), resolution=16).examples("test").ids
    return {names[i]: powers for i, powers in probabilities(folder, "bars", best(folder)).items()}


# What a run leaves


def test_one_cell_has_weights_and_it_is_the_best(done: Path) -> None:
    records = runs.records(done, "bars")
    assert len(records) == 2
    accuracy = {cell_id: record["metrics"]["accuracy"] for cell_id, record in records.items()}
    assert accuracy[best(done)] == max(accuracy.values())


def test_the_explanation_has_right_and_wrong_answers_with_their_maps(done: Path) -> None:
    found = Shelf(Store(done / "results", "bars")).explained(best(done))
    assert found is not None
    assert found.reason is None
    a = found.arrays
    right = a["predicted"] == a["labels"]
    assert 1 <= right.sum() <= 2
    assert (~right).sum() <= 2
    assert not right[right.sum() :].any()
    assert (a["maps"].shape[1:], a["maps"].dtype) == ((2, 16, 16), np.uint8)
    assert (a["maps"][right, 0] == a["maps"][right, 1]).all()
    assert a["pictures"].shape[1:] == (16, 16, 3)
    assert a["agreement"].shape == a["drawn"].shape[:2] == (3, min(4, len(right)))
    by_name = stored(done)
    names = ImageFolder(path=str(done / "bars"), resolution=16).examples("test").ids
    for i, index in enumerate(a["index"]):
        assert a["confidence"][i] == pytest.approx(by_name[names[index]].max(), abs=1e-5)
        assert a["predicted"][i] == by_name[names[index]].argmax()


def test_the_report_shows_where_the_best_cell_looks(done: Path) -> None:
    report = done / "reports" / "bars"
    words = (report / "index.md").read_text(encoding="utf-8")
    assert "## Seeing" in words
    assert best(done) in words.split("## Seeing")[1]
    assert "drawn at random they agree" in words or "they are flat" in words
    for name in ("seeing-right", "seeing-random"):
        assert (report / "figures" / f"{name}.png").stat().st_size > 1000
        assert f"figures/{name}" in words


@pytest.mark.slow
def test_a_second_run_explains_nothing_again_and_a_damaged_explanation_is_made_again(
    done: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(done, tmp_path / "again")
    (made,) = (folder / "results" / "bars" / "explained").iterdir()
    whole, page = made.read_bytes(), (folder / "reports" / "bars" / "index.md").read_bytes()
    ended = runs.bench(folder, "run", "toy.yaml")
    assert (ended.returncode, "looking where" in ended.stdout) == (0, False), ended.stderr
    made.write_bytes(whole[: len(whole) // 2])
    ended = runs.bench(folder, "run", "toy.yaml")
    assert "looking where" in ended.stdout
    assert "0 cells run" in ended.stdout
    found, before = (np.load(io.BytesIO(content)) for content in (made.read_bytes(), whole))
    assert all(np.array_equal(found[name], before[name]) for name in before.files)
    assert (folder / "reports" / "bars" / "index.md").read_bytes() == page


# New pictures


def test_a_picture_of_the_test_split_has_the_probabilities_that_the_run_gave_it(here: Path, capsys) -> None:
    by_name = stored(here)
    code, out, err = told(capsys, best(here)[:6], *(f"bars/{name}" for name in by_name), "--json")
    assert code == 0, err
    answers = json.loads(out)
    assert [a["input"] for a in answers] == [f"bars/{name}" for name in by_name]
    for answer, expected in zip(answers, by_name.values(), strict=True):
        found = {t["label"]: t["probability"] for t in answer["top"]}
        assert [found[c] for c in CLASSES] == pytest.approx(list(expected), abs=1e-4)
        assert (answer["label"], answer["problem"]) == (CLASSES[expected.argmax()], None)


def test_hostile_and_broken_pictures_are_a_line_each_and_the_others_are_answered(
    here: Path, tmp_path: Path, capsys
) -> None:
    Image.fromarray(draw(0.0, 1)).convert("L").save(tmp_path / "grey.png")
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(tmp_path / "clear.webp")
    (tmp_path / "cut.png").write_bytes((tmp_path / "grey.png").read_bytes()[:60])
    (tmp_path / "words\x1b[31m.jpg").write_bytes(b"these are words")
    (tmp_path / "script.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "bomb.pbm").write_bytes(b"P4\n100000 100000\n" + b"\0" * 100)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "notes.txt").write_text("no picture", encoding="utf-8")
    Image.fromarray(draw(0.8, 2)).save(tmp_path / "more" / "deep.jpg")
    table = tmp_path / "table.csv"
    table.write_text('id,file\n1,more/deep.jpg\n2,"none[1].png"\n', encoding="utf-8")
    given = [tmp_path, tmp_path / "script.eps", tmp_path / "pipe.png", tmp_path / "gone.png"]
    asked = ["--csv", table, "--column", "file", "--out", tmp_path / "said.csv", "--top", "2"]
    code, out, err = told(capsys, best(here), *given, *asked)
    assert (code, out) == (3, "")
    lines = err.splitlines()
    assert len(lines) == 7
    assert lines[-1] == f"{tmp_path}/none[1].png: there is no such file"  # a name in a table is no pattern
    assert any("bomb.pbm: more than 89,000,000 pixels" in line for line in lines)
    assert any("words\\x1b[31m.jpg: not a picture that Pillow can read here" in line for line in lines)
    assert any("script.eps: not a picture" in line for line in lines)
    assert any("pipe.png: is no file" in line for line in lines)
    assert any("gone.png: there is no such file" in line for line in lines)
    with (tmp_path / "said.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["input", "label", "probability", "label_2", "probability_2", "problem"]
    assert len(rows) == 11
    assert (rows[-2]["input"], rows[-2]["problem"]) == (str(tmp_path / "more" / "deep.jpg"), "")
    good = {Path(row["input"]).name for row in rows if not row["problem"]}
    assert good == {"grey.png", "clear.webp", "deep.jpg"}
    assert all((row["label"] in CLASSES) != bool(row["problem"]) for row in rows)


def test_the_function_gives_a_frame(here: Path) -> None:
    frame = bench.predict(best(here), ["bars/flat", Path("bars/rising/0*.png"), "bars/missing.png"], device="cpu")
    assert list(frame) == [
        "input",
        "label",
        "probability",
        "label_2",
        "probability_2",
        "label_3",
        "probability_3",
        "problem",
    ]
    assert len(frame) == 14 + 4 + 1
    assert frame["problem"].notna().tolist() == [False] * 18 + [True]
    assert pd.isna(frame["label"].iloc[-1])
    assert ((frame["probability"] + frame["probability_2"] + frame["probability_3"]).iloc[:18] - 1).abs().max() < 1e-6


# Refused


def other(folder: Path) -> str:
    """Return the cell whose weights were not kept."""
    return next(i for i in runs.records(folder, "bars") if i != best(folder))


def test_weights_that_were_not_kept_are_made_by_the_command_that_is_named(here: Path, tmp_path, capsys) -> None:
    code, out, err = told(capsys, other(here), "bars/flat/00.png")
    assert (code, out, err.count("\n")) == (2, "", 1)
    command = err.strip().partition("this makes them: ")[2].split()
    assert command[:2] == ["bench", "run"]
    folder = shutil.copytree(here, tmp_path / "run")
    made = runs.bench(folder, *command[1:])
    assert made.returncode == 0, made.stderr
    assert "1 cell run; in all 1 ok" in made.stdout
    assert Store(folder / "results", "bars").kept_ids() == {best(here), other(here)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{best}"], "name pictures, folders of them, or a table of them with --csv"),
        (["{best}", "bars", "--text", "a bar"], "--text: this cell has learnt from pictures; name pictures"),
        (["{best}", "*.xyz"], "*.xyz: nothing matches"),
        (["{best}", "results/bars"], "results/bars: there is no picture in this folder"),
        (["{best}", "--csv", "none.csv"], "--csv none.csv: cannot be read: No such file or directory"),
        (["{best}", "--csv", "toy.yaml"], "there is no column 'path'; it has "),
        (["0123456789ab", "bars"], "no cell '0123456789ab' in results"),
        (["{best}", "bars", "--device", "gpu"], "--device gpu: choose auto, cpu or cuda"),
        (["{best}", "bars", "--top", "0"], "invalid value for '--top'"),
        (["{best}", "bars", "--tpo", "1"], "no such option: --tpo"),
    ],
)
def test_a_mistake_is_one_line_before_any_worker_starts(here: Path, words: list[str], said: str, capsys) -> None:
    code, out, err = told(capsys, *(word.format(best=best(here)) for word in words))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_cell_without_one_trained_model_says_so(here: Path, tmp_path: Path) -> None:
    (record,) = [r for i, r in runs.records(here, "bars").items() if i == best(here)]
    folder = tmp_path / "results" / "bars"
    folder.mkdir(parents=True)
    for change, said in (
        ({"status": "oom", "reason": "no room"}, "is oom, so it has no trained model: no room"),
        ({"details": {"rounds": 600}}, "trained 600 models, one in each round"),
    ):
        (folder / f"{best(here)}.json").write_text(json.dumps({**record, **change}), encoding="utf-8")
        with pytest.raises(UsageError, match=said):
            bench.predict(best(here), "bars", results=tmp_path / "results")


# How it looks


@pytest.mark.parametrize("width", [40, 80, 200])
def test_answers_fit_the_terminal_and_lose_no_letter(width: int) -> None:
    answers = [
        Answer(
            "pictures/a rather long folder/and-a-file.jpg", (("tabby cat", 0.91), ("tiger cat", 0.08), ("dog", 0.01))
        ),
        Answer("x" * 120 + ".png", (("a class of a name that is longer than a column", 0.5), ("other", 0.5))),
        Answer("broken.png", (), "not a picture"),
    ]
    lines = text(answers, width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("0.910  tabby cat")
    whole = "".join(line.strip() for line in lines).replace(" ", "")
    assert "x" * 120 in whole
    assert "(thentigercat0.080,dog0.010)" in whole
    assert "broken" not in whole

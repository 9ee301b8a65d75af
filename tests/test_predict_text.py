"""A trained model of texts is asked about texts: typed, from lines of a file, from a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import runs

import bench
import suites
from bench.cli import main
from bench.datasets.toy_text import CLASSES, ToyText
from bench.shelf import Shelf
from bench.store import Store

SUITE: dict[str, Any] = {
    "suite": "praise",
    "matrix": {
        "dataset": [{"name": "toy_text", "max_length": 24}],
        "backbone": ["toy_encoder"],
        "strategy": ["full_finetune", "feature_extract"],
        "size": [24],
    },
    "task": {"test_size": None},
    "recipe": {"epochs": 4, "lr": 3e-3},
    "weights": "all",
}
TEXTS = ToyText().examples("test")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("praise")
    ended = runs.bench(folder, "run", suites.write(folder, SUITE).name, "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def here(done: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in the folder of the run, one thread, no GPU."""
    monkeypatch.chdir(done)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return done


def cell(folder: Path, strategy: str = "full_finetune") -> str:
    """Return the id of the cell of a strategy."""
    return next(i for i, r in runs.records(folder, "praise").items() if r["cell"]["strategy"]["name"] == strategy)


def stored(folder: Path) -> dict[int, np.ndarray]:
    """Return the probabilities on test that the run kept, by the number of the text."""
    found = Shelf(Store(folder / "results", "praise")).predictions(cell(folder))
    assert found is not None
    powers = np.exp(found.logits.astype(float))
    return dict(zip(found.index.tolist(), powers / powers.sum(axis=1, keepdims=True), strict=True))


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Run `bench predict` and return its exit code, what it printed, and what it said beside that."""
    with pytest.raises(SystemExit) as ended:
        main(["predict", *map(str, words)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_a_text_of_the_test_split_has_the_probabilities_that_the_run_gave_it(here: Path) -> None:
    expected = stored(here)
    frame = bench.predict(cell(here), texts=[TEXTS.read(i) for i in expected], device="cpu")
    assert frame["input"].tolist() == [TEXTS.read(i) for i in expected]
    for row, powers in zip(frame.to_dict("records"), expected.values(), strict=True):
        found = {row["label"]: row["probability"], row["label_2"]: row["probability_2"]}
        assert [found[name] for name in CLASSES] == pytest.approx(list(powers), abs=1e-4)
        assert row["label"] == CLASSES[powers.argmax()]
    alone = bench.predict(cell(here), texts=frame["input"][0], device="cpu")
    assert alone["probability"][0] == pytest.approx(frame["probability"][0], abs=1e-4)  # whatever it is padded to


def test_texts_are_typed_or_in_files_and_one_that_is_no_text_is_a_line(here: Path, tmp_path: Path, capsys) -> None:
    lines, table = tmp_path / "few.txt", tmp_path / "few.csv"
    lines.write_bytes(b"a bright film\n\n<b>dull</b> \x1b[31mfilm\r\n" + b"\xff\xfe\n")
    table.write_text('id,text\n1,"a good,\nlong story"\n2,bad\n', encoding="utf-8")
    given = ["--text", "so moving", "--text", "so bad", lines, "--csv", table, "--out", tmp_path / "said.csv"]
    code, out, err = told(capsys, cell(here)[:6], *given)
    assert (code, out) == (3, "")
    assert err.splitlines() == ["\\xff\\xfe: is not UTF-8 text"]
    said = pd.read_csv(tmp_path / "said.csv")
    first = ["so moving", "so bad", "a bright film", "<b>dull</b> \\x1b[31mfilm", "\\xff\\xfe"]
    assert said["input"].tolist() == [*first, "a good,\\x0along story", "bad"]
    assert said["label"].isin(CLASSES).tolist() == [name != "\\xff\\xfe" for name in said["input"]]
    code, out, err = told(capsys, cell(here), "--text", "so moving", "--json")
    assert (code, err) == (0, "")
    (answer,) = json.loads(out)
    assert answer["probability"] == pytest.approx(said["probability"][0], abs=1e-4)


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

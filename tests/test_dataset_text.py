"""Texts: the snippets of four domains, and files of one's own."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.datasets import datasets
from bench.datasets._archive import Archived
from bench.datasets._sources import Unavailable
from bench.datasets.sentiment import _splits, snippets
from bench.errors import BenchError, DataError, OptionError

# snippets


def raw(rows: list[tuple[str, float, str]]) -> bytes:
    return "".join(f"{name}\t{score}\t{text}\r\n" for name, score, text in rows).encode()


def test_a_score_is_a_class_beyond_the_threshold_and_left_out_within_it():
    rows = [(str(i), score, f"text {i}") for i, score in enumerate([-2.0, -0.5, -0.4, 0.0, 0.4, 0.5, 3.0] * 4)]
    rows = [(name, score, f"{text} {i}") for i, (name, score, text) in enumerate(rows)]
    found = _splits(raw(rows), 0.5, 0.25)
    every = {i: label for part in found.values() for i, label in zip(part.ids, part.labels.tolist(), strict=True)}
    score = {name: value for name, value, _ in rows}
    assert every == {name: int(value > 0) for name, value in score.items() if abs(value) >= 0.5}
    assert {split: len(part.labels) for split, part in found.items()} == {"train": 12, "test": 4}
    assert np.bincount(found["test"].labels).tolist() == [2, 2]


def test_snippets_with_the_same_words_are_one_and_documents_stay_on_one_side():
    rows = [(f"{d}_{i}", 1.0 if i % 2 else -1.0, f"said {i} of {d}") for d in range(1, 21) for i in range(1, 5)]
    rows += [("21_1", 2.0, "Said 1, of 1!"), ("21_2", 2.0, "...")]
    found = _splits(raw(rows), 0.5, 0.2)
    documents = {split: {i.partition("_")[0] for i in part.ids} for split, part in found.items()}
    assert not documents["train"] & documents["test"]
    assert documents["train"] | documents["test"] == {str(d) for d in range(1, 21)}
    assert set(found["train"].groups.tolist()).isdisjoint(found["test"].groups.tolist())
    assert len(documents["test"]) == 4


def test_a_snippet_may_have_a_tab_in_its_text():
    (only,) = snippets(b"7_3\t-1.5\ta\tb\r\n")
    assert (only.document, only.score, only.text) == ("7", -1.5, "a\tb")


def archive(path: Path, name: str, content: bytes) -> bytes:
    def packed(member: str, held: bytes) -> bytes:
        room = io.BytesIO()
        with tarfile.open(fileobj=room, mode="w:gz") as tar:
            entry = tarfile.TarInfo(member)
            entry.size = len(held)
            tar.addfile(entry, io.BytesIO(held))
        return room.getvalue()

    whole = packed("outer/inner.tar.gz", packed(f"inner/{name}", content))
    path.write_bytes(whole)
    return whole


def test_files_come_out_of_the_archive_in_an_archive_and_are_what_they_are_said_to_be(tmp_path):
    path = tmp_path / "a.tar.gz"
    sha = hashlib.sha256(archive(path, "a.txt", b"hello")).hexdigest()
    source = Archived(path.as_uri(), sha, ("outer/inner.tar.gz", "inner"))
    assert source.get(["a.txt"]) == {"a.txt": b"hello"}
    with pytest.raises(Unavailable, match=r"b\.txt"):
        source.get(["b.txt"])
    with pytest.raises(Unavailable, match="checksum differs"):
        Archived(path.as_uri(), "0" * 64, source.within).get(["a.txt"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(Unavailable, match="damaged"):
        Archived(path.as_uri(), cut, source.within).get(["a.txt"])


def test_options_of_the_snippets_are_checked():
    for option, value in (
        ("threshold", 0),
        ("threshold", 4),
        ("test_share", 1.0),
        ("domain", "poem"),
        ("max_length", 2),
    ):
        with pytest.raises(OptionError, match=option):
            datasets.create({"name": "sentiment", option: value})


# files


def made(path: Path, content: str | bytes, **options: object):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return datasets.create({"name": "text_file", "path": str(path), **options})


ROWS = [(f"text {i}, it is {label}", label) for i in range(12) for label in ("good", "bad")]


def table(delimiter: str = ",", extra: str = "") -> str:
    rows = [f'"{text}"{delimiter}{label}' for text, label in ROWS]
    return "\n".join([f"text{delimiter}label", *rows, extra])


def test_the_same_rows_in_three_forms_are_the_same_data(tmp_path):
    lines = "\n".join(json.dumps({"text": text, "label": label, "more": [1]}) for text, label in ROWS)
    found = [
        made(tmp_path / "a.csv", table()),
        made(tmp_path / "a.tsv", table("\t")),
        made(tmp_path / "a.jsonl", lines),
    ]
    assert len({dataset.facts().digest for dataset in found}) == 1
    assert found[0].facts().classes == ("bad", "good")
    train, test = (found[0].examples(split) for split in ("train", "test"))
    assert (len(train.labels), len(test.labels)) == (20, 4)
    assert sorted([*map(train.read, range(20)), *map(test.read, range(4))]) == sorted(text for text, _ in ROWS)


def test_a_split_comes_from_a_column_or_from_a_second_file(tmp_path):
    rows = "".join(f"t{i},{i % 2},{'test' if i < 4 else 'Train' if i < 18 else 'dev'}\n" for i in range(20))
    by_column = made(tmp_path / "a.csv", f"body,y,part\n{rows}", text="body", label="y", split="part")
    assert by_column.facts().counts == {"train": 14, "test": 4}
    (tmp_path / "test.csv").write_text("text,label\nnew one,good\nnew two,bad\n")
    by_file = made(tmp_path / "b.csv", table(), test_path=str(tmp_path / "test.csv"))
    assert by_file.facts().counts == {"train": 24, "test": 2}
    with pytest.raises(OptionError, match="not both"):
        made(tmp_path / "b.csv", table(), test_path="x.csv", split="part")


def test_groups_stay_on_one_side(tmp_path):
    rows = "".join(f"{who} says {i},{i % 2},{who}\n" for who in "abcdefghij" for i in range(4))
    dataset = made(tmp_path / "a.csv", f"text,label,author\n{rows}", group="author")
    train, test = (dataset.examples(split) for split in ("train", "test"))
    assert set(train.groups.tolist()).isdisjoint(test.groups.tolist())
    assert {train.read(i)[0] for i in range(len(train.labels))}.isdisjoint(
        test.read(i)[0] for i in range(len(test.labels))
    )


def test_what_is_left_out_is_counted_and_told(tmp_path, caplog):
    text = "text,label,part\n" + "".join(f"t{i},{i % 2},train\n" for i in range(6))
    text += "T1,1,test\nother,0,test\n,1,train\nx,,train\ny,1,dev\n"
    dataset = made(tmp_path / "a.csv", text, split="part")
    assert dataset.facts().counts == {"train": 5, "test": 2}
    (told,) = caplog.messages
    assert told.endswith(
        "left out: 2 without text or label; 1 for neither train nor test; 1 in test too, word for word"
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "x", "its name must end in .csv"),
        ("a.csv", "", "holds no text with a label"),
        ("a.csv", "text,label\na,1\nb,1\n", "texts of two classes; found '1'"),
        ("a.csv", "txt,label\na,1\n", "line 2 has no column 'text', named by the option text; did you mean 'txt'"),
        ("a.csv", "text,text\na,1\n", "two columns have the same name"),
        ("a.csv", b"text,label\n\xff\xfe,1\n", "line 2 is not UTF-8 text"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{', "line 2 is no JSON"),
        ("a.jsonl", "[1]", "line 1 is no mapping"),
        ("a.jsonl", "[" * 100_000, "line 1 is no JSON"),
    ],
)
def test_a_file_that_is_no_table_of_texts_is_refused_in_a_line(tmp_path, name, content, said):
    with pytest.raises(DataError, match=said) as caught:
        made(tmp_path / name, content).facts()
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=300), ending=st.sampled_from(["csv", "tsv", "jsonl"]))
def test_any_bytes_are_taken_or_refused_in_a_line(content, ending, tmp_path_factory):
    dataset = made(tmp_path_factory.getbasetemp() / f"any.{ending}", b"text,label\n" + content)
    told = ""
    try:
        dataset.facts()
    except BenchError as error:
        told = str(error)
    assert "\n" not in told


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        datasets.create({"name": "text_file", "path": str(tmp_path / "no.csv")}).facts()

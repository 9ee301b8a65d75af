"""Texts of the Hugging Face hub, and of folders in its format: no hub but one on this machine is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets as library
import layouts
import pytest
import runs
from hub import DataHub

import suites
from bench.cli import main
from bench.datasets import datasets
from bench.errors import DataError, OptionError

NAME = "huggingface_text"
# Not in the order of the alphabet; nothing is "odd".
NAMES = ["pos", "odd", "neg"]
KINDS = {"said": library.Value("string"), "label": library.ClassLabel(names=NAMES), "row": library.Value("int32")}
COMMIT = "c" * 40


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")


def table(count: int, what: str, hidden: bool = False) -> library.Dataset:
    """Return rows of two classes by turns; the first, or all, have a label that is kept back."""
    labels = [-1 if hidden or i == 0 else 2 * (i % 2) for i in range(count)]
    rows = {"said": [f"{what} {i}" for i in range(count)], "label": labels, "row": list(range(count))}
    return library.Dataset.from_dict(rows, features=library.Features(KINDS))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Have sets read in this process: one of its own costs a second each time. Tests with `apart` have that."""
    if "apart" not in request.fixturenames:
        monkeypatch.setattr("bench.datasets.huggingface_text.fetch_apart", lambda dataset, title: dataset.fetch_here())


@pytest.fixture
def apart() -> None:
    """Have sets read as they are, in a process of its own."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return one data set as `save_to_disk` leaves it and as parquet files."""
    root = tmp_path_factory.mktemp("sets")
    parts = {"train": table(21, "learnt"), "validation": table(9, "held"), "test": table(5, "secret", hidden=True)}
    library.disable_progress_bars()
    library.DatasetDict(parts).save_to_disk(root / "saved")
    (root / "parquet" / "data").mkdir(parents=True)
    for split, part in parts.items():
        part.to_parquet(root / "parquet" / "data" / f"{split}-00000-of-00001.parquet")
    return {kind: root / kind for kind in ("saved", "parquet")}


def made(path: Path, **options: Any) -> Any:
    return datasets.create({"name": NAME, "path": str(path), **options})


def lines(folder: Path, rows: list[dict[str, Any]], name: str = "train.jsonl") -> Path:
    """Write rows into a file of a folder; return the folder."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return folder


def numbered(count: int = 20, classes: int = 2, what: str = "text") -> list[dict[str, Any]]:
    return [{"text": f"{what} {i}", "label": i % classes} for i in range(count)]


def words(examples: Any) -> list[str]:
    return [examples.read(i) for i in range(len(examples.ids))]


@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_classes_have_their_own_order_and_labels_that_are_kept_back_are_left_out(kind, folders, caplog):
    dataset = made(folders[kind], text="said")
    assert dataset.facts().classes == ("pos", "neg")
    assert dataset.facts().counts == {"train": 20, "test": 8}
    train, test = dataset.examples("train"), dataset.examples("test")
    assert words(train) == [f"learnt {i}" for i in range(1, 21)]
    assert train.labels.tolist() == [i % 2 for i in range(1, 21)]
    # A test split without labels is none; the validation split is the one that is tested on.
    assert (test.ids[0], words(test)[0]) == ("validation/1", "held 1")
    assert [m.partition(": ")[2] for m in caplog.messages] == ["left out: 2 without text or label"]


def test_splits_are_named_and_joined(folders):
    joined = made(folders["saved"], text="said", train="train+validation").facts()
    assert sum(joined.counts.values()) == 28
    turned = made(folders["saved"], text="said", train="validation", test="train")
    assert turned.facts().counts == {"train": 8, "test": 20}


def test_without_a_split_for_test_each_class_gives_its_share(tmp_path):
    dataset = made(lines(tmp_path / "set", numbered(60, 12)), test_share=0.4)
    # Numbers without names are in the order of their worth.
    assert dataset.facts().classes == tuple(map(str, range(12)))
    labels = {split: dataset.examples(split).labels.tolist() for split in ("train", "test")}
    assert all((labels["train"].count(c), labels["test"].count(c)) == (3, 2) for c in range(12))
    backwards = made(lines(tmp_path / "backwards", numbered(60, 12)[::-1]), test_share=0.4)
    assert set(words(backwards.examples("test"))) == set(words(dataset.examples("test")))


def test_a_text_is_on_one_side(tmp_path):
    folder = lines(tmp_path, numbered())
    lines(folder, [{"text": "Text  3", "label": 1}, {"text": "other", "label": 0}], "test.jsonl")
    dataset = made(folder)
    assert dataset.facts().counts == {"train": 19, "test": 2}
    assert "text 3" not in words(dataset.examples("train"))


def test_the_identity_is_of_the_content_and_not_of_the_place(tmp_path):
    here = lines(tmp_path / "here", numbered())
    there = shutil.copytree(here, tmp_path / "there")
    digest = made(here).facts().digest
    assert made(there).facts().digest == digest
    others = [made(here, test_share=0.5).facts().digest]
    lines(there, [*numbered(19), {"text": "text 19", "label": 0}])
    others += [made(there).facts().digest]
    hub = [{}, {"revision": COMMIT}, {"config": "b"}, {"text": "said"}, {"repository": "owner/other"}]
    others += [datasets.create({"name": NAME, "repository": "owner/set", **more}).facts().digest for more in hub]
    assert len({digest, *others}) == 1 + len(others)


def test_what_was_read_once_needs_no_library(tmp_path, monkeypatch):
    read = made(lines(tmp_path / "read", numbered()))
    read.fetch()
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert made(tmp_path / "read").facts().counts == {"train": 16, "test": 4}
    assert words(made(tmp_path / "read").examples("test")) == words(read.examples("test"))
    for spec in ({"path": str(lines(tmp_path / "new", numbered(what="said")))}, {"repository": "owner/set"}):
        with pytest.raises(DataError, match=r"datasets library: python -m pip install .transfer-bench\[text\]"):
            datasets.create({"name": NAME, **spec}).fetch()


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_the_hub_is_not_asked(name, monkeypatch):
    monkeypatch.setenv({"HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"}.difference([name]).pop(), "0")
    dataset = datasets.create({"name": NAME, "repository": "owner/set"})
    assert (dataset.facts().classes, dataset.facts().counts) == (None, None)
    assert dataset.missing().problem == f"{name} is set, so the hub is not asked"
    with pytest.raises(DataError, match=f"{NAME} owner/set: is not on this machine, and cannot be had: {name} is set"):
        dataset.fetch()


def card(**data_files: str) -> str:
    configs = [f"- config_name: {name}\n  data_files: {files}\n" for name, files in data_files.items()]
    return f"---\nconfigs:\n{''.join(configs)}---\n"


ALIKE = '{"text": "a", "label": 1}\n{"text": "b", "label": 1}'
EMPTY = '{"text": " ", "label": 1}\n{"text": null, "label": 1}'
# What is written into a folder with the rows of `numbered`, options, and what is said of that.
WRONG: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "column": ({}, {"text": "txt"}, "no column 'txt', named by the option text; did you mean 'text'?"),
    "label": ({}, {"label": "stars"}, "no column 'stars', named by the option label; it has 'text', 'label'"),
    "split": ({}, {"train": "trian"}, "no split 'trian', named by the option train; did you mean 'train'?"),
    "test": ({}, {"test": "dev"}, "no split 'dev', named by the option test; it has 'train'"),
    "config": ({}, {"config": "x"}, "has no config 'x'; it has 'default'"),
    "configs": ({"README.md": card(b="train.jsonl", a="tr*.jsonl")}, {}, "several configs; name one as config: a, b"),
    "near": ({"README.md": card(alpha="tr*", b="tr*")}, {"config": "alpa"}, "did you mean 'alpha'?"),
    "elsewhere": ({"README.md": card(a="../*/train.jsonl")}, {}, "its card names a file elsewhere"),
    "one class": ({"train.jsonl": ALIKE}, {}, "two classes; found '1'"),
    "empty": ({"train.jsonl": EMPTY}, {}, "holds no text with a label"),
    "no text": ({"train.jsonl": '{"text": 3, "label": 1}'}, {}, "the column 'text' holds int64, not texts"),
    "lists": ({"train.jsonl": '{"text": "a", "label": [1, 2]}'}, {}, r"'label' of train/0 is no class: \[1, 2\]"),
    "fractions": ({"train.jsonl": '{"text": "a", "label": 0.5}'}, {}, "'label' of train/0 is no class: 0.5"),
    "no labels": ({"test.jsonl": '{"text": "a", "label": null}'}, {"test": "test"}, "'test' has no text with a label"),
    "strange": ({"test.jsonl": '{"text": "a", "label": 7}'}, {}, "has a class that is not learnt: '7'"),
    "broken": ({"train.jsonl": '{"text": "a"\n[1,2'}, {}, "cannot be read: "),
    "damaged": ({"train.parquet": "PAR1 and no more", "test.parquet": "no"}, {}, "cannot be read: "),
    "no table": (
        {"train-0.txt": "good", "train-1.txt": "bad"},
        {},
        "of the kind text, and not arrow, csv, json, parquet",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_folder_that_holds_no_texts_with_classes_is_told_in_a_line(case, tmp_path):
    files, options, said = WRONG[case]
    folder = lines(tmp_path / "set", numbered())
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(DataError, match=said) as caught:
        made(folder, **options).facts()
    assert str(caught.value).startswith(f"{NAME} {folder}: ")
    assert "\n" not in str(caught.value)


def test_scripts_are_not_run(tmp_path):
    folder = lines(tmp_path / "set", numbered())
    (folder / "set.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(DataError, match="scripts are no longer supported"):
        made(folder).facts()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs the option 'repository', OWNER/NAME on the hub, or 'path', a folder"),
        ({"repository": "imdb"}, "repository must be OWNER/NAME, not 'imdb'; a folder is named as path"),
        ({"repository": "a/b", "path": "c"}, "not both"),
        ({"path": "a", "revision": "main"}, "revision is of a repository"),
        ({"path": ""}, "path is empty"),
        ({"path": "a", "text": "label"}, "text and label are the same column"),
        ({"path": "a", "train": "a+b", "test": "b"}, "'b' cannot be for training and for test"),
        ({"path": "a", "test_share": 1.0}, "test_share"),
    ],
)
def test_options_are_checked(options, said):
    with pytest.raises(OptionError, match=said):
        datasets.create({"name": NAME, **options})


def test_a_path_is_a_folder(tmp_path):
    lines(tmp_path, numbered())
    for path, said in ((tmp_path / "no", "there is no such folder"), (tmp_path / "train.jsonl", "is a file; name the")):
        with pytest.raises(DataError, match=said):
            made(path).facts()


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    folder = lines(tmp_path, numbered())
    monkeypatch.setenv("BENCH_CACHE", str(folder / "train.jsonl"))
    with pytest.raises(DataError, match=r"cannot write .*; make room there, or set BENCH_CACHE"):
        made(folder).facts()


def test_what_is_read_apart_is_the_same_and_so_is_what_is_told_of_it(apart, tmp_path, caplog):
    folder = lines(tmp_path / "set", [*numbered(), {"text": None, "label": 0}])
    dataset = made(folder)
    assert dataset.facts().counts == {"train": 16, "test": 4}
    assert caplog.messages == [f"{NAME} {folder}: left out: 1 without text or label"]
    with pytest.raises(DataError, match="did you mean 'text'"):
        made(folder, text="txt").facts()


def test_a_crash_of_the_library_is_a_line(apart, tmp_path, monkeypatch):
    package = tmp_path / "path" / "datasets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(package.parent)
    folder = lines(tmp_path / "set", numbered())
    with pytest.raises(DataError, match=f"{NAME} {folder}: what reads it was killed by SIGSEGV: a file is damaged"):
        made(folder).facts()


FETCHES = """
import json, sys
from bench.datasets import datasets
from bench.errors import BenchError
for options in json.loads(sys.argv[1]):
    dataset = datasets.create({"name": "huggingface_text", "repository": "owner/reviews", **options})
    try:
        assert dataset.facts().counts is None
        dataset.fetch_here()
        print(json.dumps([dataset.facts().counts, dataset.missing(), dataset.examples("test").read(0)[:3]]))
    except BenchError as error:
        print(json.dumps(str(error)))
"""


def test_a_repository_of_the_hub_is_had_by_name_and_revision_and_kept(tmp_path, monkeypatch):
    files = {"README.md": card(default="train.jsonl"), "train.jsonl": "\n".join(map(json.dumps, numbered()))}
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    asked = [{}, {"revision": COMMIT}, {"revision": "v2"}, {"repository": "owner/none"}]
    with DataHub(files, COMMIT) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        command = [sys.executable, "-W", "error", "-c", FETCHES, json.dumps(asked)]
        ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    newest, commit, revision, repository = map(json.loads, ended.stdout.splitlines())
    assert newest == commit == [{"train": 16, "test": 4}, None, "tex"]
    assert "Revision 'v2' doesn't exist" in revision
    assert "'owner/none' doesn't exist" in repository
    # The hub is gone, and what was had from it is here.
    kept = datasets.create({"name": NAME, "repository": "owner/reviews"})
    assert kept.facts().counts == {"train": 16, "test": 4}
    assert kept._card["commit"] == COMMIT
    assert not list(kept._folder.parent.parent.glob(".*"))


def suite(folder: Path, **options: Any) -> Path:
    matrix = {"dataset": [{"name": NAME, **options}], "backbone": ["toy_encoder"], "size": [12]}
    return suites.write(folder, {"matrix": matrix, "task": {"test_size": None, "monitor_size": None}})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "reviews", "text": "txt"}, "no column 'txt'"),
        ({"path": "review"}, "there is no such folder"),
        ({"repository": "reviews"}, "repository must be OWNER/NAME"),
    ],
)
def test_a_mistake_in_a_suite_is_a_line_at_its_place(options, said, tmp_path, monkeypatch, capsys):
    lines(tmp_path / "reviews", numbered())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(suite(tmp_path, **options))])
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert "toy.yaml:" in err
    assert not (tmp_path / "results").exists()


def test_a_folder_goes_through_the_whole_harness_offline(tmp_path):
    layouts.hub_folder(tmp_path / "reviews", each=20)
    path = suite(tmp_path, path="reviews")
    ended = runs.bench(tmp_path, "run", path.name, "--device", "cpu", "--no-report")
    assert ended.returncode == 0, ended.stderr
    (record,) = runs.records(tmp_path, "toy").values()
    assert record["status"] == "ok"
    assert record["cell"]["dataset"]["repository"] is None
    assert "path" not in record["cell"]["dataset"]

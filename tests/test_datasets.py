"""One contract suite over every registered data set, and the split that the harness makes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli import main
from bench.datasets import EXTENTS, datasets, extent
from bench.datasets._split import stratified
from bench.errors import OptionError

Spec = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("BENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Spec]:
    """Return how to name a data set so that it is on this machine, with small files of our own where it has files."""
    root = tmp_path_factory.mktemp("data")

    def spec(name: str) -> Spec:
        place = root / name
        if name == "text_file":
            return {"name": name, "path": str(layouts.text_file(place))}
        if name == "huggingface_text":
            if not place.exists():
                # Read once, as it is when it is planned for the first time.
                datasets.create({"name": name, "path": str(layouts.hub_folder(place))}).facts()
            return {"name": name, "path": str(place)}
        if name == "image_folder":
            return {"name": name, "path": str(place if place.exists() else layouts.folder(place))}
        if name == "medmnist":
            path = root / "made.npz"
            return {
                "name": name,
                "subset": "pneumoniamnist",
                "path": str(path if path.exists() else layouts.medmnist(path)),
            }
        if name in layouts.TORCHVISION:
            if not place.exists():
                place.mkdir()
                layouts.TORCHVISION[name](place)
            return {"name": name, "root": str(place)}
        return {"name": name}

    return spec


HERE = ("digits", "huggingface_text", "image_folder", "medmnist", "text_file", "toy", "toy_text", *layouts.TORCHVISION)
# What the sets have that leave it to no backbone.
OWN_EXTENTS = (16, 64)


@pytest.mark.parametrize("name", datasets.names())
def test_a_dataset_says_what_it_is(name: str, made: Callable[[str], Spec]) -> None:
    plugin = datasets.get(name)
    assert plugin.name == name
    assert plugin.version >= 1
    assert plugin.modality in EXTENTS
    assert plugin.licence
    assert plugin.source
    assert (plugin.__doc__ or "").strip()
    option = EXTENTS[plugin.modality]
    assert extent(datasets.create(made(name))) in (None, *OWN_EXTENTS)
    with pytest.raises(OptionError, match=f"{option} must be [13] to 8,192 (pixels|tokens)"):
        datasets.create({**made(name), option: 0})


def test_facts_are_quick_and_import_no_torch(made: Callable[[str], Spec]) -> None:
    specs = [made(name) for name in datasets.names()]
    program = (
        "import json, sys, time\n"
        "from bench.datasets import datasets\n"
        "seconds = {}\n"
        "for spec in json.loads(sys.argv[1]):\n"
        "    start = time.perf_counter()\n"
        "    facts = datasets.create(spec).facts()\n"
        "    assert facts.digest and facts.classes and facts.counts, spec\n"
        "    seconds[spec['name']] = time.perf_counter() - start\n"
        "heavy = sorted({'torch', 'torchvision', 'sklearn', 'scipy', 'datasets', 'pyarrow'} & set(sys.modules))\n"
        "print(json.dumps([seconds, heavy]))\n"
    )
    run = subprocess.run([sys.executable, "-c", program, json.dumps(specs)], capture_output=True, text=True, check=True)
    seconds, heavy = json.loads(run.stdout)
    assert heavy == []
    assert set(seconds) == set(datasets.names())
    assert max(seconds.values()) < 2, seconds


@pytest.mark.parametrize("name", datasets.names())
def test_a_digest_is_the_same_each_time(name: str, made: Callable[[str], Spec]) -> None:
    digests = {datasets.create(made(name)).facts().digest for _ in range(2)}
    assert len(digests) == 1
    assert len(min(digests)) >= 16


def test_no_two_datasets_share_a_digest(made: Callable[[str], Spec]) -> None:
    # Prepared pixels are kept by digest, so a shared one would give one set the other's pictures.
    digests = [datasets.create(made(name)).facts().digest for name in datasets.names()]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("name", HERE)
def test_examples_keep_the_contract(name: str, made: Callable[[str], Spec]) -> None:
    dataset = datasets.create(made(name))
    dataset.fetch()
    train, test = dataset.examples("train"), dataset.examples("test")
    facts = datasets.create(made(name)).facts()
    assert facts.classes is not None
    assert facts.counts == {"train": len(train.labels), "test": len(test.labels)}
    assert len(set(facts.classes)) == len(facts.classes)
    assert set(train.labels.tolist()) == set(range(len(facts.classes)))
    assert set(test.labels.tolist()) <= set(train.labels.tolist())
    assert len({*train.ids, *test.ids}) == len(train.labels) + len(test.labels)
    found = []
    for part in (train, test):
        assert part.labels.dtype == np.int64
        assert part.labels.shape == (len(part.ids),)
        for i in {0, len(part.ids) // 2, len(part.ids) - 1}:
            found.append(part.read(i))
            assert np.array_equal(found[-1], part.read(i))
    if dataset.modality == "text":
        assert all(isinstance(text, str) and text for text in found)
    else:
        assert {picture.dtype for picture in found} == {np.dtype(np.uint8)}
        assert {picture.shape[2:] for picture in found} in ({()}, {(3,)})


@pytest.mark.parametrize("name", HERE)
def test_examples_come_in_the_same_order_each_time(name: str, made: Callable[[str], Spec]) -> None:
    one, other = (datasets.create(made(name)).examples("train") for _ in range(2))
    assert list(one.ids) == list(other.ids)
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(one.read(1), other.read(1))


def test_digits_are_the_1797_that_everyone_knows() -> None:
    dataset = datasets.create({"name": "digits"})
    train, test = dataset.examples("train"), dataset.examples("test")
    assert len(train.labels) + len(test.labels) == 1797
    every = np.concatenate([train.labels, test.labels])
    assert np.bincount(every).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert train.read(0).shape == (8, 8)
    assert max(train.read(i).max() for i in range(20)) == 255


def test_digits_are_those_that_scikit_learn_gives() -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    for part in (datasets.create({"name": "digits"}).examples(split) for split in ("train", "test")):
        for i in (0, 100, 400):
            row = int(part.ids[i].partition("/")[2])
            assert part.labels[i] == theirs.target[row]
            assert np.array_equal(part.read(i), np.rint(theirs.images[row] * 255 / 16).astype(np.uint8))


def test_toy_options_change_its_digest() -> None:
    specs: list[Spec] = [{}, {"classes": 4}, {"train": 90}, {"test": 90}]
    assert len({datasets.create({"name": "toy", **spec}).facts().digest for spec in specs}) == len(specs)


labelled = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(lambda y: np.array(y, np.int64))
shares = st.floats(0.01, 0.99)


def names_of(labels: np.ndarray[Any, Any]) -> list[str]:
    return [f"picture {i}" for i in range(len(labels))]


@given(labels=labelled, share=shares)
def test_a_split_gives_each_example_to_one_side_in_order(labels: np.ndarray[Any, Any], share: float) -> None:
    split = stratified(labels, names_of(labels), share)
    assert sorted([*split["train"].tolist(), *split["test"].tolist()]) == list(range(len(labels)))
    assert all(np.array_equal(rows, np.sort(rows)) for rows in split.values())


@given(labels=labelled, share=shares)
def test_a_split_takes_the_share_of_every_class_and_leaves_one_of_each(
    labels: np.ndarray[Any, Any], share: float
) -> None:
    split = stratified(labels, names_of(labels), share)
    for label in set(labels.tolist()):
        size = int((labels == label).sum())
        taken = int((labels[split["test"]] == label).sum())
        assert taken == min(max(1, round(size * share)), size - 1)


@given(labels=labelled, share=shares, data=st.data())
def test_a_split_does_not_depend_on_the_order_of_examples(
    labels: np.ndarray[Any, Any], share: float, data: st.DataObject
) -> None:
    names = names_of(labels)
    order = data.draw(st.permutations(range(len(labels))))
    test = {names[i] for i in stratified(labels, names, share)["test"]}
    shuffled = stratified(labels[order], [names[i] for i in order], share)["test"]
    assert {names[order[i]] for i in shuffled} == test


@given(labels=labelled, share=shares, label=st.integers(0, 5))
def test_one_more_example_moves_at_most_one_other(labels: np.ndarray[Any, Any], share: float, label: int) -> None:
    names = names_of(labels)
    before = {names[i] for i in stratified(labels, names, share)["test"]}
    more, longer = [*names, "new"], np.append(labels, label)
    after = {more[i] for i in stratified(longer, more, share)["test"]} - {"new"}
    assert len(before ^ after) <= 1


def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


@pytest.mark.parametrize("name", ["toy", "digits"])
def test_fetch_says_that_a_dataset_is_here(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(monkeypatch, capsys, "data", "fetch", name)
    assert (code, out) == (0, f"{name} is here\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fashion_mnst", ["unknown dataset", "did you mean 'fashion_mnist'"]),
        ("image_folder", ["needs the option 'path'", "in a suite"]),
        ("stanford_cars", ["can't be downloaded", "root"]),
        ("huggingface_text", ["needs the option 'repository'", "--set OPTION=VALUE"]),
        ("medmnist", ["needs the option 'subset'", "--set OPTION=VALUE"]),
    ],
)
def test_fetch_says_in_one_line_what_it_cannot_do(
    name: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_cli(monkeypatch, capsys, "data", "fetch", name)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert all(word in err for word in words)


def test_every_dataset_is_listed_with_size_classes_licence_and_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(monkeypatch, capsys, "list", "datasets", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert set(rows) == set(datasets.names())
    assert rows["fashion_mnist"]["size"] == "60,000 train + 10,000 test"
    assert rows["fashion_mnist"]["licence"] == "MIT"
    assert rows["cifar100"]["classes"] == 100
    assert all(row["licence"] and row["source"] for row in rows.values())

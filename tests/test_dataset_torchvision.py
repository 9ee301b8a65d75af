"""torchvision's sets through torchvision's own loaders, on small files in the layouts that it reads."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import json
import pickle
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import layouts
import numpy as np
import pytest
from torchvision import datasets as loaders

from bench.datasets import datasets
from bench.datasets._published import PUBLISHED, Published
from bench.datasets.torchvision import _pins
from bench.errors import DataError

ROWS = {row.name: row for row in PUBLISHED}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    # urllib keeps the proxies that it was first used with.
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send every request to a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, closed)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row.name)
def test_a_row_names_a_loader_that_takes_its_options(row: Published) -> None:
    loader = getattr(loaders, row.loader)
    known = {p for base in loader.__mro__ if base is not object for p in inspect.signature(base.__init__).parameters}
    for options in (*row.train, *row.test):
        assert set(options) <= known
    assert "root" in known
    assert "download" in known
    assert row.train
    assert len(row.counts) == (2 if row.test else 1)
    assert sum(row.counts) >= 2 * row.classes
    assert f"self.{row.labels}" in "".join(inspect.getsource(base) for base in loader.__mro__ if base is not object)


def test_pins_are_the_checksums_that_torchvision_compares() -> None:
    assert set(_pins("CIFAR10")) == {
        loaders.CIFAR10.tgz_md5,
        loaders.CIFAR10.meta["md5"],
        *(md5 for _, md5 in loaders.CIFAR10.train_list + loaders.CIFAR10.test_list),
    }
    assert set(_pins("KMNIST")) == {md5 for _, md5 in loaders.KMNIST.resources}
    assert set(_pins("EuroSAT")) < set(inspect.getsource(loaders.EuroSAT).replace('"', " ").split())


def test_only_two_sets_have_no_pins_and_say_what_to_do() -> None:
    assert {row.name for row in PUBLISHED if not _pins(row.loader)} == {"fgvc_aircraft", "stanford_cars"}
    with pytest.raises(DataError, match="bench data fetch fgvc_aircraft"):
        datasets.create({"name": "fgvc_aircraft"}).facts()
    with pytest.raises(DataError, match=r"\{name: stanford_cars, root: FOLDER\}"):
        datasets.create({"name": "stanford_cars"}).facts()


def test_fashion_mnist_has_one_plugin() -> None:
    assert "fashion_mnist" not in ROWS
    assert datasets.get("fashion_mnist").__module__ == "bench.datasets.fashion_mnist"


@pytest.mark.parametrize("name", layouts.TORCHVISION)
def test_pictures_and_labels_are_those_that_torchvision_gives(name: str, tmp_path: Path) -> None:
    layouts.TORCHVISION[name](tmp_path)
    row = ROWS[name]
    test = datasets.create({"name": name, "root": str(tmp_path)}).examples("test" if row.test else "train")
    theirs = getattr(loaders, row.loader)(root=str(tmp_path), **(row.test or row.train)[0])
    pairs = [theirs[i] for i in range(len(theirs))]
    pictures = {np.array(image.convert("L" if row.grey else "RGB")).tobytes(): label for image, label in pairs}
    numbers = sorted(set(pictures.values()))
    for i, label in enumerate(test.labels.tolist()):
        assert numbers.index(pictures[test.read(i).tobytes()]) == label


def test_a_val_part_joins_the_training_pool(tmp_path: Path) -> None:
    layouts.dtd(tmp_path)
    facts = datasets.create({"name": "dtd", "root": str(tmp_path)})
    assert len(facts.examples("train").labels) == 8
    assert len(facts.examples("test").labels) == 4


def test_a_label_that_no_picture_has_is_no_class(tmp_path: Path) -> None:
    layouts.emnist_letters(tmp_path)
    dataset = datasets.create({"name": "emnist_letters", "root": str(tmp_path)})
    assert dataset.examples("train").labels.min() == 0
    assert dataset.facts().classes == ("a", "b", "c")


def test_the_order_does_not_depend_on_the_order_of_the_disk(tmp_path: Path) -> None:
    layouts.sun397(tmp_path / "one")
    # The same files, made in another order.
    for path in sorted((tmp_path / "one").rglob("*.*"), key=lambda p: p.name[::-1], reverse=True):
        place = tmp_path / "other" / path.relative_to(tmp_path / "one")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    one, other = (datasets.create({"name": "sun397", "root": str(tmp_path / n)}) for n in ("one", "other"))
    assert one.facts().digest == other.facts().digest
    mine, theirs = one.examples("test"), other.examples("test")
    assert all(np.array_equal(mine.read(i), theirs.read(i)) for i in range(len(mine.ids)))


def test_the_digest_of_a_root_is_of_its_files(tmp_path: Path) -> None:
    layouts.gtsrb(tmp_path)
    (tmp_path / "gtsrb" / "GTSRB-Training_fixed.zip").write_bytes(b"what it was unpacked from")
    (tmp_path / "another_set").mkdir()

    def digest() -> str:
        return datasets.create({"name": "gtsrb", "root": str(tmp_path)}).facts().digest

    first = digest()
    assert first != datasets.create({"name": "gtsrb"}).facts().digest
    (tmp_path / "gtsrb" / "GTSRB-Training_fixed.zip").unlink()
    (tmp_path / "another_set" / "file").write_text("")
    assert digest() == first
    layouts.picture(tmp_path / "gtsrb" / "GTSRB" / "Training" / "00000" / "0.ppm", seed=999)
    assert digest() != first


def test_changed_files_are_loaded_again(tmp_path: Path) -> None:
    layouts.eurosat(tmp_path)
    before = len(datasets.create({"name": "eurosat", "root": str(tmp_path)}).examples("train").labels)
    for i in range(10):
        layouts.picture(tmp_path / "eurosat" / "2750" / "Forest" / f"more{i}.jpg", seed=500 + i)
    assert len(datasets.create({"name": "eurosat", "root": str(tmp_path)}).examples("train").labels) == before + 8


def test_facts_know_the_class_names_once_the_set_has_been_read(tmp_path: Path) -> None:
    layouts.imagenette_160px(tmp_path)
    spec = {"name": "imagenette_160px", "root": str(tmp_path)}
    before = datasets.create(spec).facts()
    assert before.classes == tuple("0123456789")
    assert before.counts == {"train": 9469, "test": 3925}
    datasets.create(spec).fetch()
    after = datasets.create(spec).facts()
    assert after.digest == before.digest
    assert after.classes == ("tench", "parachute")
    assert after.counts == {"train": 12, "test": 12}


def test_facts_of_a_root_import_no_torch(tmp_path: Path) -> None:
    layouts.mnist(tmp_path)
    datasets.create({"name": "mnist", "root": str(tmp_path)}).fetch()
    program = (
        "import sys; from bench.datasets import datasets\n"
        f"facts = datasets.create({{'name': 'mnist', 'root': {str(tmp_path)!r}}}).facts()\n"
        "print(facts.classes[1], dict(facts.counts), 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "1 - one {'train': 20, 'test': 10} False\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [("mnist", "has no MNIST/raw"), ("svhn", "has no train_32x32.mat"), ("gtsrb", "has no gtsrb")],
)
def test_a_root_without_the_set_is_refused(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        datasets.create({"name": name, "root": str(tmp_path)}).facts()


def test_a_root_with_half_a_set_is_refused(tmp_path: Path) -> None:
    layouts.mnist(tmp_path)
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="mnist cannot be read from"):
        datasets.create({"name": "mnist", "root": str(tmp_path)}).examples("train")


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    layouts.gtsrb(tmp_path)
    dataset = datasets.create({"name": "gtsrb", "root": str(tmp_path)})
    train = dataset.examples("train")
    (tmp_path / "gtsrb" / "GTSRB" / "Training" / "00000" / "0.ppm").write_bytes(b"")
    with pytest.raises(DataError, match="gtsrb: train/0 cannot be decoded"):
        train.read(0)


@pytest.mark.parametrize("name", ["cifar10", "eurosat", "kmnist", "emnist_letters", "oxford_iiit_pet", "fgvc_aircraft"])
def test_without_a_network_one_line_says_what_to_do(name: str, offline: None, cache: Path) -> None:
    start = time.monotonic()
    with pytest.raises(DataError) as error:
        datasets.create({"name": name}).fetch()
    assert time.monotonic() - start < 5
    said = str(error.value)
    assert "\n" not in said
    assert f"{name} could not be downloaded" in said
    assert "connect to the network" in said
    assert f"{{name: {name}, root: FOLDER}}" in said
    assert not any(cache.rglob("*.*"))


def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr("bench.datasets.torchvision.ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(loaders.KMNIST, "mirrors", [f"http://127.0.0.1:{silent.getsockname()[1]}/"])
        start = time.monotonic()
        with pytest.raises(DataError, match="timed out"):
            datasets.create({"name": "kmnist"}).fetch()
        assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have torchvision download KMNIST from a folder here, by the checksums of the small files in it."""
    layouts.mnist(tmp_path / "made", "KMNIST")
    folder = tmp_path / "mirror"
    folder.mkdir()
    resources = []
    for path in sorted((tmp_path / "made" / "KMNIST" / "raw").iterdir()):
        content = gzip.compress(path.read_bytes())
        (folder / f"{path.name}.gz").write_bytes(content)
        resources.append((f"{path.name}.gz", hashlib.md5(content, usedforsecurity=False).hexdigest()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(loaders.KMNIST, "mirrors", [f"http://127.0.0.1:{server.server_address[1]}/"])
    monkeypatch.setattr(loaders.KMNIST, "resources", resources)
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_set_is_downloaded_once_and_planned_alike_before_and_after(mirror: Path) -> None:
    before = datasets.create({"name": "kmnist"}).facts()
    assert before.counts == {"train": 60_000, "test": 10_000}
    train = datasets.create({"name": "kmnist"}).examples("train")
    assert train.labels.tolist() == [i % 3 for i in range(20)]
    for path in mirror.iterdir():
        path.unlink()
    datasets.create({"name": "kmnist"}).fetch()
    after = datasets.create({"name": "kmnist"}).facts()
    assert after.digest == before.digest
    assert after.classes == ("o", "ki", "su")
    assert after.counts == {"train": 20, "test": 10}


def test_a_download_with_another_checksum_is_refused_and_leaves_nothing(mirror: Path, cache: Path) -> None:
    (mirror / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"another"))
    with pytest.raises(DataError, match="corrupted"):
        datasets.create({"name": "kmnist"}).fetch()
    assert list((cache / "torchvision").iterdir()) == []


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def cifar10(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "cifar-10-batches-py"
    base.mkdir()
    for name, seed in (("data_batch_1", 1), ("test_batch", 2)):
        data = np.random.default_rng(seed).integers(0, 255, (9, 3072), dtype=np.uint8)
        (base / name).write_bytes(pickle.dumps({"data": data, "labels": [0, 1, 2] * 3}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane", "automobile", "bird"]}))
    patch.setattr(loaders.CIFAR10, "train_list", [["data_batch_1", md5(base / "data_batch_1")]])
    patch.setattr(loaders.CIFAR10, "test_list", [["test_batch", md5(base / "test_batch")]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(base / "batches.meta")}
    patch.setattr(loaders.CIFAR10, "meta", meta)


def svhn(root: Path, patch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    sums = {}
    for part in ("train", "test"):
        pixels = np.random.default_rng(len(part)).integers(0, 255, (32, 32, 3, 9), dtype=np.uint8)
        # A nought is a 10 in the files.
        savemat(root / f"{part}_32x32.mat", {"X": pixels, "y": np.array([[10, 1, 2] * 3]).T})
        sums[part] = ["", f"{part}_32x32.mat", md5(root / f"{part}_32x32.mat")]
    patch.setattr(loaders.SVHN, "split_list", sums)


def stl10(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "stl10_binary"
    base.mkdir()
    for part in ("train", "test"):
        pixels = np.random.default_rng(len(part)).integers(0, 255, (9, 3, 96, 96), dtype=np.uint8)
        (base / f"{part}_X.bin").write_bytes(pixels.tobytes())
        (base / f"{part}_y.bin").write_bytes(bytes([1, 2, 3] * 3))
        names = [f"{part}_X.bin", f"{part}_y.bin"]
        patch.setattr(loaders.STL10, f"{part}_list", [[name, md5(base / name)] for name in names])
    (base / "class_names.txt").write_text("airplane\nbird\ncar\n")


def flowers102(root: Path, patch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    base = root / "flowers-102"
    for i in range(1, 19):
        layouts.picture(base / "jpg" / f"image_{i:05d}.jpg", seed=i)
    savemat(base / "imagelabels.mat", {"labels": np.array([[1, 2, 3] * 6])})
    parts = {"trnid": np.arange(1, 7), "valid": np.arange(7, 10), "tstid": np.arange(10, 19)}
    savemat(base / "setid.mat", {name: numbers[None] for name, numbers in parts.items()})
    names = {"label": "imagelabels.mat", "setid": "setid.mat"}
    sums = {key: (name, md5(base / name)) for key, name in names.items()}
    patch.setattr(loaders.Flowers102, "_file_dict", {"image": ("102flowers.tgz", ""), **sums})


def semeion(root: Path, patch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = [[*rng.integers(0, 2, 256), *(int(i % 3 == digit) for digit in range(10))] for i in range(30)]
    np.savetxt(root / "semeion.data", rows, fmt="%d")
    patch.setattr(loaders.SEMEION, "md5_checksum", md5(root / "semeion.data"))


@pytest.mark.parametrize(
    ("maker", "sizes", "first"),
    [
        (cifar10, (9, 9), "airplane"),
        (svhn, (9, 9), "0"),
        (stl10, (9, 9), "airplane"),
        (flowers102, (9, 9), "pink primrose"),
        (semeion, (24, 6), "0"),
    ],
)
def test_sets_that_torchvision_verifies_each_time_are_read(
    maker: Callable[[Path, pytest.MonkeyPatch], None],
    sizes: tuple[int, int],
    first: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The real checksums are of the real files; these are of small ones in the same layout.
    maker(tmp_path, monkeypatch)
    spec: dict[str, Any] = {"name": maker.__name__, "root": str(tmp_path)}
    dataset = datasets.create(spec)
    parts = [dataset.examples(split) for split in ("train", "test")]
    assert tuple(len(part.ids) for part in parts) == sizes
    assert all(set(part.labels.tolist()) == {0, 1, 2} for part in parts)
    assert parts[0].read(0).ndim == (2 if ROWS[maker.__name__].grey else 3)
    assert (datasets.create(spec).facts().classes or ())[0] == first
    assert json.dumps(datasets.create(spec).facts().counts)

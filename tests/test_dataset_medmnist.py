"""MedMNIST: the published files by their checksums, files of one's own in the same format, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest

from bench.cli import main
from bench.datasets import _arrays, _medical, datasets, medmnist
from bench.datasets._medical import SETS, Medical
from bench.datasets._sources import Unavailable
from bench.datasets.medmnist import MedMnist
from bench.errors import DataError, OptionError

Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "cache"


def opened(subset: str = "pneumoniamnist", **options: Any) -> MedMnist:
    found = datasets.create({"name": "medmnist", "subset": subset, **options})
    assert isinstance(found, MedMnist)
    return found


def publish(monkeypatch: pytest.MonkeyPatch, path: Path, counts: tuple[int, int, int] = (12, 4, 6)) -> None:
    """Have a file of our own be the published pneumoniamnist of 28 pixels."""
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    row = SETS["pneumoniamnist"]
    changed = Medical(row.classes, row.channels, counts, row.licence, (md5, *row.md5[1:]))
    monkeypatch.setitem(_medical.SETS, "pneumoniamnist", changed)


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> list[str]:
    """Answer downloads with a content, or with no network; return the addresses asked."""
    asked: list[str] = []

    def received(url: str, *limits: float) -> Any:
        asked.append(url)
        if content is None:
            raise Unavailable("Name or service not known")
        yield content[:1000]
        yield content[1000:]

    monkeypatch.setattr("bench.datasets._sources._received", received)
    monkeypatch.setattr(medmnist, "unreachable", lambda url: None if content is not None else "no network")
    return asked


def test_the_table_is_that_of_the_medmnist_package() -> None:
    # Of what its info.py says (medmnist 3.0.2), in the order of names.
    facts = {name: [row.channels, *row.counts, row.licence, *row.md5] for name, row in sorted(SETS.items())}
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    assert digest == "3f5c5fa8185a5c50"
    assert [len(row.classes) for _, row in sorted(SETS.items())] == [8, 2, 7, 4, 11, 11, 11, 9, 2, 5, 8]


def test_cells_are_planned_before_the_file_is_here() -> None:
    facts = opened(size=64).facts()
    assert facts.classes == ("normal", "pneumonia")
    assert facts.counts == {"train": 4708, "test": 624}
    assert opened(size=64, join_val=True).facts().counts == {"train": 5232, "test": 624}


def test_whatever_gives_other_pictures_gives_another_digest() -> None:
    specs: list[dict[str, Any]] = [{}, {"size": 64}, {"join_val": True}, {"subset": "dermamnist"}]
    assert len({opened(**spec).facts().digest for spec in specs}) == len(specs)


@pytest.mark.parametrize(("channels", "shape"), [(1, (28, 28)), (3, (28, 28, 3))])
def test_a_file_is_read_as_it_was_written(channels: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    subset = "pneumoniamnist" if channels == 1 else "bloodmnist"
    classes = len(SETS[subset].classes)
    arrays = layouts.medical_arrays(classes, (3 * classes, classes, classes), channels=channels)
    np.savez(tmp_path / "own.npz", **arrays)  # type: ignore[arg-type]
    dataset = opened(subset, path=str(tmp_path / "own.npz"))
    for split in ("train", "test"):
        part = dataset.examples(split)
        assert part.labels.tolist() == arrays[f"{split}_labels"][:, 0].tolist()
        assert part.ids[1] == f"{split}/1"
        for i in (0, len(part.labels) - 1):
            assert part.read(i).shape == shape
            assert np.array_equal(part.read(i), arrays[f"{split}_images"][i])
            part.read(i)[:] = 0  # a copy: what a reader does to it changes nothing
            assert np.array_equal(part.read(i), arrays[f"{split}_images"][i])


def test_val_is_left_out_unless_it_is_asked_to_join(tmp_path: Path) -> None:
    path = layouts.medmnist(tmp_path / "own.npz")
    assert opened(path=str(path)).facts().counts == {"train": 12, "test": 6}
    joined = opened(path=str(path), join_val=True)
    train = joined.examples("train")
    assert joined.facts().counts == {"train": 16, "test": 6}
    assert [name for name in train.ids if name.startswith("val/")] == ["val/0", "val/1", "val/2", "val/3"]
    assert np.array_equal(train.read(12), layouts.medical_arrays()["val_images"][0])


def test_a_file_of_one_s_own_needs_no_val(tmp_path: Path) -> None:
    arrays = {k: v for k, v in layouts.medical_arrays().items() if not k.startswith("val")}
    np.savez(tmp_path / "own.npz", **arrays)  # type: ignore[arg-type]
    opened(path=str(tmp_path / "own.npz")).fetch()
    with pytest.raises(DataError, match="it has no val_images"):
        opened(path=str(tmp_path / "own.npz"), join_val=True).facts()


def test_a_path_may_be_the_folder_and_is_no_part_of_the_identity(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    layouts.medmnist(tmp_path / "a" / "pneumoniamnist_64.npz", size=64)
    path = layouts.medmnist(tmp_path / "b.npz", size=64)
    one, other = opened(size=64, path=str(tmp_path / "a")), opened(size=64, path=str(path))
    assert one.facts() == other.facts()
    layouts.medmnist(path, size=64, counts=(14, 4, 6))
    assert opened(size=64, path=str(path)).facts().digest != one.facts().digest


def test_a_copy_of_the_published_file_gives_the_same_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = layouts.medmnist(tmp_path / "copy.npz")
    other = opened(path=str(path)).facts().digest
    publish(monkeypatch, path)
    assert opened(path=str(path)).facts() == opened().facts()
    assert opened().facts().digest != other


def test_fetch_downloads_verifies_and_unpacks_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = layouts.medmnist(tmp_path / "x.npz")
    publish(monkeypatch, path)
    asked = serve(monkeypatch, path.read_bytes())
    missing = opened().missing()
    assert missing is not None
    assert (missing.problem, missing.size_bytes) == (None, None)
    opened().fetch()
    opened().fetch()
    assert asked == ["https://zenodo.org/records/10519652/files/pneumoniamnist.npz?download=1"]
    assert opened().missing() is None
    assert [p.name for p in cache.rglob("*.npz")] == []
    assert np.array_equal(opened().examples("test").read(2), layouts.medical_arrays()["test_images"][2])


def test_another_file_than_the_published_one_is_not_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, layouts.medmnist(tmp_path / "x.npz").read_bytes())
    with pytest.raises(DataError, match="its checksum differs"):
        opened().fetch()
    assert [p for p in cache.rglob("*") if p.is_file()] == []


def test_offline_is_one_line_that_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, None)
    with pytest.raises(DataError) as error:
        opened("dermamnist", size=224).fetch()
    said = str(error.value)
    assert said.startswith("medmnist dermamnist could not be had. Tried: https://zenodo.org/")
    assert f"put dermamnist_224.npz into {cache / 'medmnist'}, or name it as `path`" in said
    assert "\n" not in said
    missing = opened().missing()
    assert missing is not None
    assert missing.problem == "no network"


@pytest.mark.parametrize("place", ["cache/medmnist", "home/.medmnist"])
def test_the_published_file_is_found_where_the_package_or_the_user_put_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(monkeypatch, None)
    (tmp_path / place).mkdir(parents=True)
    path = layouts.medmnist(tmp_path / place / "pneumoniamnist.npz")
    with pytest.raises(DataError, match="could not be had"):
        opened().fetch()  # it is not the published one
    publish(monkeypatch, path)
    opened().fetch()
    assert len(asked) == 1
    assert path.exists()
    assert len(opened().examples("train").labels) == 12


@pytest.mark.parametrize(
    ("subset", "said"),
    [
        ("pneumonia", "did you mean 'pneumoniamnist'?"),
        ("derma", "did you mean 'dermamnist'?"),
        ("blood", "did you mean 'bloodmnist'?"),
        ("OCT", "did you mean 'octmnist'?"),
        ("bloodmnst", "did you mean 'bloodmnist'"),
        ("cifar10", "it is one of pathmnist, "),
        ("chestmnist", "each picture has several of its 14 labels at once"),
        ("organmnist3d", "volumes, not pictures"),
    ],
)
def test_a_subset_that_cannot_be_used_is_said_with_the_reason_or_the_nearest_word(subset: str, said: str) -> None:
    with pytest.raises(OptionError) as error:
        opened(subset)
    assert said in str(error.value)
    assert error.value.path == ("subset",)


def test_only_the_published_sizes_are_taken() -> None:
    with pytest.raises(OptionError, match="size must be 28, 64, 128 or 224, not 32"):
        opened(size=32)


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> object:
        return os.mkdir, ("HACKED",)


def changed(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **{**layouts.medical_arrays(), **arrays})  # type: ignore[arg-type]


def objects(path: Path) -> None:
    evil = np.empty(12, object)
    evil[:] = [Evil() for _ in range(12)]
    changed(train_images=evil)(path)


def truncated(path: Path) -> None:
    content = layouts.medmnist(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(layouts.medmnist(path)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def lying(path: Path) -> None:
    """Write an archive whose array says that it is larger than it is."""
    whole = contents(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in whole.items():
            archive.writestr(name, content.replace(b"(12, 28, 28)", b"(99, 28, 28)"))


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def missing_part(path: Path) -> None:
    np.savez(path, **{k: v for k, v in layouts.medical_arrays().items() if k != "test_labels"})  # type: ignore[arg-type]


def many_labels(path: Path) -> None:
    """Write labels that are more than may be read whole."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (20_000,)})
    whole = {**contents(path), "train_labels.npy": head.getvalue() + bytes(20_000)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in whole.items():
            archive.writestr(name, content)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "objects": (objects, "train_images holds Python objects, which are never loaded"),
    "a pickle": (pickled, "not a zip file"),
    "half of it": (truncated, "not a zip file"),
    "a shape that is not that of the data": (lying, "train_images is cut or damaged"),
    "a part that is missing": (missing_part, "it has no test_labels"),
    "labels that fill the memory": (many_labels, "train_labels is 20,1"),
    "floats": (changed(train_images=np.zeros((12, 28, 28))), "train_images is float64 [12, 28, 28], not uint8"),
    "volumes": (changed(train_images=np.zeros((12, 28, 28, 28), np.uint8)), "train_images is uint8 [12, 28, 28, 28]"),
    "several labels": (changed(train_labels=np.zeros((12, 14), np.uint8)), "train_labels is uint8 [12, 14], not one"),
    "labels of a half": (changed(test_labels=np.full((6, 1), 0.5)), "test_labels is float64"),
    "a label below 0": (changed(test_labels=np.full((6, 1), -1)), "test_labels goes from -1 to -1"),
    "a label of a trillion": (changed(test_labels=np.full((6, 1), 10**12)), "test_labels goes from"),
    "a label of no class": (changed(test_labels=np.full((6, 1), 2)), "test_labels has a 2, and pneumoniamnist has 2"),
    "too few labels": (changed(train_labels=np.zeros((11, 1), np.uint8)), "12 pictures, train_labels 11"),
    "no test": (changed(test_images=np.zeros((0, 28, 28), np.uint8)), "test_images is uint8 [0, 28, 28]"),
    "another size": (changed(test_images=np.zeros((6, 64, 64), np.uint8)), "test_images are 64 x 64 pixels, not 28"),
    "in colour": (changed(test_images=np.zeros((6, 28, 28, 3), np.uint8)), "test_images have 3 channels"),
    "a class without examples": (changed(train_labels=np.zeros((12, 1), np.uint8)), "no example of 'pneumonia'"),
}  # fmt: skip


@pytest.mark.parametrize(("write", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_one_line_and_runs_nothing(
    write: Callable[[Path], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_arrays, "MOST_IN_MEMORY", 10_000)
    write(tmp_path / "own.npz")
    with pytest.raises(DataError) as error:
        opened(path="own.npz").facts()
    assert said in str(error.value)
    assert str(error.value).startswith("medmnist: own.npz: ")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "HACKED").exists()


def test_pixels_that_are_damaged_are_found_when_they_are_unpacked(tmp_path: Path, cache: Path) -> None:
    path = layouts.medmnist(tmp_path / "own.npz")
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("train_images.npy")
    content = bytearray(path.read_bytes())
    middle = info.header_offset + info.compress_size // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be unpacked"):
        opened(path=str(path)).fetch()
    assert not list(cache.rglob("train_images*"))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*pneumoniamnist\.npz"):
        opened(path=str(tmp_path)).facts()


def test_fetch_takes_the_subset_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = layouts.medmnist(tmp_path / "own.npz", size=64)
    words = ["medmnist", "--set", "subset=pneumoniamnist", "--set", "size=64", "--set", f"path={path}"]
    for given, code, said in (
        (words, 0, "medmnist is here"),
        ([*words[:2], "subset=pneumonia"], 2, "did you mean 'pneumoniamnist'?"),
        ([*words[:2], "subset"], 2, "write it as OPTION=VALUE"),
    ):
        monkeypatch.setattr(sys, "argv", ["bench", "data", "fetch", *given])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        assert int(end.value.code or 0) == code
        assert said in told.out + told.err

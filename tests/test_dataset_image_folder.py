"""Image folders: layouts, broken files, and what a user is told."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest
from layouts import picture
from PIL import Image

import suites
from bench import load_suite, plan
from bench.datasets import datasets
from bench.datasets._ledger import examined
from bench.datasets.image_folder import ImageFolder
from bench.errors import DataError, OptionError, SuiteError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(root: Path, **options: Any) -> ImageFolder:
    found = datasets.create({"name": "image_folder", "path": str(root), **options})
    assert isinstance(found, ImageFolder)
    return found


def ids(dataset: ImageFolder) -> dict[str, set[str]]:
    return {split: set(dataset.examples(split).ids) for split in ("train", "test")}


def refusal(root: Path, **options: Any) -> str:
    """Return the one line with which a folder is refused."""
    with pytest.raises(DataError) as error:
        opened(root, **options).facts()
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith(f"image_folder {root}: ")
    return said


def test_classes_are_sorted_and_pictures_may_lie_deep(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets", ("zebra", "Ant", "bee"), each=4)
    picture(root / "bee" / "2019" / "june" / "x.png", seed=99)
    dataset = opened(root)
    assert dataset.facts().classes == ("Ant", "bee", "zebra")
    every = ids(dataset)["train"] | ids(dataset)["test"]
    assert "bee/2019/june/x.png" in every
    train = dataset.examples("train")
    assert all((train.ids[i].split("/")[0]) == ("Ant", "bee", "zebra")[y] for i, y in enumerate(train.labels))


def test_one_folder_is_split_by_the_harness_class_by_class(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets", each=10)
    assert opened(root).facts().counts == {"train": 16, "test": 4}
    assert opened(root, test_share=0.5).facts().counts == {"train": 10, "test": 10}
    assert np.bincount(opened(root).examples("test").labels).tolist() == [2, 2]


def test_another_split_is_another_digest(tmp_path: Path) -> None:
    # Prepared pixels are kept by digest, split and index.
    root = layouts.folder(tmp_path / "pets", each=10)
    assert opened(root, test_share=0.5).facts().digest != opened(root).facts().digest


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_val_is_the_test_split_when_there_is_no_test_folder(tmp_path: Path, val: str) -> None:
    for part in ("train", val):
        layouts.folder(tmp_path / "pets" / part, each=3)
    dataset = opened(tmp_path / "pets")
    assert {name.split("/")[0] for name in ids(dataset)["test"]} == {val}
    assert {name.split("/")[0] for name in ids(dataset)["train"]} == {"train"}


def test_val_joins_the_training_pool_when_there_is_a_test_folder(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        layouts.folder(tmp_path / "pets" / part, each=3)
    dataset = opened(tmp_path / "pets")
    assert {name.split("/")[0] for name in ids(dataset)["train"]} == {"train", "val"}
    assert {name.split("/")[0] for name in ids(dataset)["test"]} == {"test"}
    assert dataset.facts().counts == {"train": 12, "test": 6}


def test_a_train_folder_alone_is_split_by_the_harness(tmp_path: Path) -> None:
    layouts.folder(tmp_path / "pets" / "train", each=10)
    assert opened(tmp_path / "pets").facts().counts == {"train": 16, "test": 4}
    assert opened(tmp_path / "pets").facts().classes == ("cat", "dog")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "vehicles", ("bus", "plane", "train"))
    assert opened(root).facts().classes == ("bus", "plane", "train")


def test_a_folder_beside_the_splits_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("train", "test", "unlabelled"):
        layouts.folder(tmp_path / "pets" / part, each=2)
    assert opened(tmp_path / "pets").facts().counts == {"train": 4, "test": 4}
    assert "left out: the folders unlabelled beside train" in caplog.text


def test_a_relative_path_starts_at_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts.folder(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    assert opened(Path("pets")).facts() == opened(tmp_path / "pets").facts()


def test_the_digest_is_of_names_and_bytes_and_not_of_the_place(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets")
    digest = opened(root).facts().digest
    shutil.copytree(root, tmp_path / "elsewhere")
    assert opened(tmp_path / "elsewhere").facts().digest == digest
    (root / "cat" / "0.png").rename(root / "cat" / "renamed.png")
    renamed = opened(root).facts().digest
    assert renamed != digest
    (root / "cat" / "renamed.png").rename(root / "cat" / "0.png")
    assert opened(root).facts().digest == digest
    picture(root / "cat" / "0.png", seed=12345)
    assert opened(root).facts().digest not in (digest, renamed)


def test_path_and_policy_are_no_part_of_the_identity(tmp_path: Path) -> None:
    from bench.registry import identity_of, runtime_of

    dataset = opened(tmp_path, on_broken="fail")
    assert identity_of(dataset) == {"name": "image_folder", "version": 1, "test_share": 0.2, "resolution": None}
    assert runtime_of(dataset) == {"path": str(tmp_path), "on_broken": "fail", "links": "inside", "group_file": None}


def test_files_that_have_not_changed_are_not_read_again(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets", ("cat",), each=3)
    read: list[str] = []

    def look(path: Path) -> int:
        read.append(path.name)
        return path.stat().st_size

    names = [f"cat/{i}.png" for i in range(3)]
    first = examined("sizes", root, names, look)
    assert examined("sizes", root, names, look) == first
    assert sorted(read) == ["0.png", "1.png", "2.png"]
    (root / "cat" / "1.png").write_bytes(b"longer" * 500)
    assert examined("sizes", root, names, look)["cat/1.png"] == 3000
    assert sorted(read) == ["0.png", "1.png", "1.png", "2.png"]


def test_new_bytes_are_noticed_under_the_old_size_and_time(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets")
    digest = opened(root).facts().digest
    path = root / "cat" / "3.png"
    before, content = path.stat(), bytearray(path.read_bytes())
    path.write_bytes(picture(tmp_path / "other.png", seed=3, size=(12, 10)).read_bytes()[: len(content)])
    os.truncate(path, len(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert opened(root).facts().digest != digest


@pytest.mark.parametrize("content", [b"", b"{", b"[1]"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, cache: Path, content: bytes) -> None:
    root = layouts.folder(tmp_path / "pets")
    facts = opened(root).facts()
    for path in (cache / "folders").glob("*.json"):
        path.write_bytes(content)
    assert opened(root).facts() == facts


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    root = layouts.folder(tmp_path / "pets")
    assert opened(root).facts() == opened(root).facts()


def png(width: int, height: int) -> bytes:
    """Return a whole, valid PNG of one colour: small as a file, `width` x `height` when it is decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeeze = zlib.compressobj(9)
    rows = b"".join(squeeze.compress(bytes(width + 1)) for _ in range(height)) + squeeze.flush()
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def hostile(folder: Path) -> dict[str, str]:
    """Put files into a class folder that look like pictures and are none; return what is wrong with each."""
    whole = picture(folder.parent.parent / "whole.jpg", size=(64, 64)).read_bytes()
    Image.new("F", (4, 4)).save(folder / "float.tif")
    (folder / "bomb.png").write_bytes(png(10_000, 10_000))
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.jpg").write_bytes(b"<html>not found</html>")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (folder / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    (folder / "gone.png").symlink_to("nowhere.png")
    return {
        "float.tif": "floating-point",
        "bomb.png": "more than 89,000,000 pixels",
        "cut.jpg": "truncated",
        "empty.png": "not a picture",
        "page.jpg": "not a picture",
        "phone.heic": "not a picture",
        "program.png": "not a picture",
        "gone.png": "No such file",
    }


def test_broken_files_are_named_with_the_reason_and_not_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = layouts.folder(tmp_path / "pets", each=10)
    whole = opened(root).facts()
    reasons = hostile(root / "cat")
    assert opened(root).facts() == whole
    (line,) = [record.message for record in caplog.records if "left out" in record.message]
    assert "\n" not in line
    assert f"left out: {len(reasons)} of {20 + len(reasons)} pictures" in line
    for name, reason in reasons.items():
        assert name in line
        assert reason in line[line.index(name) :].split(")")[0]


def test_broken_files_are_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = layouts.folder(tmp_path / "pets", each=10)
    (root / "cat" / "x.png").write_bytes(b"")
    for _ in range(3):
        opened(root).facts()
    assert len([record for record in caplog.records if "left out" in record.message]) == 1


def test_many_broken_files_make_one_short_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = layouts.folder(tmp_path / "pets", each=10)
    for i in range(40):
        (root / "cat" / f"broken{i}.png").write_bytes(b"")
    opened(root).facts()
    assert "left out: 40 of 60 pictures" in caplog.text
    assert "and 30 more" in caplog.text


def test_broken_files_stop_the_plan_when_the_policy_says_so(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets", each=10)
    opened(root, on_broken="fail").facts()
    (root / "dog" / "x.jpg").write_bytes(b"no picture")
    said = refusal(root, on_broken="fail")
    assert "1 of 21 pictures can't be decoded: dog/x.jpg (not a picture that Pillow can read here)" in said


def test_a_picture_that_breaks_after_planning_is_named(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets")
    train = opened(root).examples("train")
    (root / train.ids[0]).write_bytes(b"broken since")
    with pytest.raises(DataError, match=rf"{train.ids[0]} can no longer be decoded"):
        train.read(0)


def test_what_is_no_picture_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = layouts.folder(tmp_path / "pets")
    facts = opened(root).facts()
    for name in ("notes.txt", "Thumbs.db", ".hidden.png", ".thumbnails/0.png", "no_suffix"):
        path = root / "cat" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"anything")
    os.mkfifo(root / "cat" / "pipe.png")
    assert opened(root).facts() == facts
    assert "left out" not in caplog.text


def test_suffixes_in_capitals_count(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets")
    (root / "cat" / "0.png").rename(root / "cat" / "0.PNG")
    assert sum((opened(root).facts().counts or {}).values()) == 12


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    layouts.folder(tmp_path / "store", ("cat", "dog"), each=10)
    root = tmp_path / "pets"
    root.mkdir()
    for label in ("cat", "dog"):
        (root / label).symlink_to(tmp_path / "store" / label)
    (tmp_path / "store" / "cat" / "up").symlink_to(root)
    (tmp_path / "store" / "cat" / "self").symlink_to(tmp_path / "store" / "cat")
    every = ids(opened(root, links="all"))["train"] | ids(opened(root, links="all"))["test"]
    assert {f"{label}/{i}.png" for label in ("cat", "dog") for i in range(10)} <= every
    assert not any("self" in name for name in every)


def test_names_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets")
    odd = root / "cat" / os.fsdecode(b"\xff\n.png")
    picture(tmp_path / "odd.png", seed=77).rename(odd)
    dataset = opened(root)
    train, test = dataset.examples("train"), dataset.examples("test")
    (name,) = [n for n in (*train.ids, *test.ids) if "xff" in n]
    assert name == "cat/\\xff\\x0a.png"
    assert name.isprintable()


def test_one_colour_picture_makes_the_whole_set_colour(tmp_path: Path) -> None:
    # The first picture of a split decides how the harness stores them all.
    root = tmp_path / "pets"
    for label in ("cat", "dog"):
        for i in range(6):
            picture(root / label / f"{i}.png", seed=i, grey=True)
    grey = opened(root)
    assert {grey.examples(s).read(i).ndim for s in ("train", "test") for i in range(2)} == {2}
    picture(root / "dog" / "z.png", seed=50)
    mixed = opened(root)
    for split in ("train", "test"):
        part = mixed.examples(split)
        assert {part.read(i).shape for i in range(len(part.ids))} == {(10, 12, 3)}


def test_pictures_in_training_pool_and_test_split_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "pets"
    for part in ("train", "test"):
        layouts.folder(root / part, each=3)
    opened(root).facts()
    assert "byte for byte" not in caplog.text
    for i in range(2):
        shutil.copy(root / "train" / "cat" / f"{i}.png", root / "test" / "cat" / f"copy{i}.png")
    opened(root).facts()
    assert "in the training pool and in the test split, byte for byte: 2 pictures" in caplog.text


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").endswith("there is no such folder")
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file").endswith("is a file, not a folder")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "no pictures; they go into one folder a class"),
        (["cat/notes.txt", "cat/more.txt", "dog/x"], "there are 2 .txt files, 1 other files"),
        (["1.png", "2.png"], "there are 2 pictures outside of one"),
        (["cat/1.png", "cat/2.png"], "there is one class folder, cat; at least 2 are needed"),
        (["cat/1.png", "cat/2.png", "dog/1.png"], "every class needs 2 usable pictures"),
        (["cat/1.png", "cat/2.png", "dog/1.png"], "dog has 1"),
        (["cat/1.png", "cat/2.png", "dog/1.txt"], "dog has 0"),
        (["train/cat/1.png", "train/dog/1.png", "test/cat/1.png"], "test has no dog"),
        (["train/cat/1.png", "val/cat/1.png", "val/dog/1.png"], "train has no dog"),
        (["train/cat/1.png", "train/dog/1.png", "test/1.png"], "test has no cat, dog"),
        (["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.txt"], "dog has 0 in test"),
        (["test/cat/1.png", "test/dog/1.png"], "there is test, but no train folder beside it"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path, files: list[str], words: str) -> None:
    root = tmp_path / "pets"
    root.mkdir()
    for i, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            picture(root / name, seed=i)
        else:
            (root / name).write_text("text")
    assert words in refusal(root)


def test_a_class_whose_pictures_are_all_broken_is_refused_and_they_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = layouts.folder(tmp_path / "pets")
    for path in (root / "dog").iterdir():
        path.write_bytes(b"")
    assert "dog has 0" in refusal(root)
    assert "dog/0.png" in caplog.text


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(OptionError, match="test_share must be between 0 and 1"):
        opened(tmp_path, test_share=share)


def test_a_size_that_only_broken_files_would_reach_is_refused_where_it_is_written(tmp_path: Path) -> None:
    root = layouts.folder(tmp_path / "pets", each=10)
    hostile(root / "cat")

    def planned(size: int) -> int:
        matrix = {"dataset": [{"name": "image_folder", "path": str(root)}], "size": [size]}
        suite = suites.write(tmp_path, {"matrix": matrix, "task": {"test_size": None}})
        return len(plan(load_suite(suite)).entries)

    assert planned(16) == 1
    with pytest.raises(SuiteError, match=r"toy.yaml:\d+:\d+: size 17 is larger than the data: 16 training examples"):
        planned(17)

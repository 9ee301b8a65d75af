"""Broken and odd image folders: the exact line with which each is refused, or what of it is used and what is told."""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import layouts
import numpy as np
import pytest
from layouts import picture
from PIL import Image

from bench.datasets import datasets
from bench.datasets.image_folder import ImageFolder
from bench.errors import DataError


@dataclass(frozen=True)
class Odd:
    """A folder: how it is made, and the line that refuses it, or the pictures used (train, test) and the line told."""

    title: str
    make: Callable[[Path], object]
    refused: str = ""
    used: tuple[int, int] = (0, 0)
    told: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def pets(root: Path) -> Path:
    """Make two classes of ten pictures."""
    return layouts.folder(root, ("cat", "dog"), each=10)


def beside(name: str, content: bytes | Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what makes pets with one more file, of these bytes or made by a function of its path."""

    def make(root: Path) -> None:
        path = pets(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content(path)

    return make


def left_out(name: str, why: str) -> str:
    return f"image_folder ROOT: left out: 1 of 21 pictures, which can't be decoded: {name} ({why})"


TRUNCATED = "image file is truncated (N bytes not processed)"
TOO_LARGE = "more than 89,000,000 pixels"
NO_PICTURE = "not a picture that Pillow can read here"


def bad(title: str, name: str, content: bytes | Callable[[Path], object], why: str = NO_PICTURE) -> Odd:
    return Odd(title, beside(name, content), used=(16, 4), told=left_out(name, why))


def fine(title: str, name: str, content: bytes | Callable[[Path], object]) -> Odd:
    """One more picture of cats, which is used."""
    return Odd(title, beside(name, content), used=(17, 4))


def unseen(title: str, name: str, content: bytes | Callable[[Path], object]) -> Odd:
    """What is no picture by its name, and is passed over without a word."""
    return Odd(title, beside(name, content), used=(16, 4))


def saved(mode: str, size: tuple[int, int] = (12, 10), **options: Any) -> Callable[[Path], None]:
    """Return what saves a picture of a mode under a path, in the format of its suffix."""

    def make(path: Path) -> None:
        pixels = np.random.default_rng(5).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path, **options)

    return make


def png(width: int, height: int, rows: bytes = b"", kind: int = 0, depth: int = 8) -> bytes:
    """Return a PNG that says it is so large, with these rows in it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">2I5B", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def sixteen(path: Path) -> None:
    Image.fromarray(np.full((10, 12), 40_000, np.uint16)).save(path)


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "blue", "green")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=1)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 20), "red").save(path, exif=exif)


def damaged_exif(path: Path) -> None:
    Image.new("RGB", (12, 10), "red").save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 20)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil.png", b"x")


def cut(path: Path, share: float = 0.5, size: tuple[int, int] = (64, 64)) -> None:
    picture(path, size=size)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


def outside(root: Path) -> Path:
    """Make a folder of one picture beside the root."""
    picture(root.parent / "elsewhere" / "secret.png", seed=4711)
    return root.parent / "elsewhere"


def link(at: str, to: Callable[[Path], Path | str]) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        pets(root)
        (root / at).parent.mkdir(parents=True, exist_ok=True)
        (root / at).symlink_to(to(root))

    return make


def many_ways(root: Path) -> None:
    """Make 30 folders, each in the one before it by two links: a thousand million ways through them."""
    pets(root)
    for i in range(30):
        (root / "cat" / f"d{i}").mkdir()
        if i:
            for name in ("a", "b"):
                (root / "cat" / f"d{i - 1}" / name).symlink_to(root / "cat" / f"d{i}")
    picture(root / "cat" / "d29" / "deep.png", seed=29)


def deep(root: Path) -> None:
    pets(root)
    path = root / "cat" / "/".join(["d"] * 200)
    path.mkdir(parents=True)
    picture(path / "x.png", seed=200)


def classes(*names: str | bytes, each: int = 2) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for number, name in enumerate(names):
            for i in range(each):
                path = picture(root.parent / "made.png", seed=100 * number + i)
                place = root / os.fsdecode(name)
                place.mkdir(parents=True, exist_ok=True)
                path.rename(place / f"{i}.png")

    return make


def tree(*names: str) -> Callable[[Path], None]:
    """Return what makes these files, a picture where the suffix is one's, and these folders, which end in a slash."""

    def make(root: Path) -> None:
        root.mkdir(parents=True)
        for i, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir()
            elif name.endswith(".png"):
                picture(path, seed=i)
            else:
                path.write_text("text")

    return make


TWO = ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")
CASES = [
    # pictures that are none
    bad("a zip named png", "cat/x.png", zipped),
    bad("a page named jpg", "cat/x.jpg", b"<html>404</html>"),
    bad("an empty file", "cat/x.png", b""),
    bad("a program of PostScript", "cat/x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"),
    bad("a picture of HEIC", "cat/x.heic", b"\0\0\0\x18ftypheic" + bytes(100)),
    bad("an SVG", "cat/x.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
    bad("a PDF named png", "cat/x.png", b"%PDF-1.7\n"),
    bad("a pickle named png", "cat/x.png", b"\x80\x04cos\nsystem\n"),
    bad("a JPEG cut short", "cat/x.jpg", cut, TRUNCATED),
    bad("a PNG cut short", "cat/x.png", cut, "image file is truncated"),
    bad("a GIF cut short", "cat/x.gif", cut, TRUNCATED),
    bad("a JPEG of its header alone", "cat/x.jpg", lambda path: cut(path, 0.15), "Truncated File Read"),
    bad("a PNG of nothing", "cat/x.png", png(0, 0)),
    bad("a PNG with no rows", "cat/x.png", png(100, 100), TRUNCATED),
    bad("a bomb of 30,000 by 30,000 pixels", "cat/x.png", png(30_000, 30_000, bytes(30_001)), TOO_LARGE),
    bad("a bomb of 2,000,000,000 by 2,000,000,000 pixels", "cat/x.png", png(2**31 - 1, 2**31 - 1), TOO_LARGE),
    bad("a bomb just over the limit", "cat/x.png", png(10_000, 9_000), f"10000 x 9000 is {TOO_LARGE}"),
    bad("a bomb in a PPM of 20 bytes", "cat/x.ppm", b"P6 60000 60000 255\n", TOO_LARGE),
    bad("a picture of floating-point numbers", "cat/x.tif", saved("F"), "floating-point pixels have no agreed range"),
    bad("a link to nothing", "cat/x.png", lambda path: path.symlink_to("gone.png"), "No such file or directory"),
    bad("a link to itself", "cat/x.png", lambda path: path.symlink_to("x.png"), "Too many levels of symbolic links"),
    # pictures that are odd
    fine("one pixel", "cat/x.png", saved("RGB", (1, 1))),
    fine("one pixel in one row of 20,000", "cat/x.png", saved("RGB", (20_000, 1))),
    fine("16 bits", "cat/x.png", sixteen),
    fine("CMYK", "cat/x.jpg", saved("CMYK")),
    fine("a palette", "cat/x.png", saved("P")),
    fine("one bit", "cat/x.png", saved("1")),
    fine("grey and transparent", "cat/x.png", saved("LA")),
    fine("colour and transparent", "cat/x.webp", saved("RGBA")),
    fine("YCbCr", "cat/x.jpg", saved("YCbCr")),
    fine("LAB", "cat/x.tif", saved("LAB")),
    fine("an animation", "cat/x.gif", animated),
    fine("turned by EXIF", "cat/x.jpg", turned),
    fine("EXIF that is damaged", "cat/x.jpg", damaged_exif),
    fine("a PNG named jpg", "cat/x.jpg", png(2, 2, b"\0\1\2" * 2)),
    fine("a suffix in capitals", "cat/X.PNG", lambda path: saved("RGB")(path)),
    fine("a name of 250 letters", f"cat/{'x' * 246}.png", lambda path: saved("RGB")(path)),
    fine("a name that no text is", os.fsdecode(b"cat/\xff\n\x1b[2J.png"), lambda path: saved("RGB")(path)),
    fine("200 folders deep", f"cat/{'d/' * 200}x.png", lambda path: saved("RGB")(path)),
    # what is no picture by its name
    unseen("a text", "cat/notes.txt", b"x"),
    unseen("a hidden file", "cat/.x.png", b"x"),
    unseen("a hidden folder", "cat/.thumbs/x.png", b"x"),
    unseen("a pipe", "cat/x.png", os.mkfifo),
    # links
    Odd("a picture out of the folder", link("cat/x.png", lambda r: outside(r) / "secret.png"), used=(16, 4),
        told="image_folder ROOT: left out: links that lead out of it, which links: all follows: cat/x.png"),
    Odd("a picture out of the folder, asked for", link("cat/x.png", lambda r: outside(r) / "secret.png"), used=(17, 4),
        options={"links": "all"}),
    Odd("a class out of the folder", link("eel", outside),
        refused="every class needs 2 usable pictures, one to learn from and one for test; eel has 0"),
    Odd("the whole machine as a class", link("eel", lambda r: "/"),
        refused="every class needs 2 usable pictures, one to learn from and one for test; eel has 0"),
    Odd("the whole machine in a class", link("cat/all", lambda r: "/"), used=(16, 4),
        told="image_folder ROOT: left out: links that lead out of it, which links: all follows: cat/all"),
    Odd("the training pool out of the folder",
        lambda r: (tree("test/cat/1.png", "test/dog/1.png")(r), (r / "train").symlink_to(outside(r))),
        refused="train is a link that leads out of it; links: all follows it"),
    Odd("a folder inside itself", link("cat/self", lambda r: r / "cat"), used=(16, 4),
        told="image_folder ROOT: left out: links to folders that are read already: cat/self"),
    Odd("two links to each other",
        lambda r: (link("cat/a.png", lambda r: "b.png")(r), (r / "cat" / "b.png").symlink_to("a.png")), used=(16, 4),
        told="image_folder ROOT: left out: 2 of 22 pictures, which can't be decoded: cat/a.png (Too many levels of "
        "symbolic links), cat/b.png (Too many levels of symbolic links)"),
    Odd("a class that is a link to another", link("ant", lambda r: r / "cat"),
        refused="every class needs 2 usable pictures, one to learn from and one for test; ant has 0"),
    Odd("a thousand million ways through 30 folders", many_ways, used=(17, 4),
        told="image_folder ROOT: left out: links to folders that are read already: " + ", ".join(
            f"cat/d{i}/{name}" for i in (0, 1, 10, 11, 12) for name in "ab") + " and 48 more"),
    # classes
    Odd("nothing", tree(), refused="no pictures; they go into one folder a class"),
    Odd("nothing but folders", tree("cat/", "dog/"), refused="no pictures; they go into one folder a class"),
    Odd("a file", lambda r: r.write_text("x"), refused="is a file, not a folder"),
    Odd("an archive", zipped, refused="is a file, not a folder"),
    Odd("nowhere", lambda r: None, refused="there is no such folder"),
    Odd("nothing but links out of it", lambda r: (r.mkdir(), (r / "cat").symlink_to(outside(r))),
        refused="no pictures; they go into one folder a class; there are links that lead out of it, which links: all "
        "follows: cat"),
    Odd("a loop", lambda r: r.symlink_to(r), refused="there is no such folder"),
    Odd("no classes", tree("1.png", "2.png"),
        refused="no pictures; they go into one folder a class; there are 2 pictures outside of one"),
    Odd("one class", tree("cat/1.png", "cat/2.png"), refused="there is one class folder, cat; at least 2 are needed"),
    Odd("an empty class", tree(*TWO, "eel/"),
        refused="every class needs 2 usable pictures, one to learn from and one for test; eel has 0"),
    Odd("a class of one picture", tree(*TWO, "eel/1.png"),
        refused="every class needs 2 usable pictures, one to learn from and one for test; eel has 1"),
    Odd("a class of texts", tree(*TWO, "eel/1.txt"),
        refused="every class needs 2 usable pictures, one to learn from and one for test; eel has 0"),
    Odd("a test without a class", tree("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"),
        refused="the parts have different class folders: test has no dog"),
    Odd("a test without a training pool", tree("test/cat/1.png", "test/dog/1.png"),
        refused="there is test, but no train folder beside it"),
    Odd("pictures beside the classes", tree(*TWO, "loose.png"), used=(2, 2),
        told="image_folder ROOT: left out: 1 picture outside the class folders"),
    Odd("the same class in two forms of Unicode", classes("caf\u00e9", "cafe\u0301"),
        refused="class folders whose names look the same: caf\u00e9"),
    Odd("a byte and its escape", classes(b"\xff", "\\xff"), refused="class folders whose names look the same: \\xff"),
    Odd("classes with markup", classes("<img src=x onerror=alert(1)>", "a|b", "=1+1", "`x`", "[x](javascript:y)"),
        used=(5, 5)),
    Odd("classes with the codes of a terminal", classes("\x1b[31mred", "\u202eder", "a\nb"), used=(3, 3)),
    Odd("classes of Windows' devices, spaces and dashes", classes("CON", " ", "-rf", "~", "$HOME", "%s"), used=(6, 6)),
    Odd("any broken picture stops it, asked for", beside("cat/x.png", b""), options={"on_broken": "fail"},
        refused=f"1 of 21 pictures can't be decoded: cat/x.png ({NO_PICTURE})"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def told(root: Path, caplog: pytest.LogCaptureFixture) -> str:
    lines = "\n".join(r.message for r in caplog.records if r.name == "bench").replace(str(root), "ROOT")
    return re.sub(r"\d+ bytes not processed", "N bytes not processed", lines)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("odd", CASES, ids=lambda odd: odd.title)
def test_an_odd_folder_is_refused_in_one_line_or_used_as_it_is_told(
    odd: Odd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "data" / "root"
    root.parent.mkdir()
    odd.make(root)
    dataset = datasets.create({"name": "image_folder", "path": str(root), **odd.options})
    if odd.refused:
        with pytest.raises(DataError) as raised:
            dataset.facts()
        assert str(raised.value) == f"image_folder {root}: {odd.refused}"
        return
    counts = dataset.facts().counts or {}
    assert (counts["train"], counts["test"]) == odd.used
    assert told(root, caplog) == odd.told
    assert all(name.isprintable() for name in [*(dataset.facts().classes or ()), *ids(dataset)])
    for split in ("train", "test"):
        part = dataset.examples(split)
        for i in range(len(part.ids)):
            pixels = part.read(i)
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3


def ids(dataset: ImageFolder) -> Iterator[str]:
    for split in ("train", "test"):
        yield from dataset.examples(split).ids


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize(("name", "used"), [("cat/0.png", True), ("cat", False), (".", False)])
def test_what_cannot_be_read_is_told(name: str, used: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = pets(tmp_path / "root")
    (root / name).chmod(0)
    dataset = datasets.create({"name": "image_folder", "path": str(root)})
    try:
        if used:
            assert dataset.facts().counts == {"train": 15, "test": 4}
            assert "cat/0.png (Permission denied)" in caplog.text
        else:
            with pytest.raises(DataError, match="Permission denied"):
                dataset.facts()
    finally:
        (root / name).chmod(0o755)


def test_there_are_more_than_forty() -> None:
    assert len(CASES) == len({odd.title for odd in CASES}) >= 40

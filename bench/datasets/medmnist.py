"""MedMNIST: medical pictures of eleven kinds in small sizes, as the files of the medmnist package."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.cell import canonical
from bench.datasets import Download, Examples, Facts, datasets
from bench.datasets._arrays import header, mapped, unpack, whole
from bench.datasets._cache import cache_dir
from bench.datasets._ledger import examined
from bench.datasets._medical import OTHERS, RECORD, SETS, SIZES
from bench.datasets._pictures import check_resolution, problem
from bench.datasets._sources import download, unreachable
from bench.errors import DataError, OptionError, did_you_mean, nearest, quoted
from bench.files import typed
from bench.registry import runtime_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger("bench")

# Where the medmnist package keeps its files.
PACKAGE_FOLDER = "~/.medmnist"
MOST_CLASSES = 1000


@datasets.register
@dataclass(frozen=True)
class MedMnist:
    """The two-dimensional sets of MedMNIST v2 with one class a picture (Yang et al., Scientific Data 2023).

    subset    pneumoniamnist, dermamnist, bloodmnist, ...; the grades of retinamnist are taken as classes without order
    size      the edge of the published pictures in pixels
    join_val  the authors' validation part joins the training pool. By default it is left out: published results are
              of models trained without it, and the harness carves validation sets out of the labelled budget
    path      a file of the package's format, or a folder with one, instead of the published file: uint8 train_images
              and test_images [n, size, size] or [n, size, size, 3], whole train_labels and test_labels [n, 1] or [n]

    The file comes from `path`, the cache, the package's own folder, or Zenodo, and its MD5 is that of the medmnist
    package. One at `path` that is the published file gives the same cells, another one others. It is unpacked once into
    the cache, and read from there without being held in memory.
    """

    name: ClassVar[str] = "medmnist"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "image"
    licence: ClassVar[str] = "CC BY 4.0; dermamnist CC BY-NC 4.0"
    source: ClassVar[str] = f"{RECORD} (subset: {', '.join(SETS)})"

    subset: str
    size: Literal[28, 64, 128, 224] = 28
    join_val: bool = False
    path: str | None = runtime_option(None)
    resolution: int | None = None

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        if self.subset in OTHERS:
            raise OptionError(f"subset {self.subset} can't be used: {OTHERS[self.subset]}", ("subset",))
        if self.subset not in SETS:
            short = f"{self.subset.lower()}mnist"
            close = [short] if short in SETS else nearest(self.subset, SETS)
            hint = did_you_mean(close) or f"; it is one of {', '.join(SETS)}"
            raise OptionError(f"unknown subset {quoted(self.subset)}{hint}", ("subset",))
        if self.path == "":
            raise OptionError("path is empty; name a file or its folder", ("path",))

    def facts(self) -> Facts:
        """Return the facts: those of the published file, or of the one at `path`, which is read through once."""
        digest = hashlib.sha256(
            canonical([self.name, self.version, self.subset, self.size, self._content, self.join_val])
        )
        counts = {split: sum(self._counts[part] for part in self._parts(split)) for split in ("train", "test")}
        return Facts(digest.hexdigest(), self._row.classes, counts)

    def fetch(self) -> None:
        """Get the file and unpack it into the cache, or do nothing when that was done. Raises DataError."""
        if self._is_unpacked():
            return
        here = self._file()
        kept = here or cache_dir() / self.name / self._file_name
        if here is None:
            download(f"{self.name} {self.subset}", self._url, kept, self._md5, self._offline())
        self._unpack(kept)
        if here is None:
            kept.unlink(missing_ok=True)

    def missing(self) -> Download | None:
        """Return what `fetch` would get; its size is not known before the server is asked."""
        if self.path is not None or self._is_unpacked() or self._file() is not None:
            return None
        return Download(self._url, None, unreachable(self._url))

    def examples(self, split: str) -> Examples:
        """Return one split; its pictures are read from the disk one by one."""
        import numpy as np

        self.fetch()
        parts = self._parts(split)
        try:
            pictures = [mapped(self._folder, f"{part}_images") for part in parts]
            labels = [mapped(self._folder, f"{part}_labels").reshape(-1).astype(np.int64) for part in parts]
        except (OSError, ValueError) as error:
            raise DataError(f"{self.name}: {self._folder} is damaged ({error}); remove it and try again") from error
        rows = [(of, i) for of, held in enumerate(labels) for i in range(len(held))]

        def read(i: int) -> NDArray[np.uint8]:
            of, row = rows[i]
            return np.array(pictures[of][row])

        return Examples([f"{parts[of]}/{i}" for of, i in rows], np.concatenate(labels), read)

    def _parts(self, split: str) -> list[str]:
        return ["train", "val"] if split == "train" and self.join_val else [split]

    @property
    def _row(self) -> Any:
        return SETS[self.subset]

    @property
    def _md5(self) -> str:
        md5: str = self._row.md5[SIZES.index(self.size)]
        return md5

    @property
    def _file_name(self) -> str:
        return f"{self.subset}{'' if self.size == SIZES[0] else f'_{self.size}'}.npz"

    @property
    def _url(self) -> str:
        return f"{RECORD}/files/{self._file_name}?download=1"

    @property
    def _content(self) -> str:
        """What names the content of the file: its published MD5, or the SHA-256 of another one."""
        if self._own is None or self._own["md5"] == self._md5:
            return self._md5
        sha256: str = self._own["sha256"]
        return sha256

    @property
    def _counts(self) -> Mapping[str, int]:
        if self._own is None:
            return dict(zip(("train", "val", "test"), self._row.counts, strict=True))
        return {part: sum(counts) for part, counts in self._own["labels"].items()}

    @property
    def _folder(self) -> Path:
        return cache_dir() / self.name / f"{Path(self._file_name).stem}-{self._content[:16]}"

    def _is_unpacked(self) -> bool:
        parts = {part for split in ("train", "test") for part in self._parts(split)}
        return all((self._folder / f"{part}_{what}.npy").is_file() for part in parts for what in ("images", "labels"))

    def _file(self) -> Path | None:
        """Return the file on this machine; the published one where it lies in one of the usual folders, or None."""
        if self.path is not None:
            return self._at(typed(self.path))
        for folder in (cache_dir() / self.name, typed(PACKAGE_FOLDER)):
            path = folder / self._file_name
            if path.is_file():
                found = _looked(path)
                if found.get("md5") == self._md5:
                    return path
                log.info("%s: %s is not the published file, and is left alone", self.name, path)
        return None

    def _at(self, place: Path) -> Path:
        try:
            path = place / self._file_name if place.is_dir() else place
            if not path.is_file():
                raise DataError(f"{self.name}: there is no file {path}")
        except OSError as error:
            raise DataError(f"{self.name}: {place}: {error.strerror}") from None
        return path

    @cached_property
    def _own(self) -> dict[str, Any] | None:
        """Return what is in the file at `path`, None without a `path`. Raises DataError unless it is of this set."""
        if self.path is None:
            return None
        path = self._at(typed(self.path))
        found = _looked(path)
        wrong = found.get("problem") or self._unlike(found)
        if wrong:
            raise DataError(f"{self.name}: {path}: {wrong}")
        return found

    def _unlike(self, found: Mapping[str, Any]) -> str | None:
        """Say what in a file is not as the set has it."""
        classes, channels = self._row.classes, self._row.channels
        for split in ("train", "test"):
            for part in self._parts(split):
                if part not in found["shapes"]:
                    return f"it has no {part}_images"
                if (shape := found["shapes"][part]) != [self.size, self.size]:
                    return f"{part}_images are {shape[0]} x {shape[1]} pixels, not {self.size}, as `size` says"
                if found["channels"][part] != channels:
                    return f"{part}_images have {found['channels'][part]} channels, {self.subset} has {channels}"
                if (most := len(found["labels"][part]) - 1) >= len(classes):
                    return f"{part}_labels has a {most}, and {self.subset} has {len(classes)} classes from 0"
        train = [0] * len(classes)
        for part in self._parts("train"):
            for label, count in enumerate(found["labels"][part]):
                train[label] += count
        lacks = [name for name, count in zip(classes, train, strict=True) if not count]
        return f"train has no example of {lacks[0]!r}" if lacks else None

    def _unpack(self, path: Path) -> None:
        log.info("%s: unpacking %s into %s", self.name, path, self._folder)
        parts = dict.fromkeys(part for split in ("train", "test") for part in self._parts(split))
        names = [f"{part}_{what}" for part in parts for what in ("images", "labels")]
        try:
            unpack(path, names, self._folder)
        except Exception as error:
            raise DataError(f"{self.name}: {path} cannot be unpacked into {self._folder}: {problem(error)}") from error

    def _offline(self) -> str:
        return f"put {self._file_name} into {cache_dir() / self.name}, or name it as `path`"


def _looked(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = examined("medmnist 1", path.parent, [path.name], _look)[path.name]
    return found


def _look(path: Path) -> dict[str, Any]:
    """Return what is in a file: its checksums, and of each part the pictures' shape and channels and the class counts.

    Only `problem` when something is wrong with it. Nothing is unpickled.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        found: dict[str, Any] = {"md5": md5, "sha256": sha256, "shapes": {}, "channels": {}, "labels": {}}
        with zipfile.ZipFile(path) as archive:
            there = set(archive.namelist())
            for part in ("train", "val", "test"):
                if part == "val" and not {"val_images.npy", "val_labels.npy"} & there:
                    continue
                shape, counts = _pictures(archive, part), _labels(archive, part)
                if sum(counts) != shape[0]:
                    return {"problem": f"{part}_images has {shape[0]} pictures, {part}_labels {sum(counts)} labels"}
                found["shapes"][part], found["labels"][part] = list(shape[1:3]), counts
                found["channels"][part] = 3 if len(shape) == 4 else 1
    except Exception as error:  # noqa: BLE001 - on hostile bytes a decoder may raise anything
        return {"problem": problem(error)}
    return found


def _pictures(archive: zipfile.ZipFile, part: str) -> tuple[int, ...]:
    shape, kind = header(archive, f"{part}_images")
    if kind != "uint8" or not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)) or 0 in shape:
        told = ", ".join(map(str, shape))
        raise ValueError(f"{part}_images is {kind} [{told}], not uint8 [n, height, width] or [n, height, width, 3]")
    return shape


def _labels(archive: zipfile.ZipFile, part: str) -> list[int]:
    import numpy as np

    shape, kind = header(archive, f"{part}_labels")
    if kind.kind not in "iu" or not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        told = ", ".join(map(str, shape))
        raise ValueError(f"{part}_labels is {kind} [{told}], not one whole number an example, [n, 1] or [n]")
    labels = whole(archive, f"{part}_labels").reshape(-1)
    if len(labels) and not 0 <= labels.min() <= labels.max() < MOST_CLASSES:
        raise ValueError(f"{part}_labels goes from {labels.min()} to {labels.max()}; classes are counted from 0")
    return [int(count) for count in np.bincount(labels.astype(np.int64))]

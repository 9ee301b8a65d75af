"""torchvision's classification sets by name, through torchvision's own loaders: `dataset: cifar10`."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import socket
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.cell import canonical
from bench.datasets import Download, Examples, Facts, datasets
from bench.datasets._cache import cache_dir, keep_json, read_json
from bench.datasets._ledger import examined, files_below
from bench.datasets._pictures import check_resolution, in_colour, pixels, problem
from bench.datasets._published import PUBLISHED, Published
from bench.datasets._sources import ANSWER_SECONDS
from bench.datasets._split import stratified
from bench.errors import DataError
from bench.files import sha256_of, typed
from bench.registry import runtime_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger("bench")

TEST_SHARE = 0.2
ARCHIVES = (".gz", ".tar", ".tgz", ".zip")


@dataclass(frozen=True)
class Torchvision:
    """One of torchvision's sets. Without a test split of its authors, the harness keeps 20 % of each class for test.

    A `val` part joins the training pool: the harness carves its own validation set out of the labelled budget. Labels
    are numbered from 0 without gaps. Until the data are here, classes are numbered and counts are the published ones.

    root  the folder of a copy that you have, in the layout that torchvision keeps below its own `root`. Without it, the
          data are downloaded into the cache, where torchvision verifies what it fetches.

    The digest of what is downloaded is of the checksums that torchvision's source pins, so cells can be planned before
    the data are here; that of a `root`, and of a set without a pinned checksum, is of the files. The two differ.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "image"
    licence: ClassVar[str]
    source: ClassVar[str]
    published: ClassVar[Published]

    root: str | None = runtime_option(None)
    resolution: int | None = None

    def __post_init__(self) -> None:
        check_resolution(self.resolution)

    def facts(self) -> Facts:
        """Return the facts. Nothing is downloaded; a `root` is read through the first time."""
        if card := read_json(_card(self._digest)):
            return Facts(self._digest, tuple(card["classes"]), card["counts"])
        *train, test = self.published.counts
        if not train:
            train, test = [test - round(test * TEST_SHARE)], round(test * TEST_SHARE)
        return Facts(self._digest, tuple(map(str, range(self.published.classes))), {"train": train[0], "test": test})

    def fetch(self) -> None:
        """Download the set into the cache, whole or not at all, or check the copy in `root`. Raises DataError."""
        if self.root is None and not self._folder.is_dir():
            self._download()
        self._loaded()

    def missing(self) -> Download | None:
        """Return that torchvision has to download the set; whether its server answers is not tried."""
        if self.root is not None or self._folder.is_dir():
            return None
        return Download(f"torchvision, from where its authors keep it: {self.source}")

    def examples(self, split: str) -> Examples:
        """Return one split, downloading the set when it is not here. Small pictures are held in memory."""
        self.fetch()
        loaded = self._loaded()
        rows = loaded.rows[split]

        def read(i: int) -> NDArray[np.uint8]:
            part, index = rows[i]
            try:
                picture = pixels(loaded.parts[part][int(index)][0])
            except Exception as error:
                raise DataError(f"{self.name}: {split}/{i} cannot be decoded: {problem(error)}") from error
            return picture if self.published.grey else in_colour(picture)

        return Examples([f"{split}/{i}" for i in range(len(rows))], loaded.labels[split], read)

    @property
    def _folder(self) -> Path:
        if self.root is not None:
            return typed(self.root)
        return cache_dir() / "torchvision" / (self.published.home or self.published.name)

    @cached_property
    def _digest(self) -> str:
        row = self.published
        content: Sequence[Any] = _pins(row.loader) if self.root is None else ()
        if not content:
            self._check_here()
            content = _content(row, self._folder)
        share = None if row.test else TEST_SHARE
        return hashlib.sha256(canonical([row.loader, self.version, row.train, row.test, share, content])).hexdigest()

    def _check_here(self) -> None:
        """Raise DataError when the files, which are needed to plan, are not here."""
        self._check_source()
        if self.root is None and not self._folder.is_dir():
            raise DataError(
                f"{self.name}: torchvision pins no checksum of it, so it must be here to be planned; "
                f"run: bench data fetch {self.name}"
            )
        for file in self.published.files:
            try:
                there = (self._folder / file).exists()
            except OSError as error:
                raise DataError(f"{self.name}: {self._folder}: {error.strerror}") from None
            if not there:
                raise DataError(f"{self.name}: {self._folder} has no {file}, where torchvision keeps the set")

    def _check_source(self) -> None:
        if self.root is None and self.published.by_hand:
            raise DataError(
                f"{self.name} can't be downloaded any more; name the folder of a copy as `root`: "
                f"{{name: {self.name}, root: FOLDER}}, which holds {', '.join(self.published.files)}"
            )

    def _download(self) -> None:
        self._check_source()
        row, folder = self.published, self._folder
        log.info("%s: torchvision downloads it into %s", self.name, folder)
        whole = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        try:
            whole.mkdir(parents=True)
            with _wary():
                for options in (*row.train, *row.test):
                    _loader(row)(root=str(whole), download=True, **options)
            whole.rename(folder)
        except Exception as error:
            # A second process may have been quicker: then the folder is there, and is whole.
            if not folder.is_dir():
                raise DataError(
                    f"{self.name} could not be downloaded ({problem(error)}); connect to the network, or name the "
                    f"folder of a copy as `root`: {{name: {self.name}, root: FOLDER}}"
                ) from error
        finally:
            shutil.rmtree(whole, ignore_errors=True)

    def _loaded(self) -> _Loaded:
        loaded = _load(self.name, str(self._folder), self._digest)
        counts = {split: len(labels) for split, labels in loaded.labels.items()}
        card = {"classes": list(loaded.classes), "counts": counts}
        if read_json(_card(self._digest)) != card:
            keep_json(_card(self._digest), card)
        return loaded


@dataclass(frozen=True)
class _Loaded:
    """A set in memory: torchvision's objects, and for each split the labels and the (part, index) of their pictures."""

    parts: Sequence[Any]
    classes: tuple[str, ...]
    labels: Mapping[str, NDArray[np.int64]]
    rows: Mapping[str, NDArray[np.int64]]


@lru_cache(maxsize=1)
def _load(name: str, folder: str, digest: str) -> _Loaded:
    """Load a set. `digest` is there to load it again when the files have changed."""
    import numpy as np

    row = ROWS[name]
    try:
        # SEMEION downloads unless it is told not to, and loaders of what can't be downloaded don't know the option.
        quiet = {} if row.by_hand else {"download": False}
        parts = [_loader(row)(root=folder, **options, **quiet) for options in (*row.train, *row.test)]
        every = [_labels(part, row) for part in parts]
    except Exception as error:
        raise DataError(f"{name} cannot be read from {folder}: {problem(error)}") from error
    names = [_names(part, row) for part in parts]
    if any(theirs != names[0] for theirs in names):
        raise DataError(f"{name} in {folder}: its parts have different classes")
    orders = [_order(part, row) for part in parts]
    rows = np.concatenate([np.stack([np.full(len(order), i), order], axis=1) for i, order in enumerate(orders)])
    flat = np.concatenate([y[order] for y, order in zip(every, orders, strict=True)])
    if row.test:
        of_test = rows[:, 0] >= len(row.train)
        chosen = {"train": np.flatnonzero(~of_test), "test": np.flatnonzero(of_test)}
    else:
        chosen = stratified(flat, [str(i) for i in range(len(flat))], TEST_SHARE)
    present = np.unique(flat[chosen["train"]])
    if unknown := set(flat.tolist()) - set(present.tolist()):
        raise DataError(f"{name} in {folder}: test has classes that train lacks, such as number {min(unknown)}")
    return _Loaded(
        parts=parts,
        classes=tuple(names[0][label] if names[0] else str(label) for label in present.tolist()),
        labels={split: np.searchsorted(present, flat[index]) for split, index in chosen.items()},
        rows={split: rows[index] for split, index in chosen.items()},
    )


def _labels(part: Any, row: Published) -> NDArray[np.int64]:
    """Return a part's labels as torchvision numbers them."""
    import numpy as np

    held = getattr(part, row.labels)
    if len(held) and isinstance(held[0], tuple):
        held = [item[-1] for item in held]
    labels = np.asarray(held)
    # QMNIST has a row of eight numbers for each picture; the first is the digit.
    return (labels if labels.ndim == 1 else labels[:, 0]).astype(np.int64)


def _order(part: Any, row: Published) -> NDArray[np.int64]:
    import numpy as np

    if row.order is None:
        return np.arange(len(part))
    files = [str(file) for file in getattr(part, row.order)]
    return np.array(sorted(range(len(files)), key=files.__getitem__), np.int64)


def _names(part: Any, row: Published) -> list[str]:
    """Return the class names by torchvision's number, or nothing where it knows none. Of several names, the first."""
    return [name if isinstance(name, str) else name[0] for name in getattr(part, row.names, ())]


def _loader(row: Published) -> Any:
    from torchvision import datasets as loaders

    return getattr(loaders, row.loader)


@cache
def _pins(loader: str) -> tuple[str, ...]:
    """Return the MD5 sums in a loader's source, by which torchvision verifies a download. Nothing is imported."""
    spec = find_spec("torchvision")
    folder = Path(spec.origin).parent / "datasets" if spec and spec.origin else Path()
    for path in sorted(folder.glob("*.py")):
        source = re.search(rf"^class {loader}\(.*?(?=^\S|\Z)", path.read_text(encoding="utf-8"), re.M | re.S)
        if source:
            return tuple(re.findall(r"\b[0-9a-f]{32}\b", source[0]))
    raise DataError(f"the installed torchvision has no {loader}; run: python -m pip install --upgrade torchvision")


def _content(row: Published, folder: Path) -> list[tuple[str, str]]:
    """Return the sha256 of every file of a set. Archives are left out: torchvision reads what was unpacked."""
    names: list[str] = []
    for file in row.files:
        below = [f"{file}/{name}" for name in files_below(folder / file).files] if (folder / file).is_dir() else [file]
        names += [name for name in below if not name.endswith(ARCHIVES)]
    sums = examined(f"sha256 1 {row.files}", folder, sorted(names), _sha256)
    if unreadable := [name for name, found in sums.items() if found is None]:
        raise DataError(f"{row.name}: cannot read {folder / unreadable[0]}")
    return [(name.encode("utf-8", "backslashreplace").decode(), found) for name, found in sums.items()]


def _sha256(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None


def _card(digest: str) -> Path:
    """Return where the class names and counts of a set are kept once it has been loaded."""
    return cache_dir() / "torchvision" / "cards" / f"{digest[:16]}.json"


@contextmanager
def _wary() -> Iterator[None]:
    """Give up on a server that is silent for some seconds, and unpack nothing outside of the folder.

    torchvision itself would wait for ever, and take what a tar archive says for where it goes.
    """
    before, unpacked = socket.getdefaulttimeout(), getattr(tarfile.TarFile, "extraction_filter", None)
    socket.setdefaulttimeout(ANSWER_SECONDS)
    safe = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
    tarfile.TarFile.extraction_filter = staticmethod(safe) if safe is not None else None
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
        tarfile.TarFile.extraction_filter = unpacked


def _plugin(row: Published) -> type[Torchvision]:
    told = {
        "name": row.name,
        "licence": row.licence,
        "source": row.source,
        "published": row,
        "__doc__": f"torchvision.datasets.{row.loader}, {row.classes} classes.",
        "__module__": __name__,
    }
    return dataclass(frozen=True)(type(row.loader, (Torchvision,), told))


ROWS = {row.name: row for row in PUBLISHED}
PLUGINS = [datasets.register(_plugin(row)) for row in PUBLISHED]

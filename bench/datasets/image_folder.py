"""Your own pictures, in folders named by class."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from unicodedata import normalize

from bench.cell import canonical
from bench.datasets import Examples, Facts, datasets
from bench.datasets._groups import by_pattern, by_table, compiled
from bench.datasets._ledger import examined, files_below
from bench.datasets._pictures import check_resolution, decode, examine, in_colour, problem
from bench.datasets._split import by_group, check_test_share, stratified
from bench.errors import DataError, OptionError, printable
from bench.files import sha256_of, typed
from bench.registry import later, runtime_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger("bench")

ROLES = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
READ = (".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Pillow reads none of these, so they count as broken, not as absent: a folder half of HEIC is not silently halved.
UNREAD = (".cr2", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".svg")
MOST_NAMES = 10
LED_OUT = "links that lead out of it, which links: all follows"


@datasets.register
@dataclass(frozen=True)
class ImageFolder:
    """Pictures in PATH/CLASS/, or in PATH/train/CLASS/ and PATH/test/CLASS/; they may lie deeper below their class.

    Without a test folder, `val` (or valid, validation) is the test split. With one, `val` joins the training pool: the
    harness carves a validation set out of the labelled budget, the same for every strategy, and would otherwise waste
    those labels. Without either, the harness keeps `test_share` of each class for test, chosen by file name.

    path       the folder; a relative one starts at the current directory
    on_broken  what to do about pictures that can't be decoded: "skip" names them and goes on, "fail" stops
    links      "inside": links that lead out of the folder are left out and named, since a folder that came out of an
               archive may hold links to anything; "all" follows those too, as a subset made of links needs it

    group_pattern  a regular expression with one pair of brackets around what names the group, a patient say, in the
                   name of a file below the folder: (person[0-9]+)_
    group_file     instead, a table (.csv, .tsv) that names the pictures in one column
    group_column   and their groups in this one

    Where there are groups, none is in both splits: the harness splits whole groups, and of a folder that is split
    already, training pictures of groups that are in test as well are left out and named.

    Every file is read once, to see that it can be decoded, and sizes count what is usable. The digest is of the splits,
    names, bytes and groups of the usable pictures: it does not depend on where the folder is.
    """

    name: ClassVar[str] = "image_folder"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "image"
    licence: ClassVar[str] = "your own"
    source: ClassVar[str] = "a folder on this machine"

    path: str = runtime_option()
    test_share: float = 0.2
    on_broken: Literal["skip", "fail"] = runtime_option("skip")
    links: Literal["inside", "all"] = runtime_option("inside")
    resolution: int | None = None
    group_pattern: str | None = later(None)
    group_file: str | None = runtime_option(None)
    group_column: str | None = later(None)

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        if self.group_pattern is not None:
            compiled(self.group_pattern, "group_pattern")
            if self.group_file is not None:
                raise OptionError("groups come from group_pattern or from group_file, not both", ("group_file",))
        if (self.group_file is None) != (self.group_column is None):
            given, lacks = ("file", "column") if self.group_column is None else ("column", "file")
            raise OptionError(f"group_{given} goes with group_{lacks}", (f"group_{given}",))
        if not self.path:
            raise OptionError("path is empty; name a folder, or . for this one", ("path",))
        check_test_share(self.test_share)

    def facts(self) -> Facts:
        """Return the facts. The first time every file is read; later only those that have changed."""
        found = self._contents
        return Facts(found.digest, found.classes, {split: len(names) for split, names in found.splits.items()})

    def fetch(self) -> None:
        """Check the folder. Raises DataError."""
        self.facts()

    def examples(self, split: str) -> Examples:
        """Return the usable pictures of a split, sorted by name."""
        import numpy as np

        found, root = self._contents, self._root
        pictures = found.splits[split]
        number = {label: i for i, label in enumerate(found.classes)}
        labels = np.array([number[shown(picture.label)] for picture in pictures], np.int64)

        def read(i: int) -> NDArray[np.uint8]:
            try:
                pixels = decode(root / pictures[i].name)
            except Exception as error:
                raise _wrong(root, f"{pictures[i]} can no longer be decoded: {problem(error)}") from error
            return in_colour(pixels) if found.colour else pixels

        groups = None if found.groups is None else np.array([found.groups[p] for p in pictures], np.int64)
        return Examples([str(picture) for picture in pictures], labels, read, groups)

    @property
    def _root(self) -> Path:
        return typed(self.path)

    @cached_property
    def _contents(self) -> _Contents:
        return _contents(self._root, self.test_share, self.on_broken == "fail", self.links == "all", self._grouped)

    def _grouped(self, pictures: Sequence[_Picture]) -> list[str] | None:
        """Return the name of each picture's group, or None where there are no groups. Raises DataError."""
        names = [str(picture) for picture in pictures]
        try:
            if self.group_pattern is not None:
                return by_pattern(names, compiled(self.group_pattern, "group_pattern"))
            if self.group_file is not None:
                return by_table(names, typed(self.group_file), str(self.group_column))
        except ValueError as error:
            raise _wrong(self._root, str(error)) from None
        return None


@dataclass(frozen=True, order=True)
class _Picture:
    """A file by its name relative to the root, the part of the folder it is for ("train", "test", "all"), its class."""

    name: str
    part: str
    label: str

    def __str__(self) -> str:
        return shown(self.name)


@dataclass(frozen=True)
class _Contents:
    """What is usable in a folder."""

    splits: Mapping[str, Sequence[_Picture]]
    classes: tuple[str, ...]
    digest: str
    colour: bool
    groups: Mapping[_Picture, int] | None


Grouped = Callable[[Sequence[_Picture]], list[str] | None]


def _contents(root: Path, test_share: float, stop_at_broken: bool, every_link: bool, grouped: Grouped) -> _Contents:
    layout, notes = _layout(root)
    pictures, loose = _pictures(root, layout, notes, every_link)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = examined(_kind(), root, [picture.name for picture in pictures], _look)
    broken = [p for p in pictures if "problem" in found[p.name]]
    if broken:
        named = _listed(f"{picture} ({found[picture.name]['problem']})" for picture in broken)
        notes.append(f"{len(broken)} of {_count(len(pictures))}, which can't be decoded: {named}")
        if stop_at_broken:
            raise _wrong(root, f"{len(broken)} of {_count(len(pictures))} can't be decoded: {named}")
    if loose:
        notes.append(f"{_count(loose)} outside the class folders")
    usable = [p for p in pictures if "problem" not in found[p.name]]
    whose = grouped(usable)
    groups = None if whose is None else dict(zip(usable, whose, strict=True))
    if groups is not None and "all" not in layout:
        usable = _apart(usable, groups, notes)
    if notes:
        _tell(f"{ImageFolder.name} {root}: left out: {'; '.join(notes)}")
    _check_classes(root, layout, usable)
    splits = _splits(root, usable, test_share, groups)
    listing: Any = {split: [(str(p), found[p.name]["sha256"]) for p in chosen] for split, chosen in splits.items()}
    if twins := len({sha for _, sha in listing["train"]} & {sha for _, sha in listing["test"]}):
        _tell(f"{ImageFolder.name} {root}: in the training pool and in the test split, byte for byte: {_count(twins)}")
    numbers = None
    if groups is not None:
        number = {name: i for i, name in enumerate(sorted({groups[p] for p in usable}))}
        numbers = {p: number[groups[p]] for p in usable}
        listing = {**listing, "groups": [[numbers[p] for p in splits[split]] for split in ("train", "test")]}
    return _Contents(
        splits=splits,
        classes=tuple(sorted({shown(picture.label) for picture in usable})),
        digest=hashlib.sha256(canonical([ImageFolder.name, ImageFolder.version, listing])).hexdigest(),
        colour=any(found[picture.name]["colour"] for picture in usable),
        groups=numbers,
    )


def _apart(usable: Sequence[_Picture], groups: Mapping[_Picture, str], notes: list[str]) -> list[_Picture]:
    """Return the pictures without those of the training pool whose group is in the test split too."""
    of_test = {groups[p] for p in usable if p.part == "test"}
    both = [p for p in usable if p.part == "train" and groups[p] in of_test]
    if both:
        whose = sorted({printable(groups[p]) for p in both})
        notes.append(f"{_count(len(both))} of the training pool, of groups that are in test as well: {_listed(whose)}")
    out = set(both)
    return [p for p in usable if p not in out]


def _layout(root: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Return the folders that hold the class folders of each part, and what is to be said about the others.

    The parts are "train" and "test", or "all", which the harness splits; "" is the root itself.
    """
    try:
        if not root.is_dir():
            raise _wrong(root, "is a file, not a folder" if root.exists() else "there is no such folder")
    except OSError as error:
        raise _wrong(root, f"cannot be read: {error.strerror}") from None
    folders = _folders(root)
    of = {role: [f for f in folders if ROLES.get(f.casefold()) == role] for role in ("train", "val", "test")}
    if not of["val"] and not of["test"]:
        # A class may be called "train": beside buses and planes it is one.
        return {"all": folders if folders and folders == of["train"] else [""]}, []
    if not of["train"]:
        raise _wrong(root, f"there is {_listed(of['test'] + of['val'])}, but no train folder beside it")
    others = [shown(folder) for folder in folders if folder.casefold() not in ROLES]
    notes = [f"the folders {_listed(others)} beside {_listed(of['train'])}"] if others else []
    if not of["test"]:
        return {"train": of["train"], "test": of["val"]}, notes
    return {"train": of["train"] + of["val"], "test": of["test"]}, notes


def _pictures(
    root: Path, layout: Mapping[str, Sequence[str]], notes: list[str], every_link: bool
) -> tuple[list[_Picture], int]:
    """Return every picture in a class folder, sorted by name, and how many are in none. Raises DataError."""
    pictures, loose = [], 0
    others: Counter[str] = Counter()
    for part, folders in layout.items():
        for folder in folders:
            if not every_link and not (root / folder).resolve().is_relative_to(root.resolve()):
                raise _wrong(root, f"{shown(folder)} is a link that leads out of it; links: all follows it")
            below = files_below(root / folder, None if every_link else root)
            for links, why in ((below.out, LED_OUT), (below.again, "links to folders that are read already")):
                if links:
                    notes.append(f"{why}: {_listed(map(shown, sorted(links)))}")
            for name in below.files:
                label, _, rest = name.partition("/")
                suffix = PurePosixPath(name).suffix.lower()
                if suffix not in READ + UNREAD:
                    others[suffix or "other"] += 1
                elif rest:
                    pictures.append(_Picture(f"{folder}/{name}" if folder else name, part, label))
                else:
                    loose += 1
    if not pictures:
        held = [f"{_count(loose)} outside of one"] * bool(loose) + [f"{n} {s} files" for s, n in others.most_common()]
        held += [note for note in notes if note.startswith(LED_OUT)]
        there = f"; there are {_listed(held)}" if held else ""
        raise _wrong(root, f"no pictures; they go into one folder a class{there}")
    return sorted(pictures), loose


def _check_classes(root: Path, layout: Mapping[str, Sequence[str]], usable: Iterable[_Picture]) -> None:
    """Raise DataError unless every part has every class, with enough usable pictures."""
    classes = {part: {f for folder in folders for f in _folders(root / folder)} for part, folders in layout.items()}
    every = sorted(set().union(*classes.values()))
    missing = [
        f"{part} has no {_listed(map(shown, lacks))}"
        for part in layout
        if (lacks := sorted(set(every) - classes[part]))
    ]
    if missing:
        raise _wrong(root, f"the parts have different class folders: {'; '.join(missing)}")
    alike = Counter(normalize("NFC", shown(label)) for label in every)
    if twice := [label for label, count in alike.items() if count > 1]:
        raise _wrong(root, f"class folders whose names look the same: {_listed(twice)}")
    if len(every) < 2:
        raise _wrong(root, f"there is one class folder, {_listed(map(shown, every))}; at least 2 are needed")
    least = 2 if "all" in layout else 1
    counts = Counter((picture.part, picture.label) for picture in usable)
    short = [
        f"{shown(label)} has {counts[part, label]}" + ("" if part == "all" else f" in {part}")
        for part in layout
        for label in every
        if counts[part, label] < least
    ]
    if short:
        need = (
            "2 usable pictures, one to learn from and one for test" if least == 2 else "a usable picture in each part"
        )
        raise _wrong(root, f"every class needs {need}; {_listed(short)}")


def _splits(
    root: Path, usable: Sequence[_Picture], test_share: float, groups: Mapping[_Picture, str] | None
) -> dict[str, list[_Picture]]:
    """Return the pictures of "train" and "test", splitting those that are in one folder, by group where there are."""
    import numpy as np

    if usable[0].part != "all":
        return {split: [picture for picture in usable if picture.part == split] for split in ("train", "test")}
    names, labels = np.unique([picture.label for picture in usable], return_inverse=True)
    labels = labels.astype(np.int64)
    if groups is None:
        rows = stratified(labels, [str(picture) for picture in usable], test_share)
    else:
        whose = sorted({groups[p] for p in usable})
        number = {name: i for i, name in enumerate(whose)}
        rows = by_group(labels, np.array([number[groups[p]] for p in usable], np.int64), whose, test_share)
        if lacks := sorted(set(range(len(names))) - set(labels[rows["test"]].tolist())):
            listed = _listed(shown(str(names[i])) for i in lacks)
            raise _wrong(root, f"every class needs a group to learn from and another one for test: not so for {listed}")
    return {split: [usable[i] for i in chosen] for split, chosen in rows.items()}


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise _wrong(folder, f"cannot be listed: {error.strerror}") from None


def _kind() -> str:
    """Name what `_look` finds. Another Pillow may read what this one can't, so it looks again."""
    import PIL

    return f"pictures 1, Pillow {PIL.__version__}"


def _look(path: Path) -> dict[str, Any]:
    """Return the sha256 of a picture file and whether it is in colour, or what is wrong with it."""
    found = examine(path)
    try:
        return found if "problem" in found else {**found, "sha256": sha256_of(path)}
    except OSError as error:
        return {"problem": problem(error)}


def shown(name: str) -> str:
    """Return a file name as text that can be printed on one line, whatever its bytes are."""
    return printable(re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", name))


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(every[:MOST_NAMES]) + more


def _count(pictures: int) -> str:
    return f"{pictures:,} picture{'s' * (pictures != 1)}"


def _wrong(root: Path, text: str) -> DataError:
    return DataError(f"{ImageFolder.name} {root}: {text}")


@cache
def _tell(line: str) -> None:
    """Say something once. The process that plans says it; its workers, which read the same folder, do not."""
    if multiprocessing.parent_process() is None:
        log.warning("%s", printable(line))

"""Texts of a data set on the Hugging Face hub, or of a folder in the hub's format."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.cell import canonical
from bench.datasets import Download, Examples, Facts, datasets
from bench.datasets._apart import fetch_apart
from bench.datasets._arrays import mapped
from bench.datasets._cache import cache_dir, keeping, read_json, write_atomically
from bench.datasets._huggingface import Place, cannot_ask, check, loaded, values
from bench.datasets._ledger import examined, files_below
from bench.datasets._split import check_test_share
from bench.datasets._texts import (
    MOST_SIGNS,
    Kept,
    Splits,
    check_max_length,
    divided,
    instead,
    lacks_column,
    settled,
)
from bench.errors import DataError, OptionError, quoted
from bench.files import sha256_of, typed
from bench.registry import runtime_option

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("bench")

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
# The splits that are for test where none is named, the first that has labels.
TESTS = ("test", "validation")
CARD = "card.json"


@datasets.register
@dataclass(frozen=True)
class HuggingFaceText:
    """Texts with one class each, from the Hugging Face hub by name, or from a folder in the hub's format.

    repository     OWNER/NAME on the hub
    config         which of its configs, where there are several
    revision       a commit, tag or branch of it, by default the newest; only a commit always means the same texts
    path           instead of a repository, a folder of parquet, csv, json or jsonl files, or one from `save_to_disk`
    text, label    the columns
    train          the split, or splits with + between them, from which labelled examples are drawn
    test           the split for test; by default "test", or "validation" where "test" is not there or has no labels
    test_share     without either, the part of each class that the harness keeps for test
    max_length     the tokens after which texts are cut

    Rows without a text or a label (-1 among named classes) are left out and counted, and so are texts of the training
    pool that are in test too, word for word. Classes have the set's own order. The library reads the set in a process
    of its own; what is used is kept in the cache, and read from there without the library or the hub. A set of the hub
    is identified by its repository, config and revision, a folder by its files, wherever it is. Scripts are not run.
    """

    name: ClassVar[str] = "huggingface_text"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "text"
    licence: ClassVar[str] = "as its card says"
    source: ClassVar[str] = "https://huggingface.co/datasets"

    repository: str | None = None
    config: str | None = None
    revision: str | None = None
    path: str | None = runtime_option(None)
    text: str = "text"
    label: str = "label"
    train: str = "train"
    test: str | None = None
    test_share: float = 0.2
    max_length: int | None = None

    def __post_init__(self) -> None:
        check_max_length(self.max_length)
        check_test_share(self.test_share)
        for name in ("repository", "config", "revision", "path", "text", "label", "train", "test"):
            if getattr(self, name) == "":
                raise OptionError(f"{name} is empty", (name,))
        if self.repository is None and self.path is None:
            raise OptionError(f"{self.name} needs the option 'repository', OWNER/NAME on the hub, or 'path', a folder")
        if self.repository is not None and self.path is not None:
            raise OptionError("texts come from a repository or from a path, not both", ("path",))
        if self.repository is not None and not REPOSITORY.fullmatch(self.repository):
            told = f"repository must be OWNER/NAME, not {quoted(self.repository)}; a folder is named as path"
            raise OptionError(told, ("repository",))
        if self.revision is not None and self.repository is None:
            raise OptionError("revision is of a repository; a folder has none", ("revision",))
        if self.text == self.label:
            raise OptionError(f"text and label are the same column, {quoted(self.text)}", ("label",))
        if self.test in self._train:
            raise OptionError(f"the split {self.test!r} cannot be for training and for test", ("test",))

    def facts(self) -> Facts:
        """Return the facts; a folder is read for them once, of the hub's set little is known before it is here."""
        if self.path is not None:
            self.fetch()
        card = self._card
        return Facts(self._digest, tuple(card["classes"]), card["counts"]) if card else Facts(self._digest, None, None)

    def fetch(self) -> None:
        """Have the datasets library get the set, and keep what is used of it. Raises DataError."""
        if self._card:
            return
        check(self._place)
        if self.repository is not None:
            log.info("%s: the datasets library gets it", self._title)
        fetch_apart(self, self._title)

    def fetch_here(self) -> None:
        """Do what `fetch` does in this process, which ends where the library crashes."""
        with loaded(self._place) as found:
            splits = _splits(self, found.tables)
        if found.commit is not None and COMMIT.fullmatch(self.revision or "") is None:
            log.info("%s: %s is the commit %s now", self._title, self.revision or "the newest", found.commit)
        _keep(splits, self._folder, found.commit)

    def missing(self) -> Download | None:
        """Return that the library has to get the set, and why it could not."""
        if self.path is not None or self._card:
            return None
        return Download(f"the datasets library, from {self.source}/{self.repository}", None, cannot_ask())

    def examples(self, split: str) -> Examples:
        """Return one split; its texts are read from the disk one by one."""
        self.fetch()
        try:
            names, labels, ends, signs = (mapped(self._folder, f"{split}_{what}") for what in ARRAYS)
        except (OSError, ValueError) as error:
            raise DataError(f"{self._title}: {self._folder} is damaged ({error}); remove it and try again") from error

        def read(i: int) -> str:
            begin = int(ends[i - 1]) if i else 0
            return signs[begin : int(ends[i])].tobytes().decode()

        return Examples(names.tolist(), labels[:], read)

    @property
    def _title(self) -> str:
        return f"{self.name} {self.repository or typed(self.path or '')}"

    @property
    def _train(self) -> list[str]:
        return self.train.split("+")

    @property
    def _place(self) -> Place:
        folder = None if self.path is None else typed(self.path)
        return Place(self._title, self.repository, folder, self.config, self.revision)

    @cached_property
    def _digest(self) -> str:
        place = self._place
        content: Any = [place.repository, place.revision] if place.folder is None else _content(place.folder)
        columns = [self.config, self.text, self.label, self.train, self.test, self.test_share]
        return hashlib.sha256(canonical([self.name, self.version, content, columns])).hexdigest()

    @property
    def _folder(self) -> Path:
        return cache_dir() / self.name / self._digest[:16]

    @property
    def _card(self) -> Mapping[str, Any]:
        """What is known of a set that is kept here, else nothing; it is written when all else is."""
        card = read_json(self._folder / CARD)
        return card if {"classes", "counts"} <= card.keys() else {}


# What is kept of a split: names of the rows, int64 labels, where in `signs` each text ends, and all texts in UTF-8.
ARRAYS = ("names", "labels", "ends", "signs")


def _keep(splits: Splits, folder: Path, commit: str | None) -> None:
    import numpy as np

    number = {name: i for i, name in enumerate(splits.classes)}
    for split, rows in splits.rows.items():
        texts = [row.text.encode() for row in rows]
        held: tuple[NDArray[Any], ...] = (
            np.array([row.name for row in rows]),
            np.array([number[row.label] for row in rows], np.int64),
            np.cumsum([len(text) for text in texts], dtype=np.int64),
            np.frombuffer(b"".join(texts), np.uint8),
        )
        for what, array in zip(ARRAYS, held, strict=True):
            with keeping(folder / f"{split}_{what}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, array, allow_pickle=False)
    counts = {split: len(rows) for split, rows in splits.rows.items()}
    card = {"classes": splits.classes, "counts": counts, "commit": commit}
    write_atomically(folder / CARD, json.dumps(card).encode())


def _content(folder: Path) -> Mapping[str, str]:
    """Return the sha256 of every file of a folder but what the library leaves there when it has read it."""
    if not folder.is_dir():
        wrong = "is a file; name the folder that it is in" if folder.is_file() else "there is no such folder"
        raise DataError(f"{HuggingFaceText.name} {folder}: {wrong}")
    names = [name for name in sorted(files_below(folder).files) if not fnmatch(Path(name).name, "cache-*.arrow")]
    found: Mapping[str, str | None] = examined("sha256 1", folder, names, _sha256)
    for name, sha256 in found.items():
        if sha256 is None:
            raise DataError(f"{HuggingFaceText.name} {folder}: cannot read {name}")
    return {name: str(sha256) for name, sha256 in found.items()}


def _sha256(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None


def _splits(asked: HuggingFaceText, tables: Mapping[str, Any]) -> Splits:
    """Return what is used of the library's tables."""
    title = asked._title
    wanted = dict.fromkeys(asked._train, "train") | ({asked.test: "test"} if asked.test else {})
    for name, option in wanted.items():
        if name not in tables:
            raise DataError(
                f"{title}: has no split {name!r}, named by the option {option}{instead(name, list(tables))}"
            )
    notes: Counter[str] = Counter()
    train = [row for name in asked._train for row in _rows(asked, name, tables[name], notes)]
    test = _test(asked, tables, notes)
    found = {"train": train, "test": test} if test else divided(title, train, asked.test_share)
    named = [name for split in asked._train for name in _names(tables[split], asked.label) or ()]
    return settled(title, found, notes, asked.label, list(dict.fromkeys(named)) or _ordered(row.label for row in train))


def _test(asked: HuggingFaceText, tables: Mapping[str, Any], notes: Counter[str]) -> list[Kept]:
    """Return the rows of the split that is named for test, or of the first of the usual ones that has any."""
    for name in (asked.test,) if asked.test else TESTS:
        if name in tables and name not in asked._train:
            left_out = Counter[str]()
            if rows := _rows(asked, name, tables[name], left_out):
                if not asked.test and name != TESTS[0]:
                    log.info("%s: its split %s is for test", asked._title, name)
                notes.update(left_out)
                return rows
    if asked.test:
        raise DataError(f"{asked._title}: its split {asked.test!r} has no text with a label")
    return []


def _rows(asked: HuggingFaceText, split: str, table: Any, notes: Counter[str]) -> list[Kept]:
    """Return the rows of a table of the library that can be used; `notes` counts the others."""
    for option, column in (("text", asked.text), ("label", asked.label)):
        if column not in table.column_names:
            raise DataError(f"{asked._title}: {lacks_column(column, option, table.column_names)}")
    kind = getattr(table.features[asked.text], "dtype", "lists")
    if kind not in ("string", "large_string"):
        raise DataError(f"{asked._title}: the column {asked.text!r} holds {kind}, not texts")
    names = _names(table, asked.label)
    kept = []
    for number, (text, value) in enumerate(values(asked._place, table, (asked.text, asked.label))):
        words, label = (text or "").strip(), _class_of(value, names)
        if label is None:
            raise DataError(f"{asked._title}: {asked.label!r} of {split}/{number} is no class: {quoted(value)}")
        if words and label:
            kept.append(Kept(f"{split}/{number}", words[:MOST_SIGNS], label))
        else:
            notes["without text or label"] += 1
    return kept


def _names(table: Any, label: str) -> Sequence[str] | None:
    """Return the names of the classes where the label is a number that stands for one."""
    names = getattr(table.features[label], "names", None)
    return None if names is None else [str(name) for name in names]


def _class_of(value: Any, names: Sequence[str] | None) -> str | None:
    """Return the name of a label's class, "" where there is no label, None for what can be none."""
    if value is None or value != value:
        return ""
    if names is not None:
        return names[value] if 0 <= value < len(names) else ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return str(value).strip() if isinstance(value, str | int) else None


def _ordered(labels: Iterable[str]) -> list[str]:
    """Return the classes in order: numbers by what they are worth."""
    words = sorted(set(labels))
    try:
        return sorted(words, key=int)
    except ValueError:
        return words

"""Your own texts, in a table or in lines of JSON."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from bench.cell import canonical
from bench.datasets import Examples, Facts, datasets
from bench.datasets._split import check_test_share
from bench.datasets._texts import (
    MOST_SIGNS,
    Kept,
    as_text,
    check_max_length,
    divided,
    lacks_column,
    settled,
)
from bench.errors import DataError, OptionError
from bench.files import parse_json, typed
from bench.registry import runtime_option

MOST_BYTES = 1_000_000_000
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
Row = Mapping[str, Any]


@datasets.register
@dataclass(frozen=True)
class TextFile:
    """One row a text: .csv or .tsv with a header, or .jsonl with a mapping a line, in UTF-8.

    path           the file
    text, label    the columns, or keys, of the text and of its class
    split          the column that says "train" or "test"; rows with anything else there are left out
    test_path      instead, a second file in the same form, all of it for test
    test_share     without either, the part of each class that the harness keeps for test
    group          the column of what must not be on both sides, a document or an author, where the harness splits
    max_length     the tokens after which texts are cut

    Rows without a text or a label are left out and counted, and so are texts of the training pool that are in test too,
    word for word. The digest is of the splits, texts, labels and groups: it does not depend on where the file is.
    """

    name: ClassVar[str] = "text_file"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "text"
    licence: ClassVar[str] = "your own data"
    source: ClassVar[str] = "a file on this machine"

    path: str = runtime_option()
    text: str = runtime_option("text")
    label: str = runtime_option("label")
    split: str | None = runtime_option(None)
    test_path: str | None = runtime_option(None)
    test_share: float = 0.2
    group: str | None = runtime_option(None)
    max_length: int | None = None

    def __post_init__(self) -> None:
        check_max_length(self.max_length)
        for name in ("path", "test_path"):
            given = getattr(self, name)
            if given is not None and not given:
                raise OptionError(f"{name} is empty; name a file", (name,))
        check_test_share(self.test_share)
        if self.split is not None and self.test_path is not None:
            raise OptionError("what is for test comes from split or from test_path, not both", ("test_path",))

    def facts(self) -> Facts:
        """Return the facts, from the file itself. Raises DataError."""
        table = self._table
        return Facts(table.digest, table.classes, {split: len(rows) for split, rows in table.rows.items()})

    def fetch(self) -> None:
        """Check that the file can be read. Raises DataError."""
        self.facts()

    def examples(self, split: str) -> Examples:
        """Return one split, held in memory."""
        import numpy as np

        table, rows = self._table, self._table.rows[split]
        labels = np.array([table.classes.index(r.label) for r in rows], np.int64)
        groups = None
        if self.group is not None and self.split is None and self.test_path is None:
            number = {name: i for i, name in enumerate(sorted({r.group for part in table.rows.values() for r in part}))}
            groups = np.array([number[r.group] for r in rows], np.int64)
        return Examples([r.name for r in rows], labels, lambda i: rows[i].text, groups)

    @cached_property
    def _table(self) -> Table:
        return _table(self)


@dataclass(frozen=True)
class Table:
    """The rows of each split, the classes in order, and what names all that."""

    rows: Mapping[str, Sequence[Kept]]
    classes: tuple[str, ...]
    digest: str


def _table(asked: TextFile) -> Table:
    path = typed(asked.path)
    notes: Counter[str] = Counter()
    rows = _kept(path, asked, notes)
    found: Mapping[str, Sequence[Kept]]
    if asked.test_path is not None:
        test = [replace(r, name=f"test/{r.name}") for r in _kept(typed(asked.test_path), asked, notes)]
        found = {"train": rows, "test": test}
    elif asked.split is not None:
        found = {split: [r for r in rows if r.split == split] for split in ("train", "test")}
    else:
        found = divided(_title(path), rows, asked.test_share, asked.group is not None)
    made = settled(_title(path), found, notes, asked.label)
    listing = {split: [(r.text, r.label, r.group) for r in part] for split, part in made.rows.items()}
    digest = hashlib.sha256(canonical([TextFile.name, TextFile.version, listing])).hexdigest()
    return Table(made.rows, made.classes, digest)


def _kept(path: Path, asked: TextFile, notes: Counter[str]) -> list[Kept]:
    """Return the rows of a file that can be used; `notes` counts the others."""
    wanted = {"text": asked.text, "label": asked.label, "split": asked.split, "group": asked.group}
    kept = []
    for number, row in _rows(path):
        for option, column in wanted.items():
            if column is not None and column not in row:
                raise _wrong(path, f"line {number} {lacks_column(column, option, list(row))}")
        text, label = as_text(row[asked.text]), as_text(row[asked.label])
        split = None if asked.split is None else SPLITS.get(as_text(row[asked.split]).lower())
        if not text or not label:
            notes["without text or label"] += 1
        elif asked.split is not None and split is None:
            notes["for neither train nor test"] += 1
        else:
            group = "" if asked.group is None else as_text(row[asked.group])
            kept.append(Kept(f"{path.name}:{number}", text[:MOST_SIGNS], label, group, split))
    return kept


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield each row with the number of its line."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise _wrong(path, f"its name must end in {', '.join(READERS)}")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise _wrong(path, f"is larger than {MOST_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _wrong(path, f"line {line} is not UTF-8 text") from None
    try:
        yield from reader(text)
    except (csv.Error, ValueError) as error:
        raise _wrong(path, f"cannot be read: {error}") from None


def _of_table(delimiter: str) -> Callable[[str], Iterator[tuple[int, Row]]]:
    def read(text: str) -> Iterator[tuple[int, Row]]:
        before = csv.field_size_limit(MOST_BYTES)
        try:
            table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="", strict=False)
            head = table.fieldnames or []
            if len(set(head)) < len(head):
                raise ValueError("two columns have the same name")
            for row in table:
                yield table.line_num, {key: value for key, value in row.items() if key is not None}
        finally:
            csv.field_size_limit(before)

    return read


def _of_lines(text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError:
            raise ValueError(f"line {number} is no JSON") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no mapping")
        yield number, row


READERS: Mapping[str, Callable[[str], Iterator[tuple[int, Row]]]] = {
    ".csv": _of_table(","),
    ".tsv": _of_table("\t"),
    ".jsonl": _of_lines,
    ".ndjson": _of_lines,
}


def _wrong(path: Path, what: str) -> DataError:
    return DataError(f"{_title(path)}: {what}")


def _title(path: Path) -> str:
    return f"{TextFile.name} {path}"

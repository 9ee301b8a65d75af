"""What a person asks a trained cell about, as single inputs: files of pictures, or texts. Control half."""

from __future__ import annotations

import csv
import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.errors import UsageError, did_you_mean, nearest

# What a file of texts ends in: one text a line.
LINES = ".txt"


@dataclass(frozen=True)
class Given:
    """What was given: paths, texts, and a column of a table, None for the usual one."""

    paths: Sequence[str] = ()
    texts: Sequence[str] = ()
    table: Path | None = None
    column: str | None = None


def _pictures(given: Given) -> list[str]:
    """Return the files of pictures; those of a table are named from its own folder on. Raises UsageError."""
    if given.texts:
        raise UsageError("--text: this cell has learnt from pictures; name pictures, folders of them, or patterns")
    found = _files(given.paths)
    if given.table is not None:
        found += [str(given.table.parent / name) for name in _column(given.table, given.column or "path")]
    if not found:
        raise UsageError("bench predict: name pictures, folders of them, or a table of them with --csv")
    return found


def _texts(given: Given) -> list[str]:
    """Return the texts: those that were typed, the lines of files, and those of a table. Raises UsageError."""
    found = [*given.texts, *(line for name in given.paths for line in _lines(name))]
    if given.table is not None:
        found += _column(given.table, given.column or "text")
    if not found:
        raise UsageError(f"bench predict: give --text, files that end in {LINES}, or a table of texts with --csv")
    if any(not text.strip() for text in given.texts):
        raise UsageError("--text is empty")
    return found


def _lines(name: str) -> list[str]:
    """Return the lines of a file of texts that are not empty; bytes that are not UTF-8 stay halves of characters."""
    from bench.files import typed

    path = typed(name)
    if path.suffix.lower() != LINES:
        hint = f"give --text, files that end in {LINES}, or --csv"
        raise UsageError(f"{name}: this cell has learnt from texts, and this is no file of texts; {hint}")
    try:
        content = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    if content is None:
        raise UsageError(f"{name}: {'is no file' if path.exists() else 'there is no such file'}")
    lines = [line.rstrip("\r") for line in content.decode("utf-8-sig", "surrogateescape").split("\n")]
    found = [line for line in lines if line.strip()]
    if not found:
        raise UsageError(f"{name}: there is no text in this file")
    return found


def _column(path: Path, column: str) -> list[str]:
    """Return what a column of a CSV file holds. Raises UsageError."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file)
            names = list(rows.fieldnames or ())
            if column not in names:
                hint = did_you_mean(nearest(column, names)) or f"; it has {', '.join(names) or 'nothing in it'}"
                raise UsageError(f"--csv {path}: there is no column {column!r}{hint}")
            found = [(rows.line_num, row[column] or "") for row in rows]
    except OSError as error:
        raise UsageError(f"--csv {path}: cannot be read: {error.strerror}") from None
    except csv.Error as error:
        raise UsageError(f"--csv {path}: is no table: {error}") from None
    if empty := [line for line, value in found if not value.strip()]:
        raise UsageError(f"--csv {path}:{empty[0]}: the column {column!r} is empty")
    return [value for _, value in found]


def _files(given: Sequence[str]) -> list[str]:
    """Return the files that are named, in the folders that are named, or match a pattern. Raises UsageError.

    A file is taken whatever its name ends in, and from a folder and those below it what ends like a picture.
    """
    from bench.datasets._ledger import files_below
    from bench.datasets.image_folder import READ
    from bench.files import typed

    found: list[str] = []
    for name in given:
        path = typed(name)
        matching = [str(path)]
        if glob.has_magic(name) and not path.exists():
            matching = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - pathlib takes no absolute pattern
            if not matching:
                raise UsageError(f"{name}: nothing matches")
        for match in matching:
            below = sorted(files_below(Path(match), Path(match)).files) if Path(match).is_dir() else None
            pictures = [n for n in below or () if PurePosixPath(n).suffix.lower() in READ]
            if below is not None and not pictures:
                raise UsageError(f"{match}: there is no picture in this folder")
            found += [match] if below is None else [str(Path(match) / n) for n in pictures]
    return found


# What is asked about, by the modality of the data that a cell has learnt from.
INPUTS: dict[str, Callable[[Given], list[str]]] = {"image": _pictures, "text": _texts}

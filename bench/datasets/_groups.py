"""Whose each picture is, a patient's for instance: from its file name, or from a table."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bench.errors import OptionError, did_you_mean, nearest

MOST_BYTES = 200_000_000
MOST_NAMES = 5


def compiled(pattern: str, option: str) -> re.Pattern[str]:
    """Return a regular expression with one group. Raises OptionError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise OptionError(f"{option} is no regular expression: {error}", (option,)) from None
    if found.groups != 1:
        told = f"{option} has {found.groups} groups in brackets; it needs one, around what names the group"
        raise OptionError(told, (option,))
    return found


def by_pattern(names: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
    """Return what a pattern finds in each name. Raises ValueError for names that it does not fit."""
    found = [pattern.search(name) for name in names]
    if lacking := [name for name, match in zip(names, found, strict=True) if match is None or match[1] is None]:
        raise ValueError(f"group_pattern fits none of {_some(lacking)}")
    return [match[1] for match in found if match is not None]


def by_table(names: Sequence[str], path: Path, column: str) -> list[str]:
    """Return what a table, comma or tab separated with a header, says of each name in a column.

    The pictures may be named in any other column: by their names below the folder, by file name, or by that without its
    ending. Raises ValueError for a table that can't be read, and for pictures that it does not have.
    """
    head, rows = _read(path)
    if column not in head:
        hint = did_you_mean(nearest(column, head)) or f"; it has {_some(head) or 'none'}"
        raise ValueError(f"{path} has no column {column!r}{hint}")
    places = _places(names)
    best: dict[int, str] = {}
    for other in head:
        if other != column:
            best = max(best, _said(path, rows, other, column, places), key=len)
    lacking = [name for i, name in enumerate(names) if not best.get(i)]
    if lacking:
        raise ValueError(f"{path} does not say the {column} of {_some(lacking)}")
    return [best[i] for i in range(len(names))]


def _said(
    path: Path, rows: Sequence[dict[str, str]], naming: str, column: str, places: dict[str, int | None]
) -> dict[int, str]:
    """Return what a column says of the pictures that another one names. Raises ValueError where it says two things."""
    found: dict[int, str] = {}
    for row in rows:
        place, value = places.get(row[naming].strip().removeprefix("./")), row[column].strip()
        if place is not None and found.setdefault(place, value) != value:
            raise ValueError(f"{path} says two things of the {column} of {row[naming]}: {found[place]} and {value}")
    return found


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the names of a table's columns, and its rows."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} is larger than {MOST_BYTES:,} bytes")
    first = text.partition("\n")[0]
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in first else ",", restval="")
        rows = [{key: value for key, value in row.items() if key is not None} for row in table]
    except csv.Error as error:
        raise ValueError(f"{path} is no table: {error}") from None
    return list(table.fieldnames or ()), rows


def _places(names: Sequence[str]) -> dict[str, int | None]:
    """Return which picture each way to name one means; None where it may mean several."""
    places: dict[str, int | None] = {}
    for i, name in enumerate(names):
        short = PurePosixPath(name)
        for word in dict.fromkeys((name, short.name, short.stem)):
            places[word] = None if word in places else i
    return places


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{more}"

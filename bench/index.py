"""What a plan needs to know of its records, kept so that thousands are not read again for it.

The index can be deleted at any time. A line of it holds for the very files that it was made from, by their stamps, and
is made again when one of them has another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from bench.best import metrics_of_one
from bench.errors import StoreError
from bench.files import replacing
from bench.record import Record, Status
from bench.registry import adapter

VERSION = 2


@dataclass(frozen=True)
class Brief:
    """What a plan needs to know of a record.

    `spent_seconds` is what a run spends on such a cell, measuring included; None unless it ended ok. `predicted` says
    whether the record's predictions are there, and whole. `metrics` are those of the one model that the cell trained;
    none where it trained several.
    """

    status: Status
    reason: str | None
    attempt: int
    spent_seconds: float | None
    predicted: bool
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record, predicted: bool) -> Brief:
        """Return what a plan needs to know of a record."""
        seconds = record.seconds
        spent = None
        if record.status == "ok" and seconds.marginal is not None:
            spent = sum(s or 0.0 for s in (seconds.marginal, seconds.evaluate, seconds.measure))
        return cls(record.status, record.reason, record.attempt, spent, predicted, dict(metrics_of_one(record)))


class Stamp(NamedTuple):
    """What changes when a file does: size in bytes, time of its last change in nanoseconds, inode."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        """Return the stamp that a file's status gives."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)


class Line(NamedTuple):
    """What is known of one record, and the files that it is known from."""

    record: Stamp
    predictions: Stamp | None
    brief: Brief


@dataclass(frozen=True)
class _File:
    version: Literal[2]
    lines: dict[str, Line]


def stamp(path: Path) -> Stamp | None:
    """Return the stamp of a file; None where there is none."""
    try:
        return Stamp.of(path.stat())
    except OSError:
        return None


def stamps(folder: Path, ending: str) -> dict[str, Stamp]:
    """Return the stamp of each file with an ending, by its name without it; none where there is no folder."""
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(ending):
                    with suppress(FileNotFoundError):
                        found[entry.name.removesuffix(ending)] = Stamp.of(entry.stat())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}") from None
    return found


def read(path: Path) -> dict[str, Line]:
    """Return the lines by cell id; none where the index is missing, damaged or of another version."""
    try:
        file: _File = adapter(_File).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
    return file.lines


def write(path: Path, lines: Mapping[str, Line]) -> None:
    """Write the lines whole or not at all; where nothing can be written there is no index."""
    rows = ",\n".join(f"{json.dumps(i)}: {json.dumps([*line[:2], vars(line.brief)])}" for i, line in lines.items())
    with suppress(OSError), replacing(path) as temporary:
        temporary.write_text(f'{{"version": {VERSION}, "lines": {{\n{rows}\n}}}}\n', encoding="utf-8")

"""Files: written so that others see them whole or not at all, and known by their content."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The names of files that `replacing` has not finished.
TEMPORARY = ".*.tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; when the block ends it is synced and takes `path`'s place.

    Folders are made. When the block raises, nothing is left behind. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes of several machines may write here, and their numbers may be the same.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says. Raises ValueError, also for what is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("lists or mappings are nested too deep") from None


def typed(text: str) -> Path:
    """Return a path as a user typed it, `~` replaced; that of a user whom nobody knows is a name like any other."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The one folder where fetched data is kept between runs."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.files import parse_json, replacing

log = logging.getLogger("bench")


def cache_dir() -> Path:
    """Return the cache folder, which may not exist yet.

    It is $BENCH_CACHE, or else the folder `bench` in $XDG_CACHE_HOME or in ~/.cache.
    """
    own = os.environ.get("BENCH_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bench"


@contextmanager
def keeping(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes `path`'s place at the end. Raises DataError when it cannot be written."""
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder beside what is kept, which is gone at the end. Raises DataError when it cannot be made."""
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".", dir=cache_dir())
    except OSError as error:
        raise _unwritable(cache_dir(), error) from error
    with folder as name:
        yield Path(name)


def _unwritable(path: Path, error: OSError) -> DataError:
    reason = error.strerror or str(error)
    return DataError(f"cannot write {path}: {reason}; make room there, or set BENCH_CACHE to another folder")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that others see whole or not at all. Raises DataError when it cannot be written."""
    with keeping(path) as temporary:
        temporary.write_bytes(content)


def read_json(path: Path) -> dict[str, Any]:
    """Return what `keep_json` kept, or an empty mapping when there is nothing that can be read."""
    try:
        kept = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def keep_json(path: Path, content: dict[str, Any]) -> None:
    """Keep something that can be found out again. A cache that can't be written to costs time, and no run."""
    try:
        write_atomically(path, json.dumps(content).encode())
    except DataError as error:
        log.info("%s", error)

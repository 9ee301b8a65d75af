"""The one folder where fetched data is kept between runs."""

from __future__ import annotations

import json
import logging
import os
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


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that others see whole or not at all. Raises DataError when it cannot be written."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot write {path}: {reason}; make room there, or set BENCH_CACHE to another folder"
        ) from error


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

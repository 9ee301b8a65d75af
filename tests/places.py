"""Who tests beside whom, among several processes that share the tests."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def place(folder: Path, *, alone: bool) -> Iterator[None]:
    """Be in a room that many share, or one has alone: who waits for that stands in the door, and lets no other in."""
    with (folder / "door").open("w") as door, (folder / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:  # at once, though a forked child may still hold the file open
            fcntl.flock(room, fcntl.LOCK_UN)

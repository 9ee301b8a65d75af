"""Which run has which cell: several runs, also of several machines, may share one results folder.

A claim is a lock on one byte of one file, at the place that the cell's id names. It goes with its process, however that
ends: after a kill there is nothing to be cleaned up.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

from bench.errors import StoreError

# So many bytes from a place on are all of them.
EVERY_PLACE = 0


class Claims:
    """The cells of one results folder that this run has."""

    def __init__(self, path: Path, file: BufferedRandom) -> None:
        self._path, self._file = path, file

    def take(self, cell_id: str) -> bool:
        """Claim a cell, unless another run has it: say whether it is ours. Raises StoreError."""
        try:
            return _locked(self._file.fileno(), int(cell_id, 16))
        except OSError as error:  # some network file systems know no locks
            told = f"{self._path.parent}: cannot be locked: {error.strerror}; choose another folder with --results"
            raise StoreError(told) from None

    def give(self, cell_id: str) -> None:
        """Give a cell back."""
        _lock(self._file.fileno(), fcntl.F_UNLCK, int(cell_id, 16))


@contextmanager
def claims(folder: Path) -> Iterator[Claims]:
    """Give the claims on the cells of a results folder, which is made. Raises StoreError."""
    path = folder / ".claims"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
        file = path.open("r+b")
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}") from None
    with file:
        yield Claims(path, file)


def claimed(folder: Path) -> bool:
    """Say whether any run has a cell of a results folder."""
    try:
        file = (folder / ".claims").open("r+b")
    except OSError:  # no run has been here, or it is another user's
        return False
    with file, suppress(OSError):  # a file system that knows no locks has none
        return not _locked(file.fileno(), 0, EVERY_PLACE)
    return False


def _locked(file: int, place: int, count: int = 1) -> bool:
    """Lock bytes, unless somebody has: say whether they are ours. Raises OSError."""
    try:
        _lock(file, fcntl.F_WRLCK, place, count)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _lock(file: int, kind: int, place: int, count: int = 1) -> None:
    """Lock or unlock bytes, without waiting. Where the system can, for the open file and not for the process."""
    if sys.platform == "linux":
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi0q", kind, os.SEEK_SET, place, count, 0))
    else:
        how = fcntl.LOCK_UN if kind == fcntl.F_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB
        fcntl.lockf(file, how, count, place)

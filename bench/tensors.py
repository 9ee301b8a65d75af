"""Files of tensors (safetensors) that carry the checksum of what is in them, and how rows that cells share are named.

The checksum, a sha256 of the bytes after the header, stands in the header's own notes. A file that has none, of an
earlier version, is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from bench.cell import canonical

# The note that `seal` fills in: what is written has to leave room for it.
UNSEALED = {"sha256": "0" * 64}
_CHUNK = 1 << 20
_whole: dict[Path, tuple[int, int, int]] = {}


def id_of(kind: str, identity: Mapping[str, Any]) -> str:
    """Return the name of rows of a kind: 16 hex digits of the hash of everything that can change a value."""
    return hashlib.sha256(canonical([kind, identity])).hexdigest()[:16]


def seal(path: Path) -> None:
    """Put the checksum into a file that was written with the note UNSEALED. Raises OSError and ValueError."""
    with path.open("r+b") as file:
        header = _header(file)
        first = b'"sha256":"'  # no other note can hold these quotes as they are
        place = header.index(first + UNSEALED["sha256"].encode()) + len(first)
        digest = _digest_of_rest(file)
        file.seek(8 + place)
        file.write(digest.encode())


def is_whole(path: Path) -> bool:
    """Say whether a file is there and holds what was written. One that has not changed is read once by a process."""
    try:
        with path.open("rb") as file:
            found = path.stat()
            stamp = (found.st_size, found.st_mtime_ns, found.st_ino)
            if _whole.get(path) == stamp:
                return True
            header: dict[str, Any] = json.loads(_header(file))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            if file.tell() + max(ends, default=0) != found.st_size:
                return False
            sealed = header.get("__metadata__", {}).get("sha256")
            if sealed is not None and sealed != _digest_of_rest(file):
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    _whole[path] = stamp
    return True


def notes(path: Path) -> dict[str, str]:
    """Return the notes of a file. Raises OSError, and ValueError where it is no file of tensors."""
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(_header(file))
    return dict(header["__metadata__"]) if isinstance(header.get("__metadata__"), dict) else {}


def _header(file: BinaryIO) -> bytes:
    """Read the header: its length in 8 bytes, then so many of JSON."""
    length = int.from_bytes(file.read(8), "little")
    header = file.read(min(length, 100_000_000))
    if len(header) != length:
        raise ValueError("the header is cut short")
    return header


def _digest_of_rest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()

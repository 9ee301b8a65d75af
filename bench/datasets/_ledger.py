"""What was found out about the files of a folder, kept between runs, so that a big folder is read once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from bench.datasets._cache import cache_dir, keep_json, read_json
from bench.errors import DataError
from bench.machine import cores

log = logging.getLogger("bench")

# So many new files are worth a line on what takes the time; Ctrl-C loses at most one chunk of them.
WORTH_SAYING = 1000
CHUNK = 512


@dataclass
class Below:
    """The files below a folder by their relative names, and the links left out: `out` of it, or to what is read."""

    files: list[str] = field(default_factory=list)
    out: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)


def files_below(folder: Path, within: Path | None = None) -> Below:
    """Return the files below a folder, in no order.

    Names that begin with a dot are left out, and so are pipes, sockets and devices. Links are followed, those that lead
    out of `within` when that is None; a link that leads nowhere counts as a file. A folder is read once, however many
    links lead to it, by its own name before any other. Raises DataError for a folder that can't be listed.
    """
    found = Below()
    root = None if within is None else within.resolve()
    folders, links, read = [""], list[str](), set[tuple[int, int]]()
    while folders or links:
        below = folders.pop() if folders else links.pop()
        place = folder / below
        try:
            stat = place.stat()
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"cannot list the folder {place}: {error.strerror}") from None
        if (stat.st_dev, stat.st_ino) in read:
            found.again.append(below)
            continue
        read.add((stat.st_dev, stat.st_ino))
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            kind = _kind(entry)
            if entry.name.startswith(".") or kind is None:
                continue
            if entry.is_symlink() and root is not None and not Path(os.path.realpath(entry)).is_relative_to(root):
                found.out.append(name)
            elif kind == "file":
                found.files.append(name)
            else:
                (links if entry.is_symlink() else folders).append(name)
    return found


def _kind(entry: os.DirEntry[str]) -> str | None:
    """Say whether an entry is, or leads to, a "folder" or a "file"; None for what is neither."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "file"  # that can't be read, as whoever reads it will say
    return "folder" if S_ISDIR(mode) else "file" if S_ISREG(mode) else None


def examined(kind: str, folder: Path, names: Iterable[str], look: Callable[[Path], Any]) -> dict[str, Any]:
    """Return look(path) for every file by name, remembered for files whose size and times of change are the same.

    `look` gives plain JSON and raises nothing; it runs in threads. `kind` says what it looks for, with a version.
    """
    kept = (
        cache_dir() / "folders" / f"{hashlib.sha256(os.fsencode(f'{kind} {folder.resolve()}')).hexdigest()[:16]}.json"
    )
    known = read_json(kept)
    stamps = {name: _stamp(folder / name) for name in names}
    found = {n: known[n] for n, stamp in stamps.items() if stamp and n in known and known[n][0] == stamp}
    fresh = [name for name in stamps if name not in found]
    if len(fresh) >= WORTH_SAYING:
        log.info("reading %d files in %s; this is done once", len(fresh), folder)
    try:
        with ThreadPoolExecutor(cores()) as pool:
            for start in range(0, len(fresh), CHUNK):
                chunk = fresh[start : start + CHUNK]
                findings = list(pool.map(look, [folder / name for name in chunk]))
                found |= {name: [stamps[name], finding] for name, finding in zip(chunk, findings, strict=True)}
    finally:
        if fresh or len(known) != len(found):
            keep_json(kept, found)
    return {name: found[name][1] for name in stamps}


def _stamp(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]

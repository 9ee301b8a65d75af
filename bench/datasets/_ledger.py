"""What was found out about the files of a folder, kept between runs, so that a big folder is read once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.datasets._cache import cache_dir, keep_json, read_json
from bench.errors import DataError
from bench.machine import cores

log = logging.getLogger("bench")

# So many new files are worth a line on what takes the time; Ctrl-C loses at most one chunk of them.
WORTH_SAYING = 1000
CHUNK = 512


def files_below(folder: Path) -> Iterator[str]:
    """Yield the relative names of the files below a folder, in no order.

    Names that begin with a dot are left out. Links are followed, but never round in a circle; one that leads nowhere
    counts as a file. Pipes, sockets and devices are left out. Raises DataError for a folder that can't be listed.
    """
    stack = [("", frozenset[tuple[int, int]]())]
    while stack:
        below, above = stack.pop()
        place = folder / below
        try:
            stat = place.stat()
            entries = list(os.scandir(place))
        except OSError as error:
            raise DataError(f"cannot list the folder {place}: {error.strerror}") from None
        here = (stat.st_dev, stat.st_ino)
        if here in above:
            continue
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                stack.append((name, above | {here}))
            elif entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists()):
                yield name


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

"""What `bench doctor` looks at on disk: room, access, caches, leftovers, what cannot be read, other runs."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench import index
from bench.datasets._cache import cache_dir
from bench.doctor.finding import Finding, counted, size
from bench.engines.local import STALE_SECONDS as WORKER_SECONDS
from bench.files import TEMPORARY, parse_json
from bench.machine import is_alive
from bench.record import NewerSchema, loads
from bench.store import STALE_SECONDS, Store
from bench.suite import RESERVED

# Less is soon full of a run's pictures and activations.
LEAST_ROOM = 1e9
# `.NAME.PID.tmp` of `files.replacing`, and `bench-PID-RANDOM` of a run's worker in the temporary folder.
_UNFINISHED = re.compile(r"\..+\.(\d+)(?:-[0-9a-f]+)?\.tmp", re.DOTALL)
_WORKERS = re.compile(r"bench-(\d+)-\w+")
# What of the cache is bench's own JSON; a data set may have other files that end so.
_CARDS = ("backbones", "folders", "torchvision/cards")


@dataclass(frozen=True)
class Places:
    """The folders that a run writes to."""

    results: Path = Path("results")
    reports: Path = Path("reports")

    def named(self) -> dict[str, Path]:
        """Return each folder by what it is for."""
        return {"results": self.results, "reports": self.reports, "cache": cache_dir(), "temporary": temporary()}

    def stores(self) -> list[Store]:
        """Return the store of each suite that has results here."""
        try:
            folders = sorted(path for path in self.results.iterdir() if path.is_dir())
        except OSError:
            return []
        kept = [path.name for path in folders if path.name not in RESERVED and not path.name.startswith(".")]
        return [Store(self.results, name) for name in kept]


def temporary() -> Path:
    """Return the folder for temporary files, or the one that would be, where none can be written."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return Path(os.environ.get("TMPDIR") or "/tmp")


def there(path: Path) -> Path:
    """Return a folder, or the nearest one above it that there is."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if os.path.lexists(p))


def disk(places: Places, needed: Mapping[str, float]) -> list[Finding]:
    """Hold the free room of each disk against what a suite is to need, bytes by place, or against a least amount."""
    disks: dict[int, list[str]] = {}
    for name, path in places.named().items():
        try:
            disks.setdefault(there(path).stat().st_dev, []).append(name)
        except OSError:
            continue  # `access` says so
    return [_room(names, places, sum(needed.get(name, 0.0) for name in names)) for names in disks.values()]


def _room(names: list[str], places: Places, needed: float) -> Finding:
    free = shutil.disk_usage(there(places.named()[names[0]])).free
    told = f"{size(free)} free for {', '.join(names)}"
    told += f"; the suite needs {size(needed)} at most" if needed else ""
    if free >= max(LEAST_ROOM, needed):
        return Finding("disk", "ok", told)
    advice = "make room, or choose other folders with --results, --reports, BENCH_CACHE and TMPDIR"
    return Finding("disk", "problem", told, advice)


def access(places: Places) -> list[Finding]:
    """Say of each folder that a run writes to whether it can."""
    return [_access(name, path) for name, path in places.named().items()]


_OTHER = {"results": "--results", "reports": "--reports", "cache": "BENCH_CACHE", "temporary": "TMPDIR"}


def _access(name: str, path: Path) -> Finding:
    near = there(path)
    other = f"mend that, or choose another folder with {_OTHER[name]}"
    if not near.is_dir():
        return Finding(name, "problem", f"{path}: {near} is not a folder", other)
    if not os.access(near, os.W_OK | os.X_OK):
        # Data that are in the cache can be read all the same; `needs` says when some are missing.
        return Finding(name, "note" if name == "cache" else "problem", f"{path}: {near} cannot be written", other)
    told = "can be written" if path.is_dir() else "is made when it is needed"
    return Finding(name, "ok", f"{path} {told}")


def caches(places: Places) -> list[Finding]:
    """Say how much is kept between runs, and where."""
    kept = {"kept data": cache_dir(), "kept artifacts": places.results / "artifacts"}
    return [Finding(name, "ok", f"{size(held(path))} in {path}") for name, path in kept.items() if path.is_dir()]


def held(folder: Path) -> int:
    """Return the bytes of the files below a folder."""
    return sum(_bytes(Path(path, name)) for path, _, names in os.walk(folder) for name in names)


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def leftovers(places: Places) -> Finding:
    """Name what killed runs left half-written."""
    found = list(stale(places))
    if not found:
        return Finding("leftovers", "ok", "nothing half-written by killed runs")
    weight = size(sum(held(path) if path.is_dir() else _bytes(path) for path in found))
    told = f"{counted(len(found), 'half-written file')} of killed runs, {weight}: {_first(found)}"
    return Finding("leftovers", "note", told, "bench doctor --fix removes them")


def stale(places: Places) -> Iterator[Path]:
    """Yield what was left half-written an hour ago or earlier, by a process that is no more, where no run is.

    Folders of workers are left a day, as runs leave them: a cell may be silent for hours, on another machine.
    A folder whose files change is as old as the newest of them.
    """
    busy = [store.folder for store in places.stores() if store.held()]
    for root in (places.results, cache_dir()):
        for path in root.rglob(TEMPORARY):
            name = _UNFINISHED.fullmatch(path.name)
            if (
                name
                and _is_stale(path, int(name[1]), STALE_SECONDS)
                and not any(path.is_relative_to(folder) for folder in busy)
            ):
                yield path
    for path in temporary().glob("bench-*"):
        name = _WORKERS.fullmatch(path.name)
        if name and _is_stale(path, int(name[1]), WORKER_SECONDS):
            yield path


def _is_stale(path: Path, pid: int, seconds: float) -> bool:
    try:
        newest = max(p.lstat().st_mtime for p in (path, *(path.rglob("*") if path.is_dir() else ())))
    except OSError:  # it has just been finished
        return False
    return time.time() - newest > seconds and not is_alive(pid)


def damaged(places: Places) -> Iterator[Path]:
    """Yield the files of the caches that cannot be read: they are made or fetched again when they are missing."""
    from safetensors import SafetensorError, safe_open

    artifacts = places.results / "artifacts"
    for path in sorted(artifacts.rglob("[!.]*.safetensors")):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (OSError, SafetensorError):
            yield path
    cards = [path for below in _CARDS for path in sorted((cache_dir() / below).rglob("[!.]*.json"))]
    kept = [path for path in sorted(artifacts.rglob("[!.]*.json")) if path.parent != artifacts / "index"]
    for path in (*kept, *cards):
        try:
            parse_json(path.read_bytes())
        except (OSError, ValueError):
            yield path


def unreadable(places: Places) -> Finding:
    """Name the entries of the caches that cannot be read."""
    found = list(damaged(places))
    if not found:
        return Finding("cache entries", "ok", "all can be read")
    told = f"{counted(len(found), 'file')} cannot be read: {_first(found)}"
    return Finding("cache entries", "note", told, "bench doctor --fix removes them; what they held is made again")


def without_index(places: Places) -> Iterator[Store]:
    """Yield the stores whose index cannot be read. One that is missing is made by the next plan."""
    for store in places.stores():
        path = index_of(store)
        if path.exists() and not index.read(path):
            yield store


def index_of(store: Store) -> Path:
    """Return the file of a store's index."""
    return store.artifacts / "index" / f"{store.suite}.json"


def indexes(places: Places) -> Finding:
    """Name the results whose index cannot be read."""
    found = [store.suite for store in without_index(places)]
    if found:
        told = f"cannot be read for {', '.join(found)}: every plan reads all records again"
        return Finding("index", "note", told, "bench doctor --fix builds it again")
    return Finding("index", "ok", "can be read, or is made by the next plan")


@dataclass(frozen=True)
class Stock:
    """What there is of records: how many, those that can't be read or were set aside, those of a later bench.

    `newest` is when the last of them was started, in the words of the record.
    """

    count: int = 0
    broken: tuple[Path, ...] = ()
    later: tuple[Path, ...] = ()
    newest: str | None = None


def stock(stores: Iterable[Store]) -> Stock:
    """Read every record, and change none."""
    count, broken, later, started = 0, list[Path](), list[Path](), list[str]()
    for store in stores:
        broken += sorted(store.folder.glob("*.corrupt"))
        for path in sorted(store.folder.glob("*.json")):
            if len(path.stem) != 12:
                continue
            try:
                record = loads(path.read_bytes())
            except NewerSchema:
                later.append(path)
            except (OSError, ValueError):
                broken.append(path)
            else:
                count += 1
                started += [record.started_at] if record.started_at else []
    return Stock(count, tuple(broken), tuple(later), max(started, default=None))


def records(found: Stock) -> Finding:
    """Say how many records there are, and name those that cannot be read."""
    told = counted(found.count, "record")
    if found.later:
        told = f"{told}, and {len(found.later)} of a later version of bench: {_first(found.later)}"
        return Finding("records", "problem", told, "upgrade bench, or choose another folder with --results")
    if found.broken:
        told = f"{told}, and {len(found.broken)} that cannot be read: {_first(found.broken)}"
        return Finding("records", "note", told, "look at them; bench run measures their cells again and removes none")
    return Finding("records", "ok", told)


def other_runs(places: Places) -> Finding:
    """Say of which results a run has cells now, and which process that is."""
    busy = [store for store in places.stores() if store.held()]
    if not busy:
        return Finding("other runs", "ok", "no run has cells of any results")
    told = "; ".join(f"cells of {store.suite} are with {_holders(store)}" for store in busy)
    return Finding("other runs", "note", told, "times that are measured beside another run are not valid")


def _holders(store: Store) -> str:
    """Name the processes that have the claims on the results open, where the system says."""
    claims = str((store.folder / ".claims").resolve())
    pids = set()
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it is gone, or another user's
            if str(path.readlink()) == claims:
                pids.add(int(path.parts[2]))
    return ", ".join(f"process {pid}{_named(pid)}" for pid in sorted(pids)) or "another run"


def _named(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    command = " ".join(word.decode(errors="replace").rpartition("/")[2] for word in words)
    return f" ({command[:60]})" if command else ""


def _first(found: Iterable[Path]) -> str:
    first, *more = found
    return f"{first}" + (f" and {len(more)} more" if more else "")

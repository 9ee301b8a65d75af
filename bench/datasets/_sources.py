"""Where the files of a data set come from: folders, mirrors and Debian packages, tried in order.

Checksums are sha256 of the uncompressed bytes, because distributors compress the same file in different ways.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import logging
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.datasets import Download
from bench.datasets._cache import write_atomically
from bench.errors import DataError
from bench.files import replacing

log = logging.getLogger("bench")

ANSWER_SECONDS = 5.0
FILE_SECONDS = 600.0
APT_SECONDS = 180.0
# Several times the largest file that is had this way.
MAX_FILE_BYTES = 500_000_000
TOO_LARGE = f"more than {MAX_FILE_BYTES:,} bytes"
# The same for files that are written to the disk as they come, and how often is said how far one is.
MAX_LARGE_BYTES, LARGE_FILE_SECONDS = 20_000_000_000, 6 * 3600.0
SAY_SECONDS = 5.0


class Unavailable(Exception):
    """One source cannot give the files, and `str(error)` is why. The next source is tried."""


class Source(Protocol):
    """A place that gives files.

    `get` returns the uncompressed bytes by name, or raises Unavailable. `problem` says why it cannot, as far as that is
    found out without getting them; None when it may.
    """

    def get(self, names: Sequence[str]) -> dict[str, bytes]: ...

    def problem(self, names: Sequence[str]) -> str | None: ...

    def __str__(self) -> str: ...


def obtain(title: str, folder: Path, checksums: Mapping[str, str], sources: Sequence[Source]) -> None:
    """Put the files of `checksums` into `folder`, from the first source that has them right.

    Does nothing when they are there. Raises DataError with one line that says what was tried and what to do.
    """
    if all(load(folder, name, checksums) is not None for name in checksums):
        return
    tried = []
    for source in sources:
        log.info("%s: trying %s", title, source)
        try:
            files = source.get(list(checksums))
            for name, content in files.items():
                if not _is_right(content, checksums[name]):
                    raise Unavailable(f"{name} is not the file that was expected (its checksum differs)")
        except Unavailable as error:
            log.info("%s: %s: %s", title, source, error)
            tried.append(f"{source}: {error}")
            continue
        for name, content in files.items():
            write_atomically(folder / name, content)
        log.info("%s: taken from %s, kept in %s", title, source, folder)
        return
    files_wanted = ", ".join(f"{name}.gz" for name in checksums)
    raise DataError(
        f"{title} could not be had. Tried: {'; '.join(tried)}. "
        f"Connect to the network, or copy {files_wanted} into {folder}"
    )


def lacking(folder: Path, checksums: Mapping[str, str], sources: Sequence[Source], size_bytes: int) -> Download | None:
    """Return what `obtain` would get, and from where; None when the files are there. Nothing is downloaded."""
    names = list(checksums)
    if all(load(folder, name, checksums) is not None for name in names):
        return None
    tried = []
    for source in sources:
        problem = source.problem(names)
        if problem is None:
            return Download(str(source), size_bytes)
        tried.append(f"{source}: {problem}")
    return Download(str(sources[-1]), size_bytes, "; ".join(tried))


def load(folder: Path, name: str, checksums: Mapping[str, str]) -> bytes | None:
    """Return a file that `obtain` keeps, or None when it is missing or not the right one."""
    try:
        content = (folder / name).read_bytes()
    except OSError:
        return None
    return content if _is_right(content, checksums[name]) else None


def _is_right(content: bytes, checksum: str) -> bool:
    return hashlib.sha256(content).hexdigest() == checksum


def _unpacked(name: str, content: bytes) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            unpacked = packed.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Unavailable(f"{name}.gz is damaged ({error})") from error
    if len(unpacked) > MAX_FILE_BYTES:
        raise Unavailable(f"{name}.gz unpacks to {TOO_LARGE}")
    return unpacked


@dataclass(frozen=True)
class Folder:
    """Files in a folder on this machine, plain or as .gz. `what` names the folder for people."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.what} ({self.path})"

    def get(self, names: Sequence[str]) -> dict[str, bytes]:
        """Read the files."""
        if not self.path.is_dir():
            raise Unavailable("not there")
        return {name: self._read(name) for name in names}

    def problem(self, names: Sequence[str]) -> str | None:
        """Look for the files."""
        lacks = [n for n in names if not any((self.path / end).is_file() for end in (f"{n}.gz", n))]
        return "not there" if not self.path.is_dir() else f"it has no {lacks[0]}" if lacks else None

    def _read(self, name: str) -> bytes:
        for path in (self.path / f"{name}.gz", self.path / name):
            if path.is_file():
                try:
                    if path.stat().st_size > MAX_FILE_BYTES:
                        raise Unavailable(f"{path} is {TOO_LARGE}")
                    return _unpacked(name, path.read_bytes())
                except OSError as error:
                    raise Unavailable(f"cannot read {path}: {error.strerror}") from error
        raise Unavailable(f"it has no {name}")


@dataclass(frozen=True)
class Mirror:
    """Files as `url`/NAME.gz. Gives up when there is no answer in `answer_seconds`; never tries twice."""

    url: str
    answer_seconds: float = ANSWER_SECONDS

    def __str__(self) -> str:
        return self.url

    def get(self, names: Sequence[str]) -> dict[str, bytes]:
        """Download the files."""
        return {name: _unpacked(name, self._download(f"{self.url.rstrip('/')}/{name}.gz")) for name in names}

    def problem(self, names: Sequence[str]) -> str | None:
        """Ask for the first file's header."""
        return unreachable(f"{self.url.rstrip('/')}/{names[0]}.gz", self.answer_seconds)

    def _download(self, url: str) -> bytes:
        log.info("downloading %s", url)
        return b"".join(_received(url, self.answer_seconds, MAX_FILE_BYTES, FILE_SECONDS))


def unreachable(url: str, answer_seconds: float = ANSWER_SECONDS, any_answer: bool = False) -> str | None:
    """Say why a file cannot be downloaded now, as far as its server says without sending it; None when it may.

    With `any_answer` it is the server that is asked for, and an error of its own is an answer.
    """
    try:
        _opened(urllib.request.Request(url, method="HEAD"), answer_seconds).close()
    except urllib.error.HTTPError as error:
        return None if any_answer else _reason(error)
    except Unavailable as error:
        return str(error)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _reason(error)
    return None


def download(title: str, url: str, path: Path, md5: str, otherwise: str) -> None:
    """Put the file at `url` to `path`, whole and with the right checksum, or not at all: one too large for memory.

    Raises DataError with one line that says why not, and what to do: connect to the network, or `otherwise`.
    """
    log.info("%s: downloading %s", title, url)
    found, said, size = hashlib.md5(usedforsecurity=False), time.monotonic(), 0
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            for chunk in _received(url, ANSWER_SECONDS, MAX_LARGE_BYTES, LARGE_FILE_SECONDS):
                file.write(chunk)
                found.update(chunk)
                size += len(chunk)
                if time.monotonic() - said > SAY_SECONDS:
                    said = time.monotonic()
                    log.info("%s: %s MB so far", title, f"{size / 1e6:,.0f}")
            if found.hexdigest() != md5:
                raise Unavailable("it is not the file that was expected (its checksum differs)")
    except Unavailable as error:
        raise DataError(
            f"{title} could not be had. Tried: {url}: {error}. Connect to the network, or {otherwise}"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot write {path}: {reason}; make room there, or set BENCH_CACHE to another folder"
        ) from error


def received(url: str) -> bytes:
    """Return a file as its server has it, one that memory holds. Raises Unavailable."""
    log.info("downloading %s", url)
    return b"".join(_received(url, ANSWER_SECONDS, MAX_FILE_BYTES, FILE_SECONDS))


def _received(url: str, answer_seconds: float, most_bytes: int, most_seconds: float) -> Iterator[bytes]:
    """Yield what a server sends, piece by piece. Raises Unavailable."""
    end, size = time.monotonic() + most_seconds, 0
    try:
        with _opened(url, answer_seconds) as response:
            # read1 returns with what there is, so that a trickle is noticed before it has filled a buffer.
            while chunk := response.read1(1 << 16):
                if (size := size + len(chunk)) > most_bytes:
                    raise Unavailable(f"{url} is more than {most_bytes:,} bytes")
                if time.monotonic() > end:
                    raise Unavailable(f"too slow: not done in {most_seconds:.0f} s")
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(_reason(error)) from error


def _opened(url: str | urllib.request.Request, seconds: float) -> http.client.HTTPResponse:
    """Open a URL within `seconds` in all. A socket's own timeout covers neither names nor many addresses."""
    answers: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()
    given_up = threading.Event()

    def ask() -> None:
        try:
            response = urllib.request.urlopen(url, timeout=seconds)
        except urllib.error.HTTPError as error:
            error.close()
            answers.put(error)
        except (OSError, http.client.HTTPException) as error:
            answers.put(error)
        else:
            answers.put(response)
            if given_up.is_set():
                response.close()

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        given_up.set()
        raise Unavailable(f"no answer in {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return " ".join(str(getattr(reason, "strerror", None) or reason or type(error).__name__).split())


@dataclass(frozen=True)
class DebianPackage:
    """Files inside a Debian package, fetched and unpacked without root and without changing the system.

    `folder` is where the package would install them. Everything that apt writes goes to a temporary folder.
    """

    name: str
    folder: Path

    def __str__(self) -> str:
        return f"apt-get download {self.name}"

    def get(self, names: Sequence[str]) -> dict[str, bytes]:
        """Fetch the package and read the files from it."""
        problem = self.problem(names)
        if problem:
            raise Unavailable(problem)
        with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
            room = Path(temporary)
            package = self._download(room)
            _run(["dpkg-deb", "-x", str(package), str(room / "files")], room, {})
            return Folder(room / "files" / self.folder.relative_to("/"), "the package").get(names)

    def problem(self, names: Sequence[str]) -> str | None:
        """Look for the programs; whether the package can be had is found out by fetching it."""
        lacks = [program for program in ("apt-get", "apt-config", "dpkg-deb") if shutil.which(program) is None]
        return f"there is no {lacks[0]} on this machine" if lacks else None

    def _download(self, room: Path) -> Path:
        (room / "lists" / "partial").mkdir(parents=True)
        (room / "cache" / "archives" / "partial").mkdir(parents=True)
        command = ["apt-get", "-q", "download", self.name]
        try:
            _run(command, room, _apt_settings(room, own_lists=False))
        except Unavailable:
            # No package lists (a bare machine) or stale ones: get fresh lists for this one download.
            log.info("reading the package lists into a temporary folder")
            settings = _apt_settings(room, own_lists=True)
            try:
                _run(["apt-get", "-q", "update"], room, settings)
            except Unavailable as error:
                log.info("apt-get update: %s", error)
            _run(command, room, settings)
        packages = sorted(room.glob("*.deb"))
        if not packages:
            raise Unavailable("apt-get gave no package")
        return packages[0]


def _apt_settings(room: Path, own_lists: bool) -> dict[str, str]:
    """Write apt's settings for one private use, and return the environment that selects them.

    They are the machine's own (its sources, its proxy), without hooks, and with every folder that apt writes to
    replaced.
    """
    settings = _run(["apt-config", "dump"], room, {}).splitlines()
    lines = [line for line in settings if "-Invoke" not in line]
    lines += ['Dir::Etc::Main "/dev/null";', 'Dir::Etc::Parts "/dev/null";', f'Dir::Cache "{room}/cache";']
    lines += ['Acquire::Retries "0";', 'Acquire::Languages "none";', 'APT::Sandbox::User "root";']
    lines += [f'Acquire::{kind}::Timeout "{ANSWER_SECONDS:.0f}";' for kind in ("http", "https")]
    if own_lists:
        lines.append(f'Dir::State::Lists "{room}/lists";')
    path = room / "apt.conf"
    path.write_text("\n".join(lines) + "\n")
    return {"APT_CONFIG": str(path)}


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a program to its end and return what it printed. Raises Unavailable with its last complaint."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, complaints = process.communicate(timeout=APT_SECONDS)
        except BaseException as error:
            # apt's downloads are children that outlive it, so the whole group ends.
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise Unavailable(f"{command[0]} took more than {APT_SECONDS:.0f} s") from error
            raise
    if process.returncode != 0:
        last = (complaints.strip().splitlines() or [f"ended with {process.returncode}"])[-1]
        raise Unavailable(f"{command[0]}: {last.removeprefix('E: ')}")
    return output

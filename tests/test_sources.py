"""Where the files of a data set come from, and what is said when they can't be had."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.datasets import _sources, fashion_mnist
from bench.datasets._sources import DebianPackage, Folder, Mirror, Unavailable, load, obtain
from bench.errors import DataError

FILES = {"pictures": b"\x00\x01\x02" * 500, "labels": b"0123456789" * 40}
CHECKSUMS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


@dataclass
class Site:
    """A web server on this machine: what it answers by path, and what it was asked."""

    url: str
    answers: dict[str, bytes]
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.append(self.path)
            if "trickle" in self.path:
                self.trickle()
                return
            content = here.answers.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def trickle(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not stopped.wait(0.02):
                    self.wfile.write(b".")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Site(
        f"http://127.0.0.1:{server.server_address[1]}/data",
        {f"/data/{name}.gz": gzip.compress(content, 9) for name, content in FILES.items()},
    )
    stopped = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    stopped.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def folder_with(folder: Path, files: dict[str, bytes], level: int = 6) -> Folder:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, level))
    return Folder(folder, "a folder")


def kept(folder: Path) -> dict[str, bytes | None]:
    return {name: load(folder, name, CHECKSUMS) for name in FILES}


def test_a_mirror_gives_files_and_they_are_kept_uncompressed(site: Site, tmp_path: Path) -> None:
    obtain("things", tmp_path / "cache", CHECKSUMS, [Mirror(site.url)])
    assert kept(tmp_path / "cache") == FILES
    assert (tmp_path / "cache" / "labels").read_bytes() == FILES["labels"]


@pytest.mark.parametrize("level", [1, 9])
def test_checksums_are_of_the_uncompressed_bytes_so_recompressed_files_are_right(tmp_path: Path, level: int) -> None:
    obtain("things", tmp_path / "cache", CHECKSUMS, [folder_with(tmp_path / "there", FILES, level)])
    assert kept(tmp_path / "cache") == FILES


def test_plain_files_in_a_folder_are_right_too(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    obtain("things", tmp_path / "cache", CHECKSUMS, [Folder(tmp_path, "a folder")])
    assert kept(tmp_path / "cache") == FILES


def test_the_first_source_that_has_the_files_wins_and_later_ones_are_not_asked(site: Site, tmp_path: Path) -> None:
    obtain("things", tmp_path / "cache", CHECKSUMS, [folder_with(tmp_path / "there", FILES), Mirror(site.url)])
    assert site.asked == []


def test_files_that_are_here_are_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    for _ in range(2):
        obtain("things", tmp_path / "cache", CHECKSUMS, [Mirror(site.url)])
    assert len(site.asked) == len(FILES)


def test_a_damaged_file_in_the_cache_is_fetched_again(site: Site, tmp_path: Path) -> None:
    obtain("things", tmp_path, CHECKSUMS, [Mirror(site.url)])
    (tmp_path / "labels").write_bytes(b"damaged")
    assert load(tmp_path, "labels", CHECKSUMS) is None
    obtain("things", tmp_path, CHECKSUMS, [Mirror(site.url)])
    assert kept(tmp_path) == FILES


def test_a_source_with_another_file_under_the_name_is_passed_over(site: Site, tmp_path: Path) -> None:
    wrong = folder_with(tmp_path / "wrong", {**FILES, "labels": b"another"})
    obtain("things", tmp_path / "cache", CHECKSUMS, [wrong, Mirror(site.url)])
    assert kept(tmp_path / "cache") == FILES


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "Not Found"),
        (gzip.compress(b"another", mtime=0), "checksum differs"),
        (gzip.compress(FILES["labels"], mtime=0)[:-9], "damaged"),
        (b"<html>log in first</html>", "checksum differs"),
    ],
)
def test_what_a_mirror_gets_wrong_is_said_and_nothing_is_kept(
    site: Site, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    site.answers.pop("/data/labels.gz")
    if content is not None:
        site.answers["/data/labels.gz"] = content
    with pytest.raises(DataError, match=reason):
        obtain("things", tmp_path / "cache", CHECKSUMS, [Mirror(site.url)])
    assert not (tmp_path / "cache").exists()


def test_a_server_that_does_not_answer_is_given_up_in_time(silent: str) -> None:
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"no answer in|timed out"):
        Mirror(silent, answer_seconds=0.3).get(list(FILES))
    assert time.monotonic() - start < 3


def test_a_transfer_that_never_ends_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "FILE_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(Unavailable, match="too slow"):
        Mirror(f"{site.url}/trickle").get(["labels"])
    assert time.monotonic() - start < 3


def test_when_all_sources_fail_one_line_names_each_and_says_what_to_do(site: Site, closed: str, tmp_path: Path) -> None:
    site.answers.clear()
    sources = [Folder(tmp_path / "nowhere", "the cache"), Mirror(closed), Mirror(site.url)]
    with pytest.raises(DataError) as error:
        obtain("things", tmp_path / "cache", CHECKSUMS, sources)
    said = str(error.value)
    assert "\n" not in said
    for part in ("the cache", "not there", closed, "refused", site.url, "Not Found", "Connect to the network"):
        assert part in said
    assert f"copy pictures.gz, labels.gz into {tmp_path / 'cache'}" in said
    assert said.index("the cache") < said.index(closed) < said.index(site.url)


def test_doing_what_the_message_says_helps(closed: str, tmp_path: Path) -> None:
    cache = folder_with(tmp_path / "cache", FILES)
    obtain("things", cache.path, CHECKSUMS, [cache, Mirror(closed)])
    assert kept(cache.path) == FILES


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(site: Site, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="BENCH_CACHE"):
        obtain("things", tmp_path / "cache", CHECKSUMS, [Mirror(site.url)])


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package repository in a folder is apt's only source. Returned is the folder of its package lists, empty."""
    for program in ("apt-get", "apt-config", "dpkg-deb"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here")
    folder_with(tmp_path / "package" / "usr" / "share" / "datasets" / "things", FILES)
    control = "Package: bench-things\nVersion: 1.0\nArchitecture: all\nMaintainer: bench <bench@example.org>\n"
    (tmp_path / "package" / "DEBIAN").mkdir()
    (tmp_path / "package" / "DEBIAN" / "control").write_text(f"{control}Description: files for a test\n")
    repository = tmp_path / "repository"
    repository.mkdir()
    package = repository / "bench-things_1.0_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", tmp_path / "package", package], check=True, stdout=subprocess.DEVNULL
    )
    content = package.read_bytes()
    index = f"Filename: ./{package.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
    (repository / "Packages").write_text(f"{control}{index}Description: files for a test\n")
    lists = tmp_path / "lists"
    (lists / "partial").mkdir(parents=True)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] copy:{repository} ./\n")
    settings = {"Dir::Etc::SourceList": tmp_path / "sources.list", "Dir::Etc::SourceParts": "/dev/null"}
    settings |= {"Dir::State::Lists": lists}
    (tmp_path / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    return lists


def test_a_debian_package_is_unpacked_without_touching_the_package_lists(apt: Path, tmp_path: Path) -> None:
    source = DebianPackage("bench-things", Path("/usr/share/datasets/things"))
    obtain("things", tmp_path / "cache", CHECKSUMS, [source])
    assert kept(tmp_path / "cache") == FILES
    assert sorted(path.name for path in apt.rglob("*")) == ["partial"]
    assert not Path("/usr/share/datasets/things").exists()


def test_a_debian_package_that_does_not_exist_is_said_to(apt: Path) -> None:
    with pytest.raises(Unavailable, match="bench-other"):
        DebianPackage("bench-other", Path("/usr/share/datasets/other")).get(["labels"])


def test_a_machine_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no apt-get on this machine"):
        DebianPackage("bench-things", Path("/usr/share/datasets/things")).get(["labels"])


def test_fashion_mnist_is_looked_for_in_the_order_that_the_documentation_gives(
    tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (closed,))
    monkeypatch.setattr(fashion_mnist, "PACKAGE_FOLDER", tmp_path / "package")
    start = time.monotonic()
    with pytest.raises(DataError) as error:
        fashion_mnist.FashionMnist().examples("test")
    assert time.monotonic() - start < 5
    said = str(error.value)
    places = [said.index(part) for part in ("the cache", closed, "the Debian package", "apt-get download")]
    assert places == sorted(places)


def test_fashion_mnist_is_read_as_its_authors_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The layout is the authors'; the four files themselves are not on every machine.
    pictures = bytes(range(256)) * 49
    files = {
        "t10k-images-idx3-ubyte": b"\0" * 16 + pictures[: 16 * 784],
        "t10k-labels-idx1-ubyte": b"\0" * 8 + b"\7" * 16,
    }
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(fashion_mnist, "COUNTS", {"test": 16})
    monkeypatch.setattr(fashion_mnist, "CHECKSUMS", {k: hashlib.sha256(v).hexdigest() for k, v in files.items()})
    (tmp_path / "fashion_mnist").mkdir()
    for name, content in files.items():
        (tmp_path / "fashion_mnist" / name).write_bytes(content)
    test = fashion_mnist.FashionMnist().examples("test")
    assert test.labels.tolist() == [7] * 16
    assert test.read(1).tobytes() == pictures[784 : 2 * 784]
    assert test.read(1).shape == (28, 28)

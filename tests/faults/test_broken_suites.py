"""Every broken suite of the corpus: its exact line, exit code 2, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faults.corpus import BASE, Broken, changed, generated, read
from refusals import refused
from runs import bench

CORPUS = [*read(), *generated()]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize("broken", CORPUS, ids=lambda broken: broken.title)
def test_a_broken_suite_is_one_exact_line_and_leaves_nothing_behind(
    broken: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.yaml").write_bytes(broken.content)
    assert refused(["plan", "toy.yaml", *broken.arguments], capsys, tmp_path) == broken.said


SOME = CORPUS[:: len(CORPUS) // 12]


@pytest.mark.parametrize("broken", SOME, ids=lambda broken: broken.title)
def test_run_and_report_say_the_same_line(broken: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "toy.yaml").write_bytes(broken.content)
    for command in ("run", "report"):
        assert refused([command, "toy.yaml", *broken.arguments], capsys, tmp_path) == broken.said


@pytest.mark.parametrize("broken", SOME[:4], ids=lambda broken: broken.title)
def test_the_real_command_says_the_same_line(broken: Broken, tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_bytes(broken.content)
    ended = bench(tmp_path, "plan", "toy.yaml", *broken.arguments)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"error: {broken.said}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["toy.yaml"]


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a directory": (lambda at: at.mkdir(), "toy.yaml: cannot be read: Is a directory"),
    "a loop of links": (
        lambda at: at.symlink_to(at),
        "toy.yaml: cannot be read: Too many levels of symbolic links",
    ),
    "a link that leads nowhere": (lambda at: at.symlink_to("gone.yaml"), "toy.yaml: there is no such file"),
    "no such file": (
        lambda at: at.with_name("toy2.yaml").touch(),
        "toy.yaml: there is no such file; did you mean 'toy2.yaml'?",
    ),
}


@pytest.mark.parametrize(("make", "said"), FILES.values(), ids=FILES.keys())
def test_what_is_no_file_is_one_exact_line(
    make: Callable[[Path], object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "toy.yaml")
    assert refused(["plan", "toy.yaml"], capsys, tmp_path) == said


def test_the_suite_that_all_of_them_break_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.planner import expand
    from bench.suite import load

    for text in (BASE, changed(""), "\ufeff" + BASE, BASE.replace("\n", "\r\n"), "---\n" + BASE + "...\n"):
        (tmp_path / "toy.yaml").write_text(text, encoding="utf-8", newline="")
        assert len(expand(load(tmp_path / "toy.yaml")).entries) == 1
    assert len(CORPUS) == len({broken.title for broken in CORPUS}) >= 200

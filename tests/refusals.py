"""Commands that must be refused: one line, exit code 2, and nothing written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.cli import main


def listing(folder: Path) -> list[tuple[str, int]]:
    """Return every path below a folder, and when it changed."""
    return sorted((str(p.relative_to(folder)), p.lstat().st_mtime_ns) for p in folder.rglob("*"))


def refused(arguments: Sequence[str], capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    """Run a command that must fail for a mistake of the user's; return its one line."""
    before = listing(folder)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    assert captured.err[:-1].isprintable()
    assert listing(folder) == before
    return captured.err.removeprefix("error: ").rstrip("\n")

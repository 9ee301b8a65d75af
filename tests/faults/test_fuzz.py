"""A short form of the fuzzing, and the page of the long one."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from faults.fuzz import HANG_SECONDS, KINDS, REPORTS, fuzz, page


@pytest.mark.parametrize("kind", KINDS)
def test_random_input_is_taken_or_refused_in_one_line_at_once_and_writes_nothing_elsewhere(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "results" / "cache"))
    caplog.set_level(logging.ERROR)
    found = fuzz(kind, 200, tmp_path)
    assert found.inputs >= 100
    assert found.crashes == []
    assert found.outside == []
    assert found.slowest_seconds < HANG_SECONDS


def test_the_published_page_is_what_its_json_gives_and_shows_no_crash() -> None:
    found = json.loads((REPORTS / "fuzz.json").read_text(encoding="utf-8"))
    assert (REPORTS / "fuzz.md").read_text(encoding="utf-8") == page(found)
    assert {row["kind"] for row in found["random"]} == set(KINDS)
    for row in found["random"]:
        assert row["inputs"] >= 10_000
        assert (row["crashes"], row["outside"]) == ([], [])
        assert row["slowest_seconds"] < HANG_SECONDS

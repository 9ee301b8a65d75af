"""What docs/security.md promises: what comes from strangers is data, is bounded, and drives nothing."""

from __future__ import annotations

import io
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import confirm
from bench.backbones.timm import _create
from bench.cli import main
from bench.compare import baseline, history, pytest_benchmark
from bench.datasets import _sources
from bench.errors import StoreError, UsageError, printable_lines
from bench.planner import expand
from bench.record import Record, loads
from bench.store import Store
from bench.suite import load
from suites import write

DEEP = '{"a": ' + "[" * 200_000 + "]" * 200_000 + "}"


def record(folder: Path, **changes: object) -> Record:
    plan = expand(load(write(folder)))
    cell = plan.entries[0].cell
    return replace(Record(cell.id, "toy", cell, "failed"), **changes)  # type: ignore[arg-type]


def test_json_that_is_nested_too_deeply_is_no_record_baseline_history_or_benchmark() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        loads(DEEP)
    with pytest.raises(ValueError, match="nested too deep"):
        pytest_benchmark.records(DEEP)
    with pytest.raises(StoreError, match="is no record of a baseline"):
        baseline.read(DEEP, "there")
    with pytest.raises(StoreError, match="is no line of a history"):
        history.read(DEEP, "there")


@pytest.mark.parametrize("commit", ["-Bmain", "--force", "HEAD", "main; true", "abc"])
def test_a_base_that_names_no_commit_is_not_given_to_git(commit: str, tmp_path: Path) -> None:
    stranger = record(tmp_path, environment={"git_commit": commit})
    with pytest.raises(UsageError, match="which is no commit"), confirm.codes([stranger], None, print):
        pass


def test_a_server_that_sends_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "MAX_FILE_BYTES", 10_000)
    endless = io.BufferedReader(io.BytesIO(b"a" * 100_000))
    monkeypatch.setattr(_sources, "_opened", lambda url, seconds: endless)
    with pytest.raises(_sources.Unavailable, match="is more than"):
        _sources.Mirror("http://there").get(["a"])


class Code:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("code of a checkpoint was run",)


def test_code_in_a_file_from_a_hub_is_not_run_whatever_the_library_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    _create("test_resnet")
    torch.save(Code(), tmp_path / "evil.bin")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "evil.bin", weights_only=False)  # as some releases of timm do


def test_a_record_cannot_drive_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    stranger = record(tmp_path, reason="\x1b]0;mine\x07 \x9b31m")
    Store("results", "toy").write(stranger)
    (tmp_path / "base.jsonl").write_text(json.dumps(record(tmp_path, reason=None, status="ok").to_json()) + "\n")
    (tmp_path / "new.jsonl").write_text(json.dumps(stranger.to_json()) + "\n")
    commands = (["plan", "toy.yaml"], ["show", stranger.cell_id], ["compare", "base.jsonl", "new.jsonl"])
    for arguments in (*commands, ["doctor", "toy.yaml\x1b[31m"]):
        with pytest.raises(SystemExit):
            main(arguments)
        out, err = capsys.readouterr()
        assert "mine" in out or "toy.yaml" in err
        assert not {"\x1b", "\x07", "\x9b"} & set(out + err)
    assert printable_lines("a\tb\nc\x1b") == "a\tb\nc\\x1b"

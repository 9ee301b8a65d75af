"""What can happen to the process that runs cells: each way has its status and its reason, and the others go on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import runs
from faults.plugin import fault, suite_of

import suites
from bench.engines.process import Deadline, Gone, Process, Raised

HOWS = ("segfault", "leak", "infinite", "phases", "crowded", "full", "nothing")


@pytest.fixture(scope="module")
def records(plugin: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One run in which everything goes wrong: the records by what was to happen."""
    folder = tmp_path_factory.mktemp("faults")
    suites.write(folder, suite_of(*map(fault, HOWS), "scratch"))
    done = runs.bench(folder, "run", "toy.yaml", "--no-report", extra=plugin)
    assert done.returncode == 3, done.stderr
    return {r["cell"]["strategy"].get("how", "scratch"): r for r in runs.records(folder, "toy").values()}


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("segfault", "failed", "the worker process was killed by SIGSEGV"),
        ("leak", "oom", "MemoryError"),
        ("infinite", "diverged", "the training loss is"),
        ("phases", "failed", "RuntimeError: no phases today"),
        ("full", "oom", "OutOfMemoryError: CUDA out of memory"),
        ("crowded", "ok", ""),
        ("nothing", "ok", ""),
        ("scratch", "ok", ""),
    ],
)
def test_each_fault_has_its_status_and_its_reason(records, how, status, reason):
    assert (records[how]["status"], reason in (records[how]["reason"] or "")) == (status, True), records[how]["reason"]


def test_what_runs_out_of_memory_is_run_again_in_pieces_and_marked(records):
    assert records["crowded"]["details"]["at_once"] == 2
    assert "at_once" not in records["nothing"]["details"]
    assert records["crowded"]["cell"]["recipe"]["batch_size"] == 6


@pytest.mark.slow
def test_a_hung_native_call_is_ended_within_five_seconds_of_its_deadline_with_its_children(plugin, tmp_path):
    suites.write(tmp_path, suite_of(fault("hang"), "scratch", deadline_seconds=3))
    pids = tmp_path / "PIDS"
    done = runs.bench(tmp_path, "run", "toy.yaml", "--no-report", extra={**plugin, "PIDS": str(pids)})
    assert done.returncode == 3, done.stderr
    found = {r["cell"]["strategy"]["name"]: r for r in runs.records(tmp_path, "toy").values()}
    assert (found["fault"]["status"], found["fault"]["reason"]) == ("timeout", "passed its deadline of 3 s")
    assert len(found["fault"]["curve"]) == 1
    assert found["scratch"]["status"] == "ok"
    assert all(not alive(int(pid)) for pid in pids.read_text(encoding="utf-8").split())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# The process alone


def deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGSTOP)


def fork_and_die(path: str) -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    Path(path).write_text(str(pid), encoding="utf-8")
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code: int) -> None:
    os._exit(code)


def broken(text: str) -> None:
    raise ValueError(text)


def unsendable() -> Any:
    return lambda: None


@pytest.fixture
def process():
    made = Process(len, [()])
    assert made.answered(60)
    assert made.answer() == 0
    yield made
    made.end()


def called(process: Process, function: Any, *args: Any) -> Any:
    process.send(function, args)
    assert process.answered(30)
    return process.answer()


def test_it_answers_call_after_call_with_what_was_returned_or_raised(process):
    assert called(process, len, "four") == 4
    with pytest.raises(Raised, match="ValueError: no such thing") as raised:
        called(process, broken, "no such thing")
    assert "in broken" in raised.value.traceback
    with pytest.raises(Raised, match="pickle"):
        called(process, unsendable)
    assert called(process, os.getpgid, 0) == process._process.pid


def test_its_end_is_told_with_its_exit_code(process):
    with pytest.raises(Gone) as gone:
        called(process, leave, 7)
    assert gone.value.exit_code == 7
    with pytest.raises(Gone):
        process.send(len, [()])


def test_its_end_is_told_though_a_forked_child_holds_its_pipes(process, tmp_path):
    process.send(fork_and_die, [str(tmp_path / "pid")])
    began = time.monotonic()
    while not process.answered(0.2):
        assert time.monotonic() - began < 5
    with pytest.raises(Gone) as gone:
        process.answer()
    assert gone.value.exit_code == -signal.SIGKILL
    process.end()
    assert runs.eventually(lambda: not alive(int((tmp_path / "pid").read_text(encoding="utf-8"))), 5)


def test_one_that_cannot_be_prepared_says_why():
    made = Process(broken, ["no device"])
    assert made.answered(60)
    with pytest.raises(Raised, match="ValueError: no device"):
        made.answer()
    made.end()


def test_one_that_is_stopped_and_deaf_is_ended(process):
    process.send(deaf, [])
    assert not process.answered(0.5)
    began = time.monotonic()
    process.end()
    assert time.monotonic() - began < 5
    assert not process._process.is_alive()


def test_a_deadline_does_not_follow_the_clock_on_the_wall(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert not Deadline(60).passed()
    assert not Deadline(None).passed()
    assert Deadline(0).passed()

"""Cells that go wrong in every way, runs and workers that are killed: nothing is lost but the cell in flight."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import runs
from faults.plugin import fault, suite_of

import suites
from bench.engines.local import LocalEngine, cause_of_death, out_of_memory_kills

# One run in which everything goes wrong

EVERYTHING = suite_of(
    "feature_extract",
    *(fault(how) for how in ("bug", "leave", "memory", "chatter", "killed", "silent")),
    {"name": "distill", "teacher": {"strategy": fault("bug")}},
    {"name": "partial_finetune", "unfreeze": 3},
    {"name": "distill", "alpha": 0.9, "teacher": {"strategy": {"name": "partial_finetune", "unfreeze": 3}}},
    "full_finetune",
    "scratch",
    overrides=[{"when": {"strategy": "full_finetune"}, "set": {"recipe": {"lr": 1e30}}}],
)


@pytest.fixture(scope="module")
def wreck(plugin: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("wreck")
    suites.write(folder, EVERYTHING)
    return folder, runs.bench(folder, "run", "toy.yaml", "--json", extra=plugin)


@pytest.fixture(scope="module")
def records(wreck: tuple[Path, Any]) -> dict[str, dict[str, Any]]:
    """The records by the name of the strategy and what sets it apart."""
    found = {}
    for record in runs.records(wreck[0], "toy").values():
        strategy = record["cell"]["strategy"]
        found[strategy.get("how") or f"{strategy['name']}{strategy.get('alpha', '')}"] = record
    return found


def test_the_others_go_on_and_the_exit_code_is_3(wreck, records):
    _, done = wreck
    assert done.returncode == 3, done.stderr
    assert len(records) == 12
    assert {name for name, r in records.items() if r["status"] == "ok"} == {"feature_extract", "chatter", "scratch"}


def test_what_a_plugin_prints_is_not_in_the_json(wreck):
    assert json.loads(wreck[1].stdout)["ran"] == 12
    assert "not JSON" not in wreck[1].stderr


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("bug", "failed", "KeyError: 'no such thing'"),
        ("leave", "failed", "SystemExit: 1"),
        ("memory", "oom", "DefaultCPUAllocator"),
        ("killed", "failed", "the worker process was killed by SIGKILL"),
        ("silent", "failed", "the worker process ended with exit code 0"),
        ("full_finetune", "diverged", "the training loss is"),
        ("partial_finetune", "skipped", "leaves nothing frozen"),
    ],
)
def test_each_way_to_go_wrong_has_its_status_and_its_reason(records, name, status, reason):
    assert (records[name]["status"], reason in records[name]["reason"]) == (status, True), records[name]["reason"]
    assert records[name]["seconds"]["standalone"] is None


def test_a_child_fails_with_the_reason_of_its_parent_and_is_skipped_when_its_parent_is(records):
    bug, child = records["bug"], records["distill0.5"]
    assert child["status"] == "failed"
    assert child["reason"] == f"its teacher {bug['cell_id']} is failed: {bug['reason']}"
    assert records["distill0.9"]["status"] == "skipped"
    assert "its teacher" in records["distill0.9"]["reason"]


@pytest.mark.parametrize("name", ["bug", "killed", "silent"])
def test_a_cell_that_went_wrong_keeps_its_curve_its_start_and_its_environment(records, name):
    assert [point["epoch"] for point in records[name]["curve"]] == [1]
    assert records[name]["started_at"]
    assert records[name]["environment"] == records["scratch"]["environment"]


def test_a_bug_keeps_its_traceback_and_a_dead_worker_its_last_words(records):
    assert "in bug" in records["bug"]["details"]["traceback"]
    assert records["killed"]["details"]["output"] == ["about to die"]


# One suite, stopped from outside again and again


@dataclass(frozen=True)
class Story:
    """A suite of four cells whose second one waits at a gate and whose third one never ends.

    It is run, Ctrl-C stops it, the next run is told to end, the one after it killed, and the last, with the gate open
    and a deadline, goes to the end. `kept` is the record of the first cell after each of the first three.
    """

    kept: list[dict[str, Any]]
    stopped: subprocess.CompletedProcess[str]
    told: int
    after_ctrl_c: dict[str, dict[str, Any]]
    reported: bool
    left_behind: list[str]
    last: subprocess.CompletedProcess[str]
    records: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def story(plugin: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    gate = folder / "GATE"
    gate.touch()
    extra = {**plugin, "GATE": str(gate)}
    suites.write(folder, suite_of("feature_extract", fault("gate"), fault("forever"), "scratch"))
    left_behind = []

    process = runs.start(folder, "run", "toy.yaml", extra=extra)
    wait_at_the_gate(gate, process)
    kept = finished(folder)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C: every process of the group is told
    out, err = process.communicate(timeout=60)
    stopped = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    left_behind += [] if runs.gone(process.pid) else ["the worker, after Ctrl-C"]
    after_ctrl_c = runs.records(folder, "toy")
    reported = (folder / "reports").exists()
    kept += finished(folder)

    process = runs.start(folder, "run", "toy.yaml", extra=extra)
    wait_at_the_gate(gate, process)
    process.terminate()  # what a scheduler of jobs does when their time is up
    process.communicate(timeout=60)
    told = process.returncode
    left_behind += [] if runs.gone(process.pid) else ["the worker, after SIGTERM to the run"]
    kept += finished(folder)

    process = runs.start(folder, "run", "toy.yaml", extra=extra)
    wait_at_the_gate(gate, process)
    process.kill()
    process.communicate(timeout=60)
    left_behind += [] if runs.gone(process.pid) else ["the worker, after kill -9 of the run"]
    kept += finished(folder)

    gate.unlink()
    last = runs.bench(folder, "run", "toy.yaml", "--set", "deadline_seconds=5", "--no-report", extra=extra)
    return Story(kept, stopped, told, after_ctrl_c, reported, left_behind, last, runs.records(folder, "toy"))


def wait_at_the_gate(gate: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the second cell is under way."""
    reached = gate.with_suffix(".reached")
    assert runs.eventually(lambda: process.poll() is not None or reached.exists())
    assert process.poll() is None, process.communicate()
    reached.unlink()


def finished(folder: Path) -> list[dict[str, Any]]:
    return [record for record in runs.records(folder, "toy").values() if record["status"] == "ok"]


def at(story: Story, how: str) -> dict[str, Any]:
    """Return the last record of a strategy."""
    return next(r for r in story.records.values() if how in r["cell"]["strategy"].values())


def test_ctrl_c_ends_with_130_and_says_that_the_same_command_goes_on(story):
    assert story.stopped.returncode == 130, story.stopped.stderr
    assert "the same command goes on from here" in story.stopped.stderr
    assert "Traceback" not in story.stopped.stdout + story.stopped.stderr
    assert not story.reported


def test_a_cell_that_was_interrupted_is_a_record_with_its_curve(story):
    interrupted = [r for r in story.after_ctrl_c.values() if r["status"] != "ok"]
    assert [(r["status"], len(r["curve"])) for r in interrupted] == [("interrupted", 1)]
    assert interrupted[0]["started_at"]
    assert interrupted[0]["environment"]["fingerprint"]


def test_no_process_outlives_a_run_that_was_stopped_or_killed(story):
    assert story.left_behind == []


def test_what_was_finished_is_kept_through_ctrl_c_and_kill_9_and_not_run_again(story):
    assert len(story.kept) == 4
    assert all(record == at(story, "feature_extract") for record in story.kept)


def test_a_run_that_is_told_to_end_ends_as_by_ctrl_c(story):
    assert story.told == 130


def test_the_next_run_goes_on_and_counts_its_attempts(story):
    assert story.last.returncode == 3, story.last.stderr
    assert "3 cells run; in all 3 ok, 1 timeout" in story.last.stdout
    gate = at(story, "gate")
    assert (gate["status"], gate["attempt"]) == ("ok", 3)


def test_a_cell_past_its_deadline_is_a_record_with_its_curve_and_its_start(story):
    late = at(story, "forever")
    assert (late["status"], late["reason"]) == ("timeout", "passed its deadline of 5 s")
    assert len(late["curve"]) == 1
    assert late["started_at"]
    assert "  timeout: fault" in story.last.stdout


def test_after_a_deadline_the_next_cell_runs_on_a_fresh_worker(story):
    assert at(story, "scratch")["status"] == "ok"
    assert story.last.stdout.count("starting the worker") == 2


# Workers alone


def test_an_idle_worker_that_was_killed_is_replaced():
    said: list[str] = []
    with LocalEngine("cpu") as engine:
        for _ in range(2):
            assert engine.check([], lambda message: said.append(message["kind"])) is None
            (worker,) = multiprocessing.active_children()
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
        folder = engine.folder
    assert said.count("starting") == 2
    assert not folder.exists()
    assert multiprocessing.active_children() == []


def test_a_worker_that_the_system_killed_for_its_memory_ran_out_of_memory():
    assert cause_of_death(-9, out_of_memory_kills=1)[0] == "oom"
    assert cause_of_death(-9, out_of_memory_kills=0) == ("failed", "the worker process was killed by SIGKILL")
    assert cause_of_death(3, out_of_memory_kills=1) == ("failed", "the worker process ended with exit code 3")
    assert out_of_memory_kills() >= 0

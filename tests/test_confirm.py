"""Measuring again, turn by turn: what a slow moment was, and what the code is."""

from __future__ import annotations

import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from records import cell, record
from runs import bench

from bench import confirm
from bench.compare.gate import compare
from bench.compare.measures import METRICS, parse
from bench.compare.outputs import text
from bench.errors import UsageError
from suites import write

LIMIT = "seconds_train:+10%"
# A training step that takes three times as long.
SLOW = """
import time as _time
_call = Eager.__call__
def _slow(self, *given):
    began = _time.perf_counter()
    found = _call(self, *given)
    end = _time.perf_counter() + 2 * (_time.perf_counter() - began)
    while _time.perf_counter() < end:
        pass
    return found
Eager.__call__ = _slow
"""


def runs(train: float):
    return [record(cell("full_finetune", 100, seed), 0.8, train * (1 + 0.01 * seed)) for seed in range(3)]


def gate_of(base, new):
    limits, status = parse([LIMIT], METRICS)
    return compare(base, new, limits, status), limits


def measured(monkeypatch, by: float, told=None):
    """Have runs that take turns say that the new code takes so many times as long."""
    drift = iter([1.0, 1.3, 0.8, 1.1, 0.9, 1.0] * 4)

    def run(code, suite, cells):
        assert cells == sorted(r.cell_id for r in runs(1.0)[: confirm.MOST_SEEDS])
        scale = next(drift) if code.name == "base" else 0.0
        run.scale = scale or run.scale
        of = runs(5.0 * run.scale * (by if code.name == "new" else 1.0))
        return {r.cell_id: r for r in of}

    run.scale = 1.0
    monkeypatch.setattr(confirm, "_run", run)


def again(monkeypatch, by: float):
    monkeypatch.setattr(confirm, "_order", lambda number: ("base", "new"))
    outcome, limits = gate_of(runs(5.0), runs(6.5))
    assert outcome.exit_code == 1
    measured(monkeypatch, by)
    both = confirm.Codes(Path("/base"), Path("/new"))
    rounds: list[str] = []
    return confirm.confirmed(outcome, limits, runs(6.5), Path("s.yaml"), both, 3, rounds.append), rounds


def test_a_slow_moment_is_not_confirmed(monkeypatch):
    outcome, rounds = again(monkeypatch, 1.0)
    (change,) = outcome.changes
    assert (change.verdict, outcome.exit_code) == ("no change shown", 0)
    assert change.note == "not confirmed: +0.0% in 3 rounds turn by turn; +30.0% between the sessions"
    assert f"{change.note}: seconds_train of full_finetune · n=100" in text(outcome).splitlines()
    assert rounds[0] == "round 1 of 3: base"
    assert len(rounds) == 6


def test_a_slower_code_is_confirmed_whatever_the_machine_does_meanwhile(monkeypatch):
    outcome, _ = again(monkeypatch, 1.25)
    (change,) = outcome.changes
    assert (change.verdict, outcome.exit_code) == ("regression", 1)
    assert change.change == pytest.approx(0.25)
    assert change.note.startswith("confirmed: +25.0% in 3 rounds")


def test_the_sides_take_turns_at_going_first():
    assert [confirm._order(number) for number in range(3)] == [("base", "new"), ("new", "base"), ("base", "new")]


def test_only_times_are_measured_again():
    base = runs(5.0)
    more = [replace(r, cost=replace(r.cost, params_total=(r.cost.params_total or 0) + 1)) for r in runs(6.5)]
    limits, status = parse([LIMIT, "params_total:+0"], METRICS)
    outcome = compare(base, more, limits, status)
    assert {change.measure for change in outcome.regressions} == {"seconds_train", "params_total"}
    assert [change.measure for change in confirm.slower(outcome, limits)] == ["seconds_train"]


def test_rounds_that_could_not_be_timed_confirm_nothing():
    outcome, limits = gate_of(runs(5.0), runs(6.5))
    (change,) = outcome.regressions
    made = confirm._judged(outcome.changes, {change: [math.log(1.3)] * 2}, {limits[0].measure.name: limits[0]})
    assert made[0].verdict == "not comparable"
    assert "2 of the 3 rounds" in made[0].note


def test_a_base_of_an_unknown_commit_needs_its_code():
    bare = [replace(r, environment={}) for r in runs(5.0)]
    with pytest.raises(UsageError, match="do not say which commit"), confirm.codes(bare, None):
        pass
    with pytest.raises(UsageError, match="--base-code nowhere: is no folder"), confirm.codes(bare, Path("nowhere")):
        pass


# Six seeds and five rounds: on a machine that is busy with other work, some of their times are not valid.
@pytest.mark.slow
def test_a_slower_commit_is_confirmed_by_the_command(tmp_path):
    code = tmp_path / "code"
    package = Path(confirm.__file__).parent
    shutil.copytree(package, code / "bench", ignore=shutil.ignore_patterns("__pycache__"))

    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=code, check=True, capture_output=True
        )

    def run(*words: str):
        return bench(tmp_path, *words, extra={"PYTHONPATH": str(code)})

    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "fast")
    changes = {
        "matrix": {"strategy": ["full_finetune"], "seed": list(range(6))},
        "recipe": {"epochs": 60, "batch_size": 4},
    }
    suite = write(tmp_path, changes)
    assert run("run", str(suite), "--results", "base", "--no-report").returncode == 0
    step = code / "bench" / "training" / "step.py"
    step.write_text(step.read_text(encoding="utf-8") + SLOW, encoding="utf-8")
    git("commit", "-am", "slow")
    assert run("run", str(suite), "--results", "new", "--no-report").returncode == 0
    limits = ["--fail-on", "seconds_train:+30%"]
    done = run("compare", "base/toy", "new/toy", *limits, "--confirm", str(suite), "--rounds", "5")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "round 5 of 5: new" in done.stderr
    assert "(confirmed: +" in done.stdout
    left = subprocess.run(["git", "worktree", "list"], cwd=code, check=True, capture_output=True, text=True).stdout
    assert len(left.splitlines()) == 1

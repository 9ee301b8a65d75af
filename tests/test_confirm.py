"""Measuring again, turn by turn: what a slow moment was, and what the code is."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import slower
from records import cell, record
from runs import bench

from bench import confirm
from bench.compare.gate import compare
from bench.compare.measures import parse
from bench.compare.outputs import text
from bench.errors import UsageError
from bench.planner import expand
from bench.record import Latency
from bench.suite import load as load_suite
from bench.tasks import every_metric
from suites import write

LIMIT = "seconds_train:+10%"
# A pass of a network that takes two milliseconds more.
PASS = """
import time as _time
_init = Network.__init__
def _slow(self, *given, **named):
    _init(self, *given, **named)
    self.model.register_forward_hook(lambda *_: _time.sleep(0.002))
Network.__init__ = _slow
"""


def toy_cell():
    """Return a cell that can be built here."""
    with tempfile.TemporaryDirectory() as folder:
        (entry,) = expand(load_suite(write(Path(folder)))).entries
        return entry.cell


def runs(train: float):
    return [record(cell("full_finetune", 100, seed), 0.8, train * (1 + 0.01 * seed)) for seed in range(3)]


def gate_of(base, new):
    limits, status = parse([LIMIT], every_metric())
    return compare(base, new, limits, status), limits


def measured(monkeypatch, by: float, change=lambda r, by: r):
    """Have runs that take turns say that the new code takes so many times as long; return the cells that were run."""
    drift = iter([1.0, 1.3, 0.8, 1.1, 0.9, 1.0] * 4)
    asked = []

    def run(code, suite, cells):
        asked.append(cells)
        run.scale = next(drift) if code.name == "base" else run.scale
        scale = run.scale * (by if code.name == "new" else 1.0)
        return {r.cell_id: change(r, scale) for r in runs(5.0 * scale) if r.cell_id in cells}

    run.scale = 1.0
    monkeypatch.setattr(confirm, "_run", run)
    monkeypatch.setattr(confirm, "_order", lambda number: ("base", "new"))
    return asked


def again(outcome, limits, new):
    both = confirm.Codes(Path("/base"), Path("/new"))
    rounds: list[str] = []
    return confirm.confirmed(outcome, limits, new, Path("s.json"), both, 3, rounds.append), rounds


def test_a_slow_moment_is_not_confirmed(monkeypatch):
    outcome, limits = gate_of(runs(5.0), runs(6.5))
    assert outcome.exit_code == 1
    asked = measured(monkeypatch, 1.0)
    outcome, rounds = again(outcome, limits, runs(6.5))
    (change,) = outcome.changes
    assert (change.verdict, outcome.exit_code) == ("no change shown", 0)
    assert change.note == "not confirmed: +0.0% turn by turn, 3 rounds; +30.0% between the sessions"
    assert f"{change.note}: seconds_train of full_finetune · n=100" in text(outcome).splitlines()
    assert (len(rounds), rounds[0]) == (6, "round 1 of 3: base")
    assert all(cells == sorted(r.cell_id for r in runs(1.0)[: confirm.MOST_SEEDS]) for cells in asked)


def test_a_slower_code_is_confirmed_whatever_the_machine_does_meanwhile(monkeypatch):
    outcome, limits = gate_of(runs(5.0), runs(6.5))
    measured(monkeypatch, 1.25)
    outcome, _ = again(outcome, limits, runs(6.5))
    (change,) = outcome.changes
    assert (change.verdict, outcome.exit_code) == ("regression", 1)
    assert change.change == pytest.approx(0.25)
    assert change.note.startswith("confirmed: +25.0% turn by turn, 3 rounds")


def test_a_slower_code_is_found_though_a_fast_moment_hid_it(monkeypatch):
    outcome, limits = gate_of(runs(5.0), runs(4.0))
    assert outcome.exit_code == 0
    measured(monkeypatch, 1.25)
    outcome, _ = again(outcome, limits, runs(4.0))
    (change,) = outcome.changes
    assert (change.verdict, outcome.exit_code) == ("regression", 1)
    assert change.note == "turn by turn, 3 rounds; -20.0% between the sessions"


def with_latency(r, scale):
    samples = tuple(scale * ms for ms in (2.0, 2.1, 2.2) * 10)
    return replace(r, latency=(Latency("cpu", 2, 1, samples[10], 2.2, 2.2, samples, 400.0),))


def test_a_network_is_timed_once_for_all_points_that_have_it(monkeypatch):
    def pair(scale):
        return [
            with_latency(record(cell(s, 100, seed), 0.8), scale)
            for s in ("scratch", "full_finetune")
            for seed in (0, 1, 2)
        ]

    timed = []

    def bursts(both, of, rounds, told):
        timed.append(of.cell_id)
        yield from [(2.0, 2.0 * by) for by in (1.2, 1.21, 1.19, 1.2)]

    monkeypatch.setattr(confirm, "_bursts", bursts)
    base, new = pair(1.0), pair(1.3)
    limits, status = parse(["latency_p50:+10%"], every_metric())
    outcome, _ = again(compare(base, new, limits, status), limits, new)
    assert len(timed) == 1
    assert [(c.verdict, round(c.change, 2)) for c in outcome.changes] == [("regression", 0.2)] * 2
    assert len({c.p for c in outcome.changes}) == 1


@pytest.mark.alone
@pytest.mark.slow
def test_a_network_is_timed_by_two_codes_in_turn(tmp_path):
    of = replace(with_latency(record(cell("full_finetune", 100), 0.8), 1.0), cell=toy_cell())
    slow = tmp_path / "slow"
    shutil.copytree(Path(confirm.__file__).parent, slow / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    network = slow / "bench" / "backbones" / "_network.py"
    network.write_text(network.read_text(encoding="utf-8") + PASS, encoding="utf-8")
    both = confirm.Codes(Path(confirm.__file__).parents[1], slow)
    pairs = list(confirm._bursts(both, of, 1, lambda text: None))
    assert pairs[0][1] > pairs[0][0] + 1.0  # milliseconds
    broken = confirm.Codes(both.base, tmp_path)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("raise RuntimeError('not today')", encoding="utf-8")
    with pytest.raises(UsageError, match=r"was not timed with .*not today"):
        list(confirm._bursts(broken, of, 1, lambda text: None))


def test_cells_that_only_the_new_side_has_are_left_out(monkeypatch):
    """With a cell more, the same points have other names: what sets cells apart is named."""
    more = [record(replace(r.cell, backbone={**r.cell.backbone, "name": "other"}), 0.8, 5.0) for r in runs(5.0)]
    base, new = runs(5.0), [*runs(6.5), *more]
    limits, status = parse([LIMIT], every_metric())
    measured(monkeypatch, 1.25)
    outcome, _ = again(compare(base, new, limits, status), limits, new)
    assert [change.verdict for change in outcome.changes] == ["regression"]


def test_points_without_a_latency_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(confirm, "_bursts", lambda *given: 1 / 0)
    bare = [replace(r, latency=()) for r in runs(5.0)]
    limits, status = parse(["latency_p50:+10%"], every_metric())
    outcome, _ = again(compare(bare, bare, limits, status), limits, bare)
    assert [change.verdict for change in outcome.changes] == ["not comparable"]


def test_only_times_are_measured_again():
    limits, _ = parse([LIMIT, "params_total:+0", "peak_memory_bytes:+5%"], every_metric())
    assert [limit.measure.name for limit in confirm.timed(limits)] == ["seconds_train"]


def test_rounds_that_could_not_be_timed_give_no_verdict(monkeypatch):
    outcome, limits = gate_of(runs(5.0), runs(6.5))
    measured(monkeypatch, 1.3, lambda r, scale: replace(r, timing_valid=False))
    (change,) = again(outcome, limits, runs(6.5))[0].changes
    assert change.verdict == "not comparable"
    assert "0 of the 3 rounds" in change.note


def test_a_base_of_an_unknown_commit_needs_its_code():
    bare = [replace(r, environment={}) for r in runs(5.0)]
    with pytest.raises(UsageError, match="do not say which commit"), confirm.codes(bare, None, print):
        pass
    with (
        pytest.raises(UsageError, match="--base-code nowhere: is no folder"),
        confirm.codes(bare, Path("nowhere"), print),
    ):
        pass


# Six seeds and five rounds: on a machine that is busy with other work, some of their times are not valid.
@pytest.mark.alone
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
    step.write_text(step.read_text(encoding="utf-8") + slower.step(2), encoding="utf-8")
    git("commit", "-am", "slow")
    assert run("run", str(suite), "--results", "new", "--no-report").returncode == 0
    limits = ["--fail-on", "seconds_train:+30%"]
    done = run("compare", "base/toy", "new/toy", *limits, "--confirm", "--rounds", "5")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "round 5 of 5: new" in done.stderr
    assert "(confirmed: +" in done.stdout
    left = subprocess.run(["git", "worktree", "list"], cwd=code, check=True, capture_output=True, text=True).stdout
    assert len(left.splitlines()) == 1

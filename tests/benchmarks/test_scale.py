"""The harness itself at 1,000, 10,000 and 100,000 cells: seconds and memory of its commands, and of its start.

Records are made up (`synthetic`); nothing is trained. Seconds are those of the functions behind a command, and of whole
commands, each in a process of its own, with its peak memory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from benchmarks.synthetic import SWEEPS, fill, write_suite

from bench import overview, schedule
from bench.planner import Plan, expand
from bench.report import Study, write
from bench.store import Store
from bench.suite import load

# Seconds, by what is measured, for 10,000 cells or records.
TARGETS = {"plan": 1.0, "resume": 1.0, "report": 10.0, "help": 0.4, "work around a cell": 0.05}
# A cell of it takes some tenths of a second.
SMALL_CELLS = """\
suite: small
task: {name: classify, test_size: 200, monitor_size: 0}
matrix:
  dataset: [{name: digits, resolution: 32}]
  size: [50, 100]
  backbone: [tf_efficientnet_lite0]
  strategy: [feature_extract]
  seed: [%s]
recipe: {epochs: 2}
"""
# A command that says at its end how much memory it has had resident at most.
MEASURED = """
import atexit, sys
def peak():
    with open("/proc/self/status") as status:
        sys.stderr.write(next(line for line in status if line.startswith("VmHWM")))
atexit.register(peak)
from bench.cli import main
main()
"""


@dataclass(frozen=True)
class Sweep:
    """A suite of so many cells in a folder of its own, with all its records."""

    cells: int
    suite: Path
    plan: Plan

    @property
    def store(self) -> Store:
        """The results."""
        return Store(self.suite.parent / "results", self.plan.suite.suite)

    @property
    def rounds(self) -> int:
        """How often to measure: the largest once, since that takes a minute."""
        return 3 if self.cells <= 10_000 else 1

    def forget(self) -> None:
        """Take away what is known of the records without reading them, as in a fresh clone."""
        shutil.rmtree(self.store.artifacts / "index", ignore_errors=True)


@pytest.fixture(scope="module", params=sorted(SWEEPS), ids=lambda cells: f"{cells}")
def sweep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    if request.config.getoption("bench_quick", default=False) and request.param > min(SWEEPS):
        pytest.skip("a quick run measures the smallest only")
    folder = tmp_path_factory.mktemp(f"sweep{request.param}")
    suite = write_suite(folder, SWEEPS[request.param])
    made = Sweep(request.param, suite, expand(load(suite)))
    fill(made.plan, made.store)
    yield made
    shutil.rmtree(folder)  # 1.5 GB


def told(benchmark: Any, what: str, sweep: Sweep, **more: Any) -> None:
    """Keep beside the seconds what they are of."""
    target = TARGETS[what] if sweep.cells == 10_000 else None
    records = len(sweep.plan.runnable)
    benchmark.extra_info.update(scale=what, cells=sweep.cells, records=records, target_seconds=target, **more)


def test_plan(benchmark: Any, sweep: Sweep) -> None:
    empty = Store(sweep.suite.parent / "none", "sweep")

    def plan() -> str:
        planned = expand(load(sweep.suite))
        return overview.text(planned, overview.rows(planned, schedule.status(planned, empty)))

    text = benchmark.pedantic(plan, rounds=sweep.rounds)
    assert f"{len(sweep.plan.runnable)} to run" in text
    told(benchmark, "plan", sweep, cache="none")


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_resume(benchmark: Any, sweep: Sweep, cache: str) -> None:
    before: Callable[[], None] = sweep.forget if cache == "cold" else lambda: None
    schedule.status(sweep.plan, sweep.store)
    found = benchmark.pedantic(
        lambda: schedule.status(sweep.plan, sweep.store), setup=before, rounds=sweep.rounds, warmup_rounds=0
    )
    assert (len(found.records), found.missing) == (len(sweep.plan.runnable), ())
    told(benchmark, "resume", sweep, cache=cache)


def test_report(benchmark: Any, sweep: Sweep) -> None:
    plan, folder = sweep.plan, sweep.suite.parent / "report"

    def report() -> Path:
        records = overview.records(plan, sweep.store)
        return write(Study(plan.suite.resolved(), plan.primary, tuple(records), plan.parents, "bench run"), folder)

    page = benchmark.pedantic(report, rounds=sweep.rounds)
    told(benchmark, "report", sweep, html_bytes=page.stat().st_size)


@pytest.mark.parametrize("what", ["plan", "resume", "report"])
def test_command(benchmark: Any, sweep: Sweep, what: str) -> None:
    words = {"plan": ["plan"], "resume": ["run", "--no-report"], "report": ["report"]}[what]
    folder = sweep.suite.parent
    peaks = []
    benchmark.pedantic(
        lambda: peaks.append(run(folder, *words, sweep.suite.name)), rounds=min(sweep.rounds, 3), warmup_rounds=0
    )
    told(benchmark, what, sweep, cache="warm", command=f"bench {' '.join(words)}", peak_rss_bytes=max(peaks))


def test_work_around_a_cell(benchmark: Any, tmp_path: Path) -> None:
    """What a warm run takes beside its cells' own seconds: what 60 cells more take, less those."""

    def whole(name: str, seeds: int) -> tuple[float, float]:
        (tmp_path / f"{name}.yaml").write_text(SMALL_CELLS % ", ".join(map(str, range(seeds))), encoding="utf-8")
        began = time.perf_counter()
        run(tmp_path, "run", f"{name}.yaml", "--results", name, "--no-report")
        seconds = time.perf_counter() - began
        own = [r.seconds for r in Store(tmp_path / name, "small").every()]
        return seconds, sum(s or 0.0 for each in own for s in (each.marginal, each.evaluate, each.measure))

    each: list[float] = []

    def pair() -> None:
        number = len(each)
        few, many = whole(f"few-{number}", 1), whole(f"many-{number}", 31)
        each.append((many[0] - few[0] - (many[1] - few[1])) / 60)

    benchmark.pedantic(pair, rounds=3)
    benchmark.extra_info.update(
        scale="work around a cell", cells=60, each_seconds=each, target_seconds=TARGETS["work around a cell"]
    )


@pytest.mark.parametrize("words", [["--help"], ["plan", "--help"]], ids=["bench", "plan"])
def test_help(benchmark: Any, tmp_path: Path, words: list[str]) -> None:
    peaks: list[int] = []
    benchmark.pedantic(lambda: peaks.append(run(tmp_path, *words)), rounds=10, warmup_rounds=1)
    benchmark.extra_info.update(
        scale="help", command=f"bench {' '.join(words)}", target_seconds=TARGETS["help"], peak_rss_bytes=max(peaks)
    )


@pytest.mark.parametrize("module", ["sys", "bench", "bench.cli", "bench.schedule", "bench.report"])
def test_import(benchmark: Any, module: str) -> None:
    """`sys` is the interpreter's own start, to be taken off the others."""
    code = f"import {module}, sys; assert 'torch' not in sys.modules"
    benchmark.pedantic(lambda: subprocess.run([sys.executable, "-c", code], check=True), rounds=10, warmup_rounds=1)
    benchmark.extra_info.update(scale="import", module=module)


def run(folder: Path, *words: str) -> int:
    """Run a command to its end in a folder; return its peak resident memory in bytes."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    _, count, unit = ended.stderr.splitlines()[-1].split()
    assert unit == "kB"
    return int(count) * 1024

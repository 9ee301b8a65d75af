"""Cold: a fresh process for each run, from its start to the trained model: imports, decoding and compiling are in."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from benchmarks.cases import Case, cold
from benchmarks.sides import Sides, Turns
from benchmarks.table import differing


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each case."""
    known = cold(metafunc.config.bench_device, metafunc.config.getoption("bench_quick"))
    metafunc.parametrize("case", known, ids=[case.name for case in known])


def test_a_fresh_process_reaches_the_same_accuracy(case: Case, sides: Sides, quick: bool, benchmark: Any) -> None:
    sides.warm(case.backbones, case.data, ())  # measures latencies, which are on no clock, once for all
    questions = [case.question(sides.backbone(case.backbone), seed) for seed in range(case.rounds)]
    turns = Turns(
        lambda i: [sides.ours_cold(questions[i], i)],
        [partial(lambda side, i: sides.theirs_cold(side, sides.plan(questions[i]), i), side) for side in case.sides],
    )
    benchmark.pedantic(turns.ours, setup=turns.before, teardown=turns.after, rounds=case.rounds)
    benchmark.extra_info.update(case.describe("cold", sides.device, sides.environment), runs=turns.runs)
    assert quick or not differing(benchmark.extra_info)

"""Warm: every strategy by the harness and by the other sides, each in its own warm process."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from benchmarks.cases import Case, cases
from benchmarks.sides import Sides, Turns
from benchmarks.table import differing


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each case."""
    known = cases(metafunc.config.bench_device, metafunc.config.getoption("bench_quick"))
    metafunc.parametrize("case", known, ids=[case.name for case in known])


def test_harness_and_textbook_reach_the_same_accuracy(case: Case, sides: Sides, quick: bool, benchmark: Any) -> None:
    sides.warm(case.backbones, case.data, case.sides)
    plans = [sides.plan(case.question(sides.backbone(case.backbone), seed)) for seed in range(case.rounds)]
    turns = Turns(
        lambda i: [sides.ours(plans[i], i)],
        [partial(lambda side, i: sides.theirs(side, plans[i], i), side) for side in case.sides],
    )
    benchmark.pedantic(turns.ours, setup=turns.before, teardown=turns.after, rounds=case.rounds)
    benchmark.extra_info.update(case.describe("warm", sides.device, sides.environment), runs=turns.runs)
    assert quick or not differing(benchmark.extra_info)

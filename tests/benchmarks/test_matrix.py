"""The whole matrix: several strategies at two sizes in one run of the harness, against the sum of the other side's."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.cases import Matrix, matrices
from benchmarks.harness import tasks
from benchmarks.sides import Run, Sides
from benchmarks.table import differing


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each matrix."""
    known = matrices(metafunc.config.bench_device, metafunc.config.getoption("bench_quick"))
    metafunc.parametrize("matrix", known, ids=[matrix.name for matrix in known])


def test_a_whole_matrix_reaches_the_same_accuracies(matrix: Matrix, sides: Sides, quick: bool, benchmark: Any) -> None:
    sides.warm(matrix.backbones, matrix.data, (matrix.side,))
    plan = sides.plan(matrix.question(sides.backbone(matrix.backbone)))
    todo = list(enumerate(tasks(plan, sides.device)))
    runs: list[Run] = []

    def others(part: slice) -> None:
        runs.extend(sides.task(matrix.side, task, key) for key, task in todo[part])

    # Half of the other side's cells before and half after: a machine that slows down slows both sides.
    benchmark.pedantic(
        lambda: runs.extend(sides.ours_whole(plan)),
        setup=lambda: others(slice(0, None, 2)),
        teardown=lambda: others(slice(1, None, 2)),
    )
    benchmark.extra_info.update(matrix.describe(sides.device, sides.environment), runs=runs)
    assert all(run["seconds"]["work"] > 0 for run in runs)
    assert quick or not differing(benchmark.extra_info)

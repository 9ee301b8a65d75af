"""The whole matrix: five strategies at two sizes in one run of the harness, against the sum of the textbook's runs."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.cases import LITE2, matrix
from benchmarks.harness import tasks
from benchmarks.sides import Run, Sides
from benchmarks.table import differing


def test_a_whole_matrix_reaches_the_same_accuracies(
    sides: Sides, quick: bool, benchmark: Any, pytestconfig: pytest.Config
) -> None:
    asked = matrix(sides.device, quick)
    sides.warm((asked.backbone, LITE2), asked.data, ("naive",))
    plan = sides.plan(asked.question())
    todo = list(enumerate(tasks(plan, sides.device)))
    runs: list[Run] = []

    def textbook(part: slice) -> None:
        runs.extend(sides.task("naive", task, key) for key, task in todo[part])

    # Half of the textbook's cells before and half after: a machine that slows down slows both sides.
    benchmark.pedantic(
        lambda: runs.extend(sides.ours_whole(plan)),
        setup=lambda: textbook(slice(0, None, 2)),
        teardown=lambda: textbook(slice(1, None, 2)),
    )
    benchmark.extra_info.update(asked.describe(sides.device, sides.environment), runs=runs)
    assert all(run["seconds"]["work"] > 0 for run in runs)
    assert quick or not differing(benchmark.extra_info)

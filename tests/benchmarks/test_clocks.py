"""The standalone clock: what a shared run says that a cell costs alone is what it costs alone."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import Harness, Question, pictures

import bench

LIMIT = 0.15
REPEATS = 3


def test_a_cell_alone_costs_what_a_shared_run_says(
    pytestconfig: Any, tmp_path: Path, quick: bool, benchmark: Any
) -> None:
    (few, many), edge, epochs, repeats = ((20, 40), 32, 1, 1) if quick else ((100, 1000), 64, 3, REPEATS)
    strategies = ("feature_extract", "partial_finetune", "distill")
    question = Question("tf_efficientnet_lite0", pictures(edge), strategies, (few, many), (0,), epochs, 100)
    left_out = f"exclude=[{{when: {{strategy: distill, size: {many}}}, reason: it would take minutes}}]"
    suite = bench.load_suite(question.write(tmp_path), settings=["recipe.precision=fp32", left_out])
    whole = bench.plan(suite)
    # The larger cells share pictures and features with the smaller ones, which come first and pay for them.
    asked = [f"strategy={s},size={few if s == 'distill' else many}" for s in strategies]
    alone = {only: bench.plan(suite, only) for only in asked}
    said: dict[str, list[float]] = {only: [] for only in asked}
    paid: dict[str, list[float]] = {only: [] for only in asked}
    with Harness(pytestconfig.bench_device, tmp_path / "harness") as harness:

        def shared() -> None:
            records, _ = harness.run(whole)
            for only, plan in alone.items():
                said[only].append(standalone(records, plan))

        def singly() -> None:
            for only, plan in alone.items():
                records, _ = harness.run(plan)
                paid[only].append(standalone(records, plan))

        shared()  # the first pass of a shape is the slow one
        singly()
        for found in (*said.values(), *paid.values()):
            found.clear()

        def turns() -> None:
            for number in range(repeats):
                first, second = (shared, singly) if number % 2 == 0 else (singly, shared)
                first()
                second()

        benchmark.pedantic(turns, rounds=1)
    found = {only: {"shared": said[only], "alone": paid[only]} for only in asked}
    benchmark.extra_info.update(kind="clocks", cells=found, limit=LIMIT)
    wrong = {only: median(said[only]) / median(paid[only]) - 1 for only in asked}
    assert quick or all(abs(off) <= LIMIT for off in wrong.values()), wrong


def standalone(records: Any, plan: Any) -> float:
    """Return the standalone seconds of the one cell of a plan that is no parent."""
    (record,) = (records[e.cell.id] for e in plan.runnable if e.role is None)
    return float(record.seconds.standalone)

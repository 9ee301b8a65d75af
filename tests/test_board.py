"""What may still be the best: kept in 95 % of studies, and few enough to be of use where many are compared."""

from __future__ import annotations

import numpy as np
from records import cell, record, study

from bench.report.board import Board, boards
from bench.report.study import sections

NAMES = [f"s{i:02d}" for i in range(12)]


def board(values: np.ndarray) -> Board:
    """Return the board of strategies x seeds."""
    made = [
        record(cell(name, 100, seed), float(value), curve=())
        for name, row in zip(NAMES, values, strict=False)
        for seed, value in enumerate(row)
    ]
    found = study(made)
    (section,) = sections(found)
    return boards(section, "accuracy")[0]


def may_be_best(found: Board) -> set[str]:
    return {found.ranked[0][0].label} | {name for name in NAMES if found.near_best(name)}


def test_the_truly_best_is_kept_in_95_percent_of_studies() -> None:
    draw = np.random.default_rng(0)
    studies, kept = 200, 0
    means = np.full(len(NAMES), 0.8)
    means[0] += 0.01
    for _ in range(studies):
        spread = draw.uniform(0.005, 0.05, (len(NAMES), 1))
        kept += NAMES[0] in may_be_best(board(means[:, None] + spread * draw.normal(size=(len(NAMES), 3))))
    # 95 % less three deviations of a share of 200.
    assert kept / studies >= 0.95 - 3 * (0.05 * 0.95 / studies) ** 0.5


def test_a_strategy_far_below_is_told_apart_among_many_though_one_of_them_is_wild() -> None:
    draw = np.random.default_rng(1)
    values = 0.8 + 0.01 * draw.normal(size=(len(NAMES), 3))
    values[3] -= 0.3
    values[5] = [0.9, 0.2, 0.7]
    found = may_be_best(board(values))
    assert NAMES[3] not in found
    assert len(found) > 5


def test_two_seeds_give_no_mark() -> None:
    values = 0.8 + 0.01 * np.random.default_rng(2).normal(size=(4, 2))
    assert not any(board(values).near_best(name) for name in NAMES[:4])

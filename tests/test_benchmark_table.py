"""The benchmark's page: a pure function of its stored results, and no ratio without equal accuracies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import table

STORED = sorted((Path(__file__).parents[1] / "reports" / "benchmarks").glob("*.json"))


WHEN = {"measured_at": "2026-01-01T00:00:00+00:00", "wall": 300.0}


def run(side: str, key: int, seconds: float, accuracy: float) -> dict[str, Any]:
    """Return one run of a side, with half a second of set-up."""
    clocks = {"setup": 0.5, "work": seconds, "total": seconds + 0.5}
    return {"side": side, "key": key, "seconds": clocks, "accuracy": accuracy, "notes": "channels_last, fp32"}


def results(
    ours: list[tuple[float, float]], theirs: list[tuple[float, float]], kind: str = "warm", quick: bool = False
) -> dict[str, Any]:
    """Return made-up results of one case: (seconds, accuracy) of each round of the harness and of the naive side."""
    info = {
        "kind": kind,
        "backbone": "some_net",
        "weights": "pretrained",
        "resolution": 64,
        "strategy": "full_finetune",
        "n": 100,
        "epochs": 10,
        "test_size": 1000,
        "targets": {"naive": [1.8, 2.5]},
        "runs": [
            run(side, i, *pair) for side, rounds in (("ours", ours), ("naive", theirs)) for i, pair in enumerate(rounds)
        ],
    }
    return {
        "device": "cpu-2-cores",
        "quick": quick,
        "environment": {
            "cpu": "A processor",
            "gpu": None,
            "threads": 2,
            "system": "Linux x86_64",
            "python": "3.11.0",
            "packages": {"torch": "2.0"},
            "git_commit": None,
            "git_dirty": None,
        },
        "versions": {"lightning": "2.5"},
        "benchmarks": [{"name": "test_it", **WHEN, "extra_info": info, "seconds": [1.0, 1.0]}],
    }


def row(data: dict[str, Any]) -> list[str]:
    """Return the cells of the only row of results."""
    (line,) = (line for line in table.render(data).splitlines() if line.startswith("| full_finetune"))
    return [cell.strip() for cell in line.strip("|").split("|")]


EQUAL = [(1.0, 0.80), (1.2, 0.82), (1.1, 0.81)]
SLOWER = [(2.0, 0.81), (2.4, 0.81), (2.2, 0.82)]


def test_equal_accuracies_give_the_ratio_of_medians_with_its_range() -> None:
    cells = row(results(EQUAL, [(2.0, 0.81), (2.4, 0.81), (3.3, 0.82)]))
    assert cells[8] == f"{2.4 / 1.1:.2f}x (2.00x to 3.00x)"
    assert cells[9] == f"{2.9 / 1.6:.2f}x"


@pytest.mark.parametrize(("seconds", "met"), [(1.7, "no"), (1.9, "yes"), (2.6, "goal")])
def test_a_ratio_is_told_beside_its_target(seconds: float, met: str) -> None:
    cells = row(results([(1.0, 0.8), (1.0, 0.8)], [(seconds, 0.8), (seconds, 0.8)]))
    assert cells[10:] == ["1.8x", "2.5x", met]


def test_unequal_accuracies_give_no_ratio() -> None:
    data = results(EQUAL, [(s, a - 0.06) for s, a in SLOWER])
    cells = row(data)
    assert cells[8].startswith("accuracies differ: 0.810 ± 0.010 vs 0.753")
    assert cells[9] == ""
    assert cells[12] == "no"
    assert table.differing(data["benchmarks"][0]["extra_info"])


def test_a_difference_of_one_point_is_equal_however_sure_it_is() -> None:
    assert table.equal({0: 0.8, 1: 0.9, 2: 0.7}, {0: 0.79, 1: 0.89, 2: 0.69})


def test_a_small_difference_that_every_seed_shows_is_not_equal() -> None:
    assert not table.equal({0: 0.830, 1: 0.931, 2: 0.730}, {0: 0.80, 1: 0.90, 2: 0.70})


def test_a_difference_within_its_interval_is_equal_up_to_five_points() -> None:
    ours = {0: 0.80, 1: 0.80, 2: 0.80}
    assert table.equal(ours, {0: 0.80, 1: 0.73, 2: 0.78})
    assert not table.equal(ours, {0: 0.90, 1: 0.60, 2: 0.72})


def test_one_seed_is_equal_only_within_a_point() -> None:
    assert table.equal({0: 0.80}, {0: 0.795})
    assert not table.equal({0: 0.80}, {0: 0.77})


def test_sides_with_no_seed_in_common_are_not_equal() -> None:
    assert not table.equal({0: 0.80}, {1: 0.80})


def test_a_matrix_is_one_ratio_of_sums() -> None:
    cells = row(results([(1.0, 0.8), (3.0, 0.9)], [(6.0, 0.8), (6.0, 0.9)], kind="matrix"))
    assert cells[2] == "1"
    assert cells[8] == "3.00x (3.00x to 3.00x)"


def test_a_quick_run_shows_no_ratio() -> None:
    data = results(EQUAL, SLOWER, quick=True)
    assert row(data)[8:] == [""] * 5
    assert "mean nothing" in table.render(data)


def test_a_page_is_a_pure_function_of_its_json(tmp_path: Path) -> None:
    data = results(EQUAL, SLOWER)
    pages = []
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(data), encoding="utf-8")
        pages.append(table.write(tmp_path / name).read_text(encoding="utf-8"))
    assert pages[0] == pages[1] == table.render(data)
    assert (tmp_path / "a.png").stat().st_size > 0


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "scale": (
        {"scale": "plan", "cells": 10000, "cache": "none", "target_seconds": 1.0, "peak_rss_bytes": 50_000_000},
        "| plan | 10,000 | none | 600.0 ms (500.0 ms to 700.0 ms) | 50 MB | 1 s | yes |",
    ),
    "autotune": (
        {
            "kind": "autotune",
            "backbone": "some_net",
            "resolution": 64,
            "limit": 1.1,
            "verdicts": {"auto": {"chosen": "a", "trial_seconds": 2.0, "longer": {"a": 0.12, "b": 0.1, "c": None}}},
        },
        "| some_net, 64 px, auto | a | 120.0 ms | b | 100.0 ms | 20.0% | 10% | no | 2.00 s |",
    ),
    "clocks": (
        {"kind": "clocks", "limit": 0.15, "cells": {"one": {"shared": [1.0, 1.2, 1.1], "alone": [1.0]}}},
        "| one | 1.10 s (1.00 s to 1.20 s) | 1.00 s | +10.0% | ±15% | yes |",
    ),
    "techniques": (
        {
            "kind": "techniques",
            "techniques": [
                {
                    "technique": "a trick",
                    "strategy": "scratch",
                    "n": 9,
                    "epochs": 2,
                    "off": {"seconds": [3.0], "accuracy": 0.5},
                    "on": {"seconds": [2.0], "accuracy": 0.51},
                }
            ],
        },
        "| a trick | scratch, n=9, 2 epochs | 3.00 s | 2.00 s | 1.50x | 0.500 | 0.510 |",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_the_other_tests_measured_has_a_row(kind: str) -> None:
    info, line = OTHERS[kind]
    data = results(EQUAL, SLOWER)
    data["benchmarks"].append({"name": "test_other", **WHEN, "extra_info": info, "seconds": [0.5, 0.6, 0.7]})
    assert line in table.render(data).splitlines()


@pytest.mark.parametrize("source", STORED, ids=[path.stem for path in STORED])
def test_a_published_page_is_what_its_json_gives(source: Path) -> None:
    data = json.loads(source.read_text(encoding="utf-8"))
    assert source.with_suffix(".md").read_text(encoding="utf-8") == table.render(data)


def test_the_textbook_schedule_is_the_harness_s_own() -> None:
    pytest.importorskip("torchvision")
    from benchmarks.task import one_cycle

    from bench.rates import Rates

    for steps in (1, 2, 7, 100):
        for step in range(steps):
            assert one_cycle(step, steps) == pytest.approx(Rates("one_cycle", 1, steps).part(step), abs=1e-12)

"""The statistics on made-up suites: a short run of the simulation, and the page of the long one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from simulations.simulate import NOISES, STRATEGIES, false_verdicts, intervals_over_seeds, page, slack

STORED = Path(__file__).parents[1] / "reports" / "simulations"


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_over_seeds_hold_the_difference_in_95_of_100_suites(seeds):
    assert 0.93 <= intervals_over_seeds(NOISES["normal"], seeds, 1000) <= 0.97


@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_strategies_are_seldom_said_to_differ(seeds):
    assert STRATEGIES == 5
    assert false_verdicts(NOISES["normal"], seeds, 400) <= 0.05 + slack(400)


def test_the_published_page_is_what_its_json_gives():
    found = json.loads((STORED / "statistics.json").read_text(encoding="utf-8"))
    assert (STORED / "statistics.md").read_text(encoding="utf-8") == page(found)
    assert {row["suites"] for row in found} >= {2000}

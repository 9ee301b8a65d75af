"""The page of the simulation of the statistics. Short runs of it are in the tests of each statistic."""

from __future__ import annotations

import json
from pathlib import Path

from simulations.simulate import page

STORED = Path(__file__).parents[1] / "reports" / "simulations"


def test_the_published_page_is_what_its_json_gives():
    found = json.loads((STORED / "statistics.json").read_text(encoding="utf-8"))
    assert (STORED / "statistics.md").read_text(encoding="utf-8") == page(found)
    assert {row["suites"] for row in found} >= {2000}

"""Every strategy against one: paired, one family, and only where a suite asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from records import cell, homework, record, study

from bench.report import page
from bench.report.page import Table
from bench.report.study import Study


def table_of(of: Study, against: str | None) -> Table | None:
    report = {} if against is None else {"report": {"against": against}}
    asked = Study(**{**of.__dict__, "suite": {**of.suite, **report}})
    return next((b for b in page(asked).blocks if isinstance(b, Table) and b.name == "against"), None)


def test_it_is_there_only_where_a_suite_asks_for_a_strategy_that_it_has() -> None:
    assert table_of(homework(), None) is None
    assert table_of(homework(), "protonet") is None
    assert table_of(homework(), "full_finetune") is not None


def test_differences_are_paired_by_seed_and_marked_where_they_are_shown() -> None:
    def lines(name: str, values: list[float]) -> list[Any]:
        return [record(cell(name, 100, seed), value) for seed, value in enumerate(values)]

    found = table_of(
        study(
            [
                *lines("full_finetune", [0.60, 0.70, 0.80]),
                *lines("scratch", [0.401, 0.50, 0.601]),  # 0.2 under it each time, whatever the spread of seeds
                *lines("lora", [0.80, 0.70, 0.60]),  # as good in the mean, and all over the place
            ]
        ),
        "full_finetune",
    )
    assert found is not None
    scratch, lora = ([span.text for span in row] for row in found.rows)
    assert scratch[0] == "scratch"
    assert scratch[1].startswith("▼ −0.199 (−0.20")
    assert lora[1].startswith("0.000 (")


@pytest.mark.parametrize("against", ["full_finetune", "distill"])
def test_the_strategy_itself_has_no_row(against: str) -> None:
    found = table_of(homework(), against)
    assert found is not None
    assert against not in [row[0].text for row in found.rows]
    assert len(found.rows) == 4

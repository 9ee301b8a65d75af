"""Work grows with the cells and no faster: counted, not timed. `tests/benchmarks/test_scale.py` has the seconds."""

from __future__ import annotations

import cProfile
import os
import pstats
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from benchmarks.synthetic import Sweep, fill, made, write_suite

import bench
from bench import overview, schedule
from bench.datasets.toy import Toy
from bench.planner import Plan, expand
from bench.report import MOST_IN_FULL, Study, figures, page, write
from bench.report.evidence import MOST_ROWS
from bench.store import Store
from bench.suite import load
from bench.terminal import Silent

SMALL, LARGE = Sweep(1, 1, 4), Sweep(1, 1, 16)
GROWTH = LARGE.cells / SMALL.cells
HERE = str(Path(bench.__file__).parent)


def planned(folder: Path, sweep: Sweep) -> Plan:
    return expand(load(write_suite(folder, sweep)))


def calls(work: Callable[[], Any]) -> int:
    """Return how many calls of the harness's own functions some work makes: the same on every machine."""
    profile = cProfile.Profile()
    profile.runcall(work)
    counted = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    return sum(entry[1] for (file, _, _), entry in counted.items() if file.startswith(HERE))


_opened: list[str] | None = None


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(arguments[0]))


@contextmanager
def opened(folder: Path) -> Iterator[list[str]]:
    """Give the names of the files of a folder that are opened in a block."""
    global _opened
    _opened, found = [], []
    try:
        yield found
        found += [Path(path).name for path in _opened if path.startswith(f"{folder}{os.sep}")]
    finally:
        _opened = None


sys.addaudithook(_listen)


def test_the_work_of_a_plan_grows_with_its_cells(tmp_path: Path) -> None:
    def work(sweep: Sweep) -> int:
        suite = load(write_suite(tmp_path, sweep))
        expand(suite)  # what a process does once, such as finding the plugins, is done
        return calls(lambda: expand(suite).titles)

    assert work(LARGE) < GROWTH * work(SMALL)


def test_a_data_set_is_asked_for_its_facts_once_however_many_cells_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Toy] = []
    facts = Toy.facts
    monkeypatch.setattr(Toy, "facts", lambda toy: (asked.append(toy), facts(toy))[1])
    assert len(planned(tmp_path, Sweep(3, 2, 2)).entries) > 600
    assert [toy.classes for toy in asked] == [2, 3, 4]


def test_cells_share_what_they_have_in_common(tmp_path: Path) -> None:
    entries = planned(tmp_path, SMALL).entries
    for part, count in {"task": 11, "dataset": 11, "backbone": 11, "strategy": 11, "recipe": 3, "runtime": 11}.items():
        assert len({id(getattr(e.cell, part)) for e in entries}) <= count


def test_a_scan_opens_each_record_and_its_predictions_once_and_afterwards_neither(tmp_path: Path) -> None:
    plan, store = planned(tmp_path, SMALL), Store(tmp_path / "results", "sweep")
    fill(plan, store)
    ids = [e.cell.id for e in plan.runnable]
    with opened(store.folder) as files:
        first = schedule.status(plan, store)
    assert sorted(files) == sorted([f"{i}.json" for i in ids] + [f"{i}.npz" for i in ids])
    with opened(store.folder) as files:
        again = schedule.status(plan, store)
    assert files == []
    assert again == first
    assert first.missing == ()
    store.path(ids[3]).touch()
    with opened(store.folder) as files:
        schedule.status(plan, store)
    assert files == [f"{ids[3]}.json", f"{ids[3]}.npz"]


def test_the_work_of_a_scan_and_its_estimates_grows_with_the_records(tmp_path: Path) -> None:
    def work(name: str, sweep: Sweep) -> int:
        plan, store = planned(tmp_path, sweep), Store(tmp_path / name, "sweep")
        fill(plan, store)
        return calls(lambda: overview.rows(plan, schedule.status(plan, store)))

    assert work("large", LARGE) < GROWTH * work("small", SMALL)


def study(plan: Plan) -> Study:
    records = tuple(made(entry, "sweep") for entry in plan.runnable)
    return Study(plan.suite.resolved(), plan.primary, records, plan.parents, "bench run sweep.yaml")


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures, which take all the time of a small report."""
    monkeypatch.setattr(figures, "draw", lambda *of, **how: {})


@pytest.mark.usefixtures("no_pictures")
def test_the_work_of_a_report_grows_with_its_records(tmp_path: Path) -> None:
    small, large = (study(planned(tmp_path, sweep)) for sweep in (SMALL, LARGE))
    write(small, tmp_path / "warm")
    assert calls(lambda: write(large, tmp_path / "large")) < GROWTH * calls(lambda: write(small, tmp_path / "small"))


def test_a_report_of_many_sections_begins_with_the_winners_and_has_one_figure_a_section(tmp_path: Path) -> None:
    plan = planned(tmp_path, Sweep(MOST_IN_FULL + 1, 1, 1))
    found = page(study(plan))
    assert [(figure.name, figure.png) for figure in found.figures()] == [
        (f"{number}-by-size", None) for number in range(1, MOST_IN_FULL + 2)
    ]
    winners = found.tables()[0]
    assert [row[0].text for row in winners.rows] == [
        f"toy(classes={2 + i}) · resnet18" for i in range(MOST_IN_FULL + 1)
    ]
    strategies = {e.cell.strategy["name"] for e in plan.entries}
    assert {
        span.text.removeprefix("≈ ").split("(")[0].split()[0] for row in winners.rows for span in row[1:]
    } <= strategies


@pytest.mark.usefixtures("no_pictures")
def test_a_page_does_not_list_more_cells_than_a_person_reads(tmp_path: Path) -> None:
    whole = study(planned(tmp_path, LARGE))
    assert len(whole.records) > MOST_ROWS
    index = write(whole, tmp_path / "report")
    assert max(len(table.rows) for table in page(whole).tables()) <= MOST_ROWS
    text = index.with_name("index.md").read_text(encoding="utf-8")
    assert f"cells.csv has a row for each of the {len(whole.records)}." in text
    assert len(index.with_name("cells.csv").read_text(encoding="utf-8").splitlines()) == len(whole.records) + 1


class Instant:
    """An engine that runs nothing: each cell fails at once."""

    def check(self, cells: Any, watch: Any) -> None:
        return None

    def run(self, job: Any, deadline_seconds: Any, watch: Any) -> dict[str, Any]:
        return {"status": "failed", "reason": "made up"}


def test_the_work_around_each_cell_of_a_run_does_not_grow_with_the_cells(tmp_path: Path) -> None:
    def work(name: str, sweep: Sweep) -> int:
        plan = planned(tmp_path, sweep)
        return calls(lambda: schedule.run(plan, Store(tmp_path / name, "sweep"), Instant(), Silent()))

    assert work("large", LARGE) < 1.1 * GROWTH * work("small", SMALL)

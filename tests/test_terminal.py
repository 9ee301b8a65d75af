"""What a run says: three lines that fit the terminal, plain lines anywhere else."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from records import cell, failed, record
from rich.console import Console

from bench.cell import Cell
from bench.terminal import Lines, Live, duration, listener, outcome, remaining, sparkline

CELL = cell("distill")
TITLE = (
    "distill(alpha=0.25, temperature=2.0, teacher.backbone=tf_efficientnet_lite2) · tf_efficientnet_lite0 · "
    "fashion_mnist(resolution=64) · n=2000 · seed 0"
)
REASON = "RuntimeError: mat1 and mat2 shapes cannot be multiplied [32x1280] and [640x10]; see [red]the log[/red]"
POINT = {"epoch": 3.0, "monitor_accuracy": 0.5}


def live(width: int) -> Live:
    return Live({CELL.id: TITLE}, Console(width=width, force_terminal=True, record=True, file=io.StringIO()))


def shown(bar: Live) -> list[str]:
    """Return the lines that the bar shows now."""
    bar.console.print(bar.render())
    return [line.rstrip() for line in bar.console.export_text().splitlines()]


def running(bar: Live, curve: int = 60) -> Live:
    bar.started(CELL, 4, 45, 4000.0)
    bar.begun(CELL)
    for i in range(curve):
        bar.point(CELL, {"epoch": float(i + 1), "monitor_accuracy": i / curve})
    return bar


@pytest.mark.parametrize("width", [80, 200])
def test_a_running_cell_takes_three_lines_that_fit_the_terminal(width: int):
    lines = shown(running(live(width)))
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    assert "3/45" in lines[0]
    assert "about 67 min left" in lines[0]
    assert "accuracy 0.983 after epoch 60" in lines[2]
    assert ("seed 0" in lines[1]) == (width == 200)
    assert lines[1].endswith("seed 0" if width == 200 else "…")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_cell_that_has_ended_folds_into_a_column_of_its_own(width: int):
    bar = live(width)
    bar.ended(record(CELL, 0.8125))
    lines = [line.rstrip() for line in bar.console.export_text().splitlines()]
    assert lines[0].startswith("accuracy 0.812   0.0 s  distill(")
    assert max(map(len, lines)) <= width
    assert all(line.startswith(" " * 24) for line in lines[1:])
    assert "".join(line[24:] for line in lines).replace(" ", "") == TITLE.replace(" ", "")


def test_a_failure_shows_its_whole_reason_and_takes_no_markup_from_it():
    bar = live(80)
    bar.ended(failed(CELL, "failed", REASON))
    text = " ".join(bar.console.export_text().split())
    assert text.startswith("failed 0.0 s distill(")
    assert "[red]the" in text


def test_the_first_seconds_say_what_is_waited_for():
    bar = live(80)
    assert len(shown(bar)) == 1
    bar.waiting("starting the worker")
    (line,) = shown(bar)
    assert line.endswith("starting the worker")
    bar.waiting("torchvision downloads it from https://example.org/" + "x" * 100)
    (line,) = shown(bar)
    assert (len(line), line[-1]) == (80, "…")


def test_a_cell_that_waits_for_a_new_worker_says_so_until_it_begins():
    bar = live(80)
    bar.started(CELL, 1, 2, None)
    bar.waiting("starting the worker")
    assert "starting the worker" in shown(bar)[2]
    bar.begun(CELL)
    assert shown(bar)[2:] == [""]


def test_each_cell_draws_its_own_curve():
    bar = running(live(200))
    bar.started(CELL, 5, 45, None)
    bar.begun(CELL)
    bar.point(CELL, POINT)
    lines = shown(bar)
    assert lines[2].split() == ["▅", "accuracy", "0.500", "after", "epoch", "3"]
    assert "left" not in lines[0]


def test_without_a_terminal_there_is_one_plain_line_a_cell():
    stream = io.StringIO()
    with listener({CELL.id: "a cell"}, stream) as told:
        told.waiting("starting the worker")
        told.started(CELL, 1, 2, 100.0)
        told.begun(CELL)
        told.point(CELL, POINT)
        told.ended(record(CELL, 0.5))
        told.started(CELL, 2, 2, None)
        told.ended(failed(CELL, "oom", "it was too large"))
    assert stream.getvalue().splitlines() == [
        "starting the worker",
        "[1/2]  accuracy 0.500  0.0 s  a cell",
        "[2/2]  oom  0.0 s  a cell  it was too large",
    ]


def test_without_a_terminal_a_long_cell_is_heard_of_with_what_is_left():
    stream = io.StringIO()
    lines = Lines({CELL.id: "a cell"}, stream)
    lines.started(CELL, 1, 2, 100.0)
    lines.spoke -= 60
    lines.point(CELL, POINT)
    lines.point(CELL, POINT)
    assert stream.getvalue() == "[1/2]  ...  a cell  accuracy 0.500 after epoch 3  about 100 s left\n"


def test_a_record_without_metrics_or_reason_can_be_said():
    bare = replace(record(CELL, 0.5), metrics={"accuracy": None})
    assert outcome(bare, "a cell", 1.0) == ["ok", "1.0 s", "a cell"]
    assert outcome(replace(bare, status="failed"), "a cell", 1.0) == ["failed", "1.0 s", "a cell", ""]


def test_a_sparkline_has_a_block_for_each_value_and_holds_its_ends():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([-1.0, 2.0]) == "▁█"
    assert sparkline([]) == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (9000, "2.5 h"),
    ],
)
def test_a_stretch_of_time_is_said_in_the_unit_that_people_use(seconds: float, said: str):
    assert duration(seconds) == said
    assert remaining(seconds) == f"about {said} left"


def test_no_estimate_says_nothing():
    assert remaining(None) == ""


def test_a_cell_is_told_by_its_id():
    other: Cell = cell("scratch")
    stream = io.StringIO()
    lines = Lines({CELL.id: "a cell", other.id: "another"}, stream)
    lines.started(other, 1, 1, None)
    lines.ended(record(other, 0.5))
    assert "another" in stream.getvalue()

"""What a run says on the terminal: a live bar with the current cell's curve, or plain lines when it is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bench.cell import Cell
from bench.record import Record
from bench.schedule import Listener

BARS = "▁▂▃▄▅▆▇█"


class Silent:
    """Says nothing."""

    def started(self, cell: Cell, number: int, count: int, remaining_seconds: float | None) -> None:
        """Ignore the start of a cell."""

    def point(self, cell: Cell, point: Mapping[str, Any]) -> None:
        """Ignore a point of the curve."""

    def ended(self, record: Record) -> None:
        """Ignore the end of a cell."""


class Lines(Silent):
    """One plain line a cell, for logs and pipes."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self.titles = titles
        self.place, self.since = "", 0.0

    def started(self, cell: Cell, number: int, count: int, remaining_seconds: float | None) -> None:
        """Note the cell that runs."""
        self.place, self.since = f"[{number}/{count}]", time.monotonic()

    def ended(self, record: Record) -> None:
        """Say how a cell ended."""
        print(f"{self.place} {outcome(record, self.titles[record.cell_id], time.monotonic() - self.since)}", flush=True)


class Live(Silent):
    """A progress bar with the time that is left and the current cell's curve."""

    def __init__(self, titles: Mapping[str, str], progress: Any, task: Any) -> None:
        self.titles, self.progress, self.task = titles, progress, task
        self.curve: list[float] = []
        self.since = 0.0

    def started(self, cell: Cell, number: int, count: int, remaining_seconds: float | None) -> None:
        """Show the cell that runs."""
        self.curve, self.since = [], time.monotonic()
        left = "" if remaining_seconds is None else f"about {duration(remaining_seconds)} left"
        title = self.titles[cell.id]
        self.progress.update(self.task, total=count, completed=number - 1, cell=title, left=left, curve="")

    def point(self, cell: Cell, point: Mapping[str, Any]) -> None:
        """Draw the curve so far."""
        if point.get("monitor_accuracy") is not None:
            self.curve.append(point["monitor_accuracy"])
            self.progress.update(self.task, curve=f"{sparkline(self.curve)} {self.curve[-1]:.3f}")

    def ended(self, record: Record) -> None:
        """Say how a cell ended, above the bar."""
        line = outcome(record, self.titles[record.cell_id], time.monotonic() - self.since)
        self.progress.console.print(line, highlight=False, markup=False)
        self.progress.update(self.task, advance=1)


@contextmanager
def listener(titles: Mapping[str, str], quiet: bool = False) -> Iterator[Listener]:
    """Give the listener that fits where the output goes."""
    if quiet:
        yield Silent()
    elif not sys.stdout.isatty():
        yield Lines(titles)
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        text = [TextColumn("{task.fields[left]}"), TextColumn("{task.fields[cell]}  {task.fields[curve]}")]
        with Progress(BarColumn(16), MofNCompleteColumn(), TimeElapsedColumn(), *text) as progress:
            yield Live(titles, progress, progress.add_task("", total=1, cell="starting", left="", curve=""))


def outcome(record: Record, title: str, seconds: float) -> str:
    """Return one line on how a cell ended."""
    what = f"{title}  {duration(seconds)}"
    if record.status != "ok":
        return f"{record.status:>8}  {what}  {record.reason}"
    shown = ", ".join(f"{k} {v:.3f}" for k, v in list(record.metrics.items())[:1] if v is not None)
    return f"{shown}  {what}"


def sparkline(values: list[float]) -> str:
    """Draw values in [0, 1] as a line of blocks."""
    return "".join(BARS[min(int(max(v, 0.0) * len(BARS)), len(BARS) - 1)] for v in values)


def duration(seconds: float) -> str:
    """Say a stretch of time in the unit that people would use."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

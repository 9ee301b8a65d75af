"""What a run says: a live bar with the current cell's curve on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from bench.cell import Cell
from bench.errors import printable_lines
from bench.record import Record
from bench.schedule import Listener

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

BARS = "▁▂▃▄▅▆▇█"
BAR_WIDTH = 24
CURVE_WIDTH = 32
# In plain lines, a cell that says nothing for so long is heard of.
QUIET_SECONDS = 30.0


class Silent:
    """Says nothing."""

    def started(self, cell: Cell, number: int, count: int, remaining_seconds: float | None) -> None:
        """Ignore the start of a cell."""

    def waiting(self, what: str) -> None:
        """Ignore what the run is waiting for."""

    def begun(self, cell: Cell) -> None:
        """Ignore that a worker took the cell up."""

    def point(self, cell: Cell, point: Mapping[str, Any]) -> None:
        """Ignore a point of the curve."""

    def ended(self, record: Record) -> None:
        """Ignore the end of a cell."""


class Lines(Silent):
    """One plain line a cell, for logs and pipes; a long cell is heard of in between."""

    def __init__(self, titles: Mapping[str, str], stream: TextIO) -> None:
        self.titles, self.stream = titles, stream
        self.place, self.left = "", ""
        self.since = self.spoke = time.monotonic()

    def started(self, cell: Cell, number: int, count: int, remaining_seconds: float | None) -> None:
        """Note the cell that runs."""
        self.place, self.left = f"[{number}/{count}]", remaining(remaining_seconds)
        self.since = self.spoke = time.monotonic()

    def waiting(self, what: str) -> None:
        """Say what the run is waiting for."""
        self._say(what)

    def begun(self, cell: Cell) -> None:
        """Count the seconds of the cell from here."""
        self.since = time.monotonic()

    def point(self, cell: Cell, point: Mapping[str, Any]) -> None:
        """Say how far a long cell has come."""
        if time.monotonic() - self.spoke > QUIET_SECONDS:
            self._say("...", self.titles[cell.id], progress_words(point), self.left)

    def ended(self, record: Record) -> None:
        """Say how a cell ended."""
        self._say(*outcome(record, self.titles[record.cell_id], time.monotonic() - self.since))

    def _say(self, *words: str) -> None:
        print("  ".join(word for word in (self.place, *words) if word), file=self.stream, flush=True)
        self.spoke = time.monotonic()


class Live(Silent):
    """Three lines that stay at the bottom: how far the run is, the cell that runs, and its curve.

    Each fits the width of the terminal; cells that have ended are printed above.
    """

    def __init__(self, titles: Mapping[str, str], console: Console) -> None:
        from rich.live import Live as Region

        self.titles, self.console = titles, console
        self.number, self.count = 0, 0
        self.remaining_seconds: float | None = None
        self.title, self.note, self.curve = "", "", list[float]()
        self.began = self.since = time.monotonic()
        self.region = Region(get_renderable=self.render, console=console, refresh_per_second=4, transient=True)

    def started(self, cell: Cell, number: int, count: int, remaining_seconds: float | None) -> None:
        """Show the cell that runs."""
        self.number, self.count, self.remaining_seconds = number, count, remaining_seconds
        self.title, self.note, self.curve = self.titles[cell.id], "", []
        self.since = time.monotonic()

    def waiting(self, what: str) -> None:
        """Show what the run is waiting for."""
        self.note = what

    def begun(self, cell: Cell) -> None:
        """Show that the cell is being learnt."""
        self.note, self.since = "", time.monotonic()

    def point(self, cell: Cell, point: Mapping[str, Any]) -> None:
        """Draw the curve so far."""
        if point.get("monitor_accuracy") is not None:
            self.curve.append(point["monitor_accuracy"])
        self.note = progress_words(point)

    def ended(self, record: Record) -> None:
        """Say how a cell ended, above the bar."""
        from rich.table import Table

        row = Table.grid(padding=(0, 2))
        row.add_column(no_wrap=True, min_width=14)
        row.add_column(no_wrap=True, min_width=6, justify="right")
        row.add_column(overflow="fold")
        what, seconds, *words = outcome(record, self.titles[record.cell_id], time.monotonic() - self.since)
        row.add_row(
            _line(what, "" if record.status == "ok" else "red"), _line(seconds), _line("  ".join(words), wrapped=True)
        )
        self.console.print(row)

    def render(self) -> RenderableType:
        """Return the three lines."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        now = time.monotonic()
        bar = Table.grid(padding=(0, 2))
        for _ in range(4):
            bar.add_column(no_wrap=True)
        done = max(self.number - 1, 0)
        left = None if self.remaining_seconds is None else max(self.remaining_seconds - (now - self.since), 0.0)
        if not self.count:
            return Group(_line(f"{duration(now - self.began):>7}  {self.note}"))
        bar.add_row(
            ProgressBar(total=self.count, completed=done, width=BAR_WIDTH),
            _line(f"{done}/{self.count}"),
            _line(duration(now - self.began)),
            _line(remaining(left)),
        )
        curve = sparkline(self.curve[-CURVE_WIDTH:])
        note = _line(f"{'':7}  {curve}{' ' if curve else ''}{self.note}", "cyan")
        return Group(bar, _line(f"{duration(now - self.since):>7}  {self.title}"), note)


def _line(text: str, style: str = "", wrapped: bool = False) -> RenderableType:
    """Return text without markup, on one line that ends in an ellipsis where it must, or `wrapped` into several."""
    from rich.text import Text

    return Text(text, style=style, overflow="fold" if wrapped else "ellipsis", no_wrap=not wrapped)


@contextmanager
def listener(titles: Mapping[str, str], stream: TextIO | None = None) -> Iterator[Listener]:
    """Give the listener that fits where the output goes; standard output unless a `stream` is given."""
    stream = stream or sys.stdout
    if not _is_live(stream):
        yield Lines(titles, stream)
        return
    from rich.console import Console

    live = Live(titles, Console(file=stream))
    with live.region:
        yield live


@contextmanager
def busy(what: str, stream: TextIO | None = None) -> Iterator[None]:
    """Show that something is going on, on a terminal; nothing anywhere else."""
    stream = stream or sys.stdout
    if not _is_live(stream):
        yield
        return
    from rich.console import Console

    with Console(file=stream).status(what):
        yield


@contextmanager
def counting(stream: TextIO) -> Iterator[Callable[[int, int], None]]:
    """Give what is told how many of how many are done: a bar on a terminal, nothing anywhere else."""
    if not _is_live(stream):
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("starting the worker", total=None)
        yield lambda done, total: bar.update(task, description="looking", completed=done, total=total)


def has_colours(stream: TextIO) -> bool:
    """Say whether colours are shown where a stream goes, and wanted (https://no-color.org)."""
    return _is_live(stream) and not os.environ.get("NO_COLOR")


def _is_live(stream: TextIO) -> bool:
    """Say whether lines that were written can be drawn over."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def outcome(record: Record, title: str, seconds: float) -> list[str]:
    """Return how a cell ended: its first metric or its status, the time that it took, its title, and the reason."""
    first = next((f"{k} {v:.3f}" for k, v in record.metrics.items() if v is not None), "ok")
    words = [first if record.status == "ok" else record.status, duration(seconds), title]
    return words if record.status == "ok" else [*words, printable_lines(record.reason or "")]


def progress_words(point: Mapping[str, Any]) -> str:
    """Say one point of a curve."""
    accuracy = point.get("monitor_accuracy")
    known = "" if accuracy is None else f"accuracy {accuracy:.3f} after "
    return f"{known}epoch {point['epoch']:g}"


def remaining(seconds: float | None) -> str:
    """Say the time that is left, when there is an estimate."""
    return "" if seconds is None else f"about {duration(seconds)} left"


def sparkline(values: Sequence[float]) -> str:
    """Draw values in [0, 1] as a line of blocks."""
    return "".join(BARS[min(int(max(v, 0.0) * len(BARS)), len(BARS) - 1)] for v in values)


def duration(seconds: float) -> str:
    """Say a stretch of time in the unit that people would use."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

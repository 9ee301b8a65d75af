"""The figures of a section: by size, by time, and while it trains."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bench.compare.statistics import summarise
from bench.report.board import Board
from bench.report.canvas import COLOURS, MARKERS, PARENT_GREY, Drawing, new_canvas, one_plot, own_style, saved
from bench.report.page import Figure
from bench.report.study import Line, Section
from bench.report.tables import without_parents
from bench.report.units import listing, metric, sentence, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Drawn = list[tuple[Any, str]]
# A legend of more rows than this makes the figure higher, by so much a row.
LEGEND_ROWS, LEGEND_ROW_INCHES = 6, 0.23


def draw(
    section: Section, standing: Sequence[Board], primary: str, prefix: str, alone: bool = False
) -> dict[str, Figure]:
    """Return the figures that these records can fill, by what they show: "size", "time", "convergence".

    `alone` draws the first of these only, and as SVG only.
    """
    ways: dict[str, Callable[[], Drawing | None]] = {
        "size": lambda: _by_size(section, standing, primary),
        "time": lambda: _by_time(section, primary),
        "convergence": lambda: _convergence(section),
    }
    made: dict[str, Figure] = {}
    with own_style():
        for name, way in ways.items():
            drawing = None if alone and made else way()
            if drawing is not None:
                made[name] = saved(drawing, prefix, png=not alone)
    return made


def colour(line: Line) -> str:
    """Return a line's colour: the same in every figure of a study."""
    return PARENT_GREY if line.role else COLOURS[line.index % len(COLOURS)]


def dash_of(line: Line) -> str:
    """Return a line's style: strategies that share a colour, of which there are seven, differ in it."""
    return ":" if line.role else ("-", "--", "-.")[line.index // len(COLOURS) % 3]


def _by_size(section: Section, standing: Sequence[Board], primary: str) -> Drawing | None:
    if len([board for board in standing if board.ranked]) < 2:
        return None
    canvas, axes = one_plot(6.0, 4.7)
    drawn: Drawn = []
    for place, line in enumerate(section.rows):
        found = [(n, line.values(n, f"metrics.{primary}")) for n in section.sizes]
        held = [(n, values) for n, values in found if values]
        if not held:
            continue
        # A step aside of at most 4 % keeps the bars of neighbours apart.
        aside = 1.04 ** ((place - (len(section.rows) - 1) / 2) / max(len(section.rows) / 2, 1))
        x = [n * aside for n, _ in held]
        for at, (_, values) in zip(x, held, strict=True):
            axes.plot([at] * len(values), values, ".", color=colour(line), alpha=0.6, markersize=5, zorder=2)
        summaries = [summarise(values) for _, values in held]
        means = [s.mean for s in summaries if s is not None]
        spreads = [s.sd or 0.0 for s in summaries if s is not None]
        bars = axes.errorbar(x, means, yerr=spreads, capsize=3, **_look(line))
        drawn.append((bars[0], _short_label(line, section)))
    _log_axis(axes, section.sizes)
    axes.set_xlabel("labelled examples n (log scale)")
    axes.set_ylabel(f"{metric(primary)} on test")
    _legend(canvas, drawn)
    winners = [f"{b.ranked[0][0].label} at {b.size} ({b.ranked[0][1].mean:.3f})" for b in standing if b.ranked]
    alt = (
        f"Line chart of test {metric(primary)} against the number of labelled examples for "
        f"{listing([label for _, label in drawn])}. Highest mean: {listing(winners)}."
    )
    caption = f"{sentence(metric(primary))} against data size."
    caption += " Lines join means; bars are ± one deviation, dots are seeds."
    return Drawing(canvas, "by-size", alt, caption)


def _by_time(section: Section, primary: str) -> Drawing | None:
    canvas, axes = one_plot(6.0, 4.7)
    drawn: Drawn = []
    times: list[float] = []
    hollow = False
    for line in section.lines:
        held = [(n, t, m) for n in section.sizes for t, m in [_time_and_metric(line, n, primary)] if t and m]
        if not held:
            continue
        x, y = [t for _, t, _ in held], [m for _, _, m in held]
        areas = [_area(n, section.sizes) for n, _, _ in held]
        look = _look(line)
        drawn.append((axes.plot(x, y, **look)[0], line.label))
        axes.scatter(x, y, s=areas, color=colour(line), marker=look["marker"], zorder=3)
        alone = [(n, t, m) for n, _, m in held if (t := _alone(line, n)) is not None]
        if alone:
            hollow = True
            x, y = [t for _, t, _ in alone], [m for _, _, m in alone]
            areas = [_area(n, section.sizes) for n, _, _ in alone]
            axes.plot(x, y, color=colour(line), linestyle=":", linewidth=1.2)
            axes.scatter(x, y, s=areas, edgecolor=colour(line), facecolor="white", marker=look["marker"], zorder=3)
        times += [*x, *(t for _, t, _ in held)]
    if not drawn:
        return None
    _log_axis(axes, _round_ticks(times))
    axes.set_xlabel("standalone seconds (log scale)")
    axes.set_ylabel(f"{metric(primary)} on test")
    _legend(canvas, drawn)
    alt = (
        f"Chart of test {metric(primary)} against standalone seconds for "
        f"{listing([name for _, name in drawn])}, one marker for each of n = {_sizes(section.sizes)}; "
        f"up and left is better."
    )
    caption = f"{sentence(metric(primary))} against standalone time: up and left is better."
    caption += " Larger markers have more labelled examples." if len(section.sizes) > 1 else ""
    caption += " Hollow markers leave out the training of the parent, such as a teacher." if hollow else ""
    return Drawing(canvas, "by-time", alt, caption)


def _convergence(section: Section) -> Drawing | None:
    curves = {(ln.label, n): _curve(ln, n) for ln in section.lines for n in section.sizes}
    sizes = [n for n in section.sizes if any(curves[ln.label, n] for ln in section.lines)]
    if not sizes:
        return None
    canvas = new_canvas(max(6.0, 3.5 * len(sizes)), 6.6)
    grid = canvas.subplots(2, len(sizes), sharey=True, squeeze=False)
    drawn: dict[str, Any] = {}
    for column, size in enumerate(sizes):
        top, bottom = grid[0][column], grid[1][column]
        seconds: list[float] = []
        for line in section.lines:
            points = curves[line.label, size]
            if not points:
                continue
            mean, low, high = ([p[k] for p in points] for k in (2, 3, 4))
            band = {"color": colour(line), "alpha": 0.16, "linewidth": 0}
            look = _look(line) | {"markersize": 4}
            epochs = [p[0] for p in points]
            top.fill_between(epochs, low, high, **band)
            drawn[line.label] = top.plot(epochs, mean, **look)[0]
            timed = [p for p in points if p[1] > 0]
            x = [p[1] for p in timed]
            bottom.fill_between(x, [p[3] for p in timed], [p[4] for p in timed], **band)
            bottom.plot(x, [p[2] for p in timed], **look)
            seconds += x
        top.set_title(f"n = {size}", fontsize=11)
        top.set_xlabel("epoch")
        bottom.set_xlabel("seconds of training (log scale)")
        _log_axis(bottom, _round_ticks(seconds, 4))
    for row in grid:
        row[0].set_ylabel("monitor accuracy")
    _legend(canvas, [(artist, label) for label, artist in drawn.items()])
    alt = (
        f"Learning curves of {listing(list(drawn))}: monitor accuracy against epochs (top) and seconds of "
        f"training (bottom), one column for each of n = {_sizes(sizes)}."
    )
    caption = "Convergence on the monitor split: mean over seeds, band from the lowest to the highest seed."
    return Drawing(canvas, "convergence", alt, caption)


def _sizes(sizes: Sequence[int]) -> str:
    return listing([str(n) for n in sizes])


def _curve(line: Line, size: int) -> list[tuple[float, float, float, float, float]]:
    """Return (epoch, seconds, mean, lowest, highest) over seeds, where there is a monitor accuracy."""
    by_epoch: dict[float, list[tuple[float, float]]] = {}
    for record in line.at(size):
        for point in record.curve if record.status == "ok" else ():
            if point.monitor_accuracy is not None:
                by_epoch.setdefault(point.epoch, []).append((point.seconds, point.monitor_accuracy))
    found = []
    for epoch, pairs in sorted(by_epoch.items()):
        seconds, accuracies = [s for s, _ in pairs], [a for _, a in pairs]
        mean = statistics.fmean(accuracies)
        found.append((epoch, statistics.fmean(seconds), mean, min(accuracies), max(accuracies)))
    return found


def _short_label(line: Line, section: Section) -> str:
    """Return a label for a legend: of a parent its role, where no other line has the same."""
    alone = sum(other.role == line.role for other in section.parents) == 1
    return line.role if line.role and alone else line.label


def _time_and_metric(line: Line, size: int, primary: str) -> tuple[float | None, float | None]:
    time, scores = line.median(size, "seconds.standalone"), line.values(size, f"metrics.{primary}")
    if time is None or not scores:
        return None, None
    return time, statistics.fmean(scores)


def _alone(line: Line, size: int) -> float | None:
    found = [without_parents(r) for r in line.at(size) if r.status == "ok"]
    held = [f for f in found if f is not None and f > 0]
    return statistics.median(held) if held else None


def _area(size: int, sizes: Sequence[int]) -> float:
    """Return a marker's area: grows by step, since sizes may span decades."""
    return 36.0 + 60.0 * sizes.index(size) / max(len(sizes) - 1, 1)


def _look(line: Line) -> dict[str, Any]:
    if line.role:
        return {
            "color": PARENT_GREY,
            "marker": MARKERS[-1 - line.index % 6],
            "linestyle": dash_of(line),
            "linewidth": 1.5,
        }
    return {"color": colour(line), "marker": MARKERS[line.index % len(MARKERS)], "linestyle": dash_of(line)}


def _legend(canvas: Canvas, drawn: Drawn) -> None:
    """Put the legend under the axes, where it covers no data."""
    longest = max(len(label) for _, label in drawn)
    width = canvas.get_figwidth()
    columns = max(1, min(len(drawn), int(width * 12 / (longest + 6))))
    # A legend of many rows would leave no room for the axes.
    more = max(0, -(-len(drawn) // columns) - LEGEND_ROWS)
    canvas.set_figheight(canvas.get_figheight() + more * LEGEND_ROW_INCHES)
    canvas.legend([a for a, _ in drawn], [label for _, label in drawn], loc="outside lower center", ncols=columns)


def _log_axis(axes: Axes, ticks: Sequence[float]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    axes.set_xticks(
        list(ticks),
        [f"{t:g}" if t >= 1000 else significant(t, 3).rstrip("0").rstrip(".") if t < 1 else f"{t:g}" for t in ticks],
    )
    axes.xaxis.set_minor_locator(NullLocator())


def _round_ticks(values: Sequence[float], most: int = 7) -> list[float]:
    """Return round numbers (1, 2, 5 times a power of ten) over the range of values, at most so many."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ladder = [step * 10.0**power for power in range(-6, 9) for step in steps]
        inside = [t for t in ladder if low * 0.8 <= t <= high * 1.25]
        if 0 < len(inside) <= most:
            return inside
    return inside or [low]

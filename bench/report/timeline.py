"""A page of a suite's history: each series that changed, by commit, with its change points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare.history import Series
from bench.report.canvas import COLOURS, Drawing, new_canvas, own_style, saved
from bench.report.page import Block, Bullets, Figure, Heading, Page, Paragraph, Span, Table, Words
from bench.report.units import listing, plain_number

# Series of one page's figure; more are not looked through.
MOST_DRAWN = 12


@dataclass(frozen=True)
class Course:
    """One series of a history: a title, a label for each run, its value, the levels and where new ones begin."""

    title: str
    labels: Sequence[str]
    values: Sequence[float]
    levels: Sequence[float]
    changes: Sequence[int]


def page(suite: str, found: Sequence[Series]) -> Page:
    """Return the page of a history."""
    changed = [each for each in found if each.changes]
    runs = max((len(each.runs) for each in found), default=0)
    told = f"{len(changed)} of {len(found)} series changed their level." if changed else "No series changed its level."
    answer: list[Block] = [Paragraph((Span(told),), "lead")]
    if changed:
        answer.append(Bullets(tuple(_told(each) for each in changed[:MOST_DRAWN])))
    note = (
        "A level is a mean over at least three runs (PELT, Killick et al., 2012); a number without noise changes where "
        "it changes. Times and memory are series of one machine each."
    )
    answer.append(Paragraph((Span(note),), "note"))
    shown = (changed or [each for each in found if each.measure in ("accuracy", "seconds_train")])[:MOST_DRAWN]
    drawn = courses([_course(each) for each in shown], "history")
    rows = tuple(
        (
            Span(each.measure),
            Span(_point(each)),
            Span(str(len(each.values))),
            Span(plain_number(each.values[0])),
            Span(plain_number(each.values[-1]), "strong" if each.changes else ""),
            Span(", ".join(_short(each.runs[i].commit) for i in each.changes) or "–"),
        )
        for each in found
    )
    table = Table("history", ("measure", "point", "runs", "first", "last", "changed with"), rows, 2)
    blocks: list[Block] = [Heading("By commit"), drawn] if drawn else []
    blocks += [Heading("Every series"), table]
    return Page(f"{suite}: history", (f"{runs} runs", f"{len(found)} series"), tuple(answer), tuple(blocks))


def _told(each: Series) -> Words:
    levels = [plain_number(level) for level in each.levels()]
    steps = "; ".join(
        f"{before} to {after} with {_short(each.runs[i].commit)} ({each.runs[i].when[:10]})"
        for before, after, i in zip(levels, levels[1:], each.changes, strict=False)
    )
    return Span(each.measure, "strong"), Span(f" of {_point(each)}: {steps}")


def _course(each: Series) -> Course:
    labels = [_short(run.commit) for run in each.runs]
    return Course(f"{each.measure}: {_point(each)}", labels, each.values, each.levels(), each.changes)


def courses(found: Sequence[Course], name: str) -> Figure | None:
    """Return series one below the other, with their levels and a line at each change; None where there are none."""
    if not found:
        return None
    with own_style():
        canvas = new_canvas(8.6, 1.9 * len(found))
        grid = canvas.subplots(len(found), 1, squeeze=False)
        for (axes,), course in zip(grid, found, strict=True):
            ends = [0, *course.changes, len(course.values)]
            axes.plot(range(len(course.values)), course.values, "o", color=COLOURS[0], markersize=4)
            for level, begin, end in zip(course.levels, ends, ends[1:], strict=False):
                axes.plot([begin, end - 1], [level, level], color=COLOURS[0], linewidth=2)
            for change in course.changes:
                axes.axvline(change - 0.5, color=COLOURS[1], linewidth=1.2, linestyle="--")
                axes.annotate(course.labels[change], (change - 0.4, 1), xycoords=("data", "axes fraction"), va="top")
            axes.set_title(course.title, fontsize=10, loc="left")
            every = max(1, len(course.labels) // 8)
            axes.set_xticks(range(0, len(course.labels), every), course.labels[::every], fontsize=8)
            axes.margins(y=0.2)
        told = [f"{c.title}, {len(c.changes)} changes" for c in found]
        caption = "By commit, oldest first. Lines are levels; a dashed line is where a new one begins, with its commit."
        return saved(Drawing(canvas, name, f"Series by commit: {listing(told)}.", caption))


def _short(commit: str) -> str:
    return commit[:7]


def _point(each: Series) -> str:
    return each.point + (f" on {each.machine[:6]}" if each.machine else "")


def as_text(found: Sequence[Series], measure: str | None) -> str:
    """Return a line for each series of a measure, or of those that changed: a sparkline, first and last, changes."""
    known = sorted({each.measure for each in found})
    asked = [each for each in found if (each.measure == measure if measure else each.changes)]
    if not asked and measure is None:
        return f"no series of {len(found)} changed its level; --measure NAME shows one of {', '.join(known)}"
    lines = []
    for each in asked:
        changes = ", ".join(f"changed with {_short(each.runs[i].commit)}" for i in each.changes)
        ends = f"{plain_number(each.values[0])} to {plain_number(each.values[-1])}"
        lines.append(
            "  ".join(part for part in (_spark(each.values), each.measure, _point(each), ends, changes) if part)
        )
    return "\n".join(lines)


def _spark(values: Sequence[float], width: int = 24) -> str:
    """Return the last values as a line of blocks."""
    shown = values[-width:]
    low, high = min(shown), max(shown)
    steps = "▁▂▃▄▅▆▇█"
    return "".join(steps[round((v - low) / (high - low) * 7) if high > low else 3] for v in shown)

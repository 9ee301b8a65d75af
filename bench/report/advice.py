"""The answer: which strategy wins at which size, how sure that is, its cost, and where the lines cross."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.compare.statistics import MIN_SEEDS, Comparison
from bench.report.board import Board, Crossing, crossings
from bench.report.page import Block, Bullets, Paragraph, Span, Words
from bench.report.study import Line, Section
from bench.report.units import duration, listing, metric, p_value, seeds, signed, significant, spread

MOST_OTHERS = 12


def answer(section: Section, standing: tuple[Board, ...], primary: str) -> tuple[Block, ...]:
    """Return the answer of one section: the headline, a line for each size, the crossings."""
    held = [board for board in standing if board.ranked]
    if not held:
        return (Paragraph((Span("No cell ended ok, so there is no answer yet."),), "lead"),)
    blocks: list[Block] = [Paragraph(_headline(held), "lead")]
    blocks.append(Bullets(tuple(_at_size(board, primary) for board in standing)))
    found = crossings(standing)
    leading, lower = [c for c in found if c.leading], [c for c in found if not c.leading]
    if leading:
        blocks.append(Paragraph(_joined([_crossing(c, standing) for c in leading])))
    if lower:
        blocks.append(Paragraph((Span("Other lines that cross: "), *_lower(lower))))
    blocks.append(Paragraph((Span(_small_print(held)),), "note"))
    return tuple(blocks)


def _headline(held: Sequence[Board]) -> Words:
    """Name the winners, sizes with one winner together."""
    sizes: dict[str, list[str]] = {}
    for board in held:
        sizes.setdefault(board.ranked[0][0].label, []).append(str(board.size))
    if len(sizes) == 1 and len(held) > 1:
        return (Span(next(iter(sizes)), "strong"), Span(" has the best mean at every size."))
    words: list[Span] = []
    for place, (label, at) in enumerate(sizes.items()):
        words.append(Span(label, "strong"))
        words.append(Span(f" has the best mean at n = {listing(at)}" if place == 0 else f" at n = {listing(at)}"))
        words.append(Span("." if place == len(sizes) - 1 else ", "))
    return tuple(words)


def _at_size(board: Board, primary: str) -> Words:
    start = Span(f"n = {board.size}: ")
    if not board.ranked:
        return start, Span("no cell ended ok.")
    best, summary = board.ranked[0]
    first = f", {metric(primary)} {spread(summary)} ({seeds(summary.n)}){_price(best, board.size)}"
    words = (start, Span(best.label, "strong"), Span(first))
    if len(board.ranked) == 1:
        return (*words, Span("; nothing to compare it with."))
    second, other = board.ranked[1]
    then = f", {spread(other)}{_price(second, board.size)}. "
    comparison = board.comparisons[best.label, second.label]
    margin = _margin(comparison, summary.mean - other.mean)
    return (*words, Span("; then "), Span(second.label, "strong"), Span(then), Span(f"{margin}."))


def _margin(comparison: Comparison, gap: float) -> str:
    """Say how far the runner-up is behind and whether that is shown."""
    d = comparison.difference
    if d is None:
        return f"Gap {gap:.3f}, on other seeds: not comparable"
    if comparison.verdict is None or d.low is None or d.high is None or comparison.p_adjusted is None:
        return f"Gap {signed(d.mean)}: no verdict from {seeds(d.n)}"
    interval = f"95 % interval {signed(d.low)} to {signed(d.high)}, {p_value(comparison.p_adjusted)}"
    verdict = comparison.verdict if comparison.verdict == "no difference shown" else "a difference is shown"
    return f"Gap {signed(d.mean)} ({interval}): {verdict}"


def _price(line: Line, size: int) -> str:
    """Say how long a strategy takes from nothing, and without its parents where it has some."""
    whole = line.values(size, "seconds.standalone")
    if not whole:
        return ""
    text = f" in {duration(statistics.median(whole))}"
    alone = line.values(size, "seconds.parents")
    if len(alone) == len(whole) and any(alone):
        rest = statistics.median([w - p for w, p in zip(whole, alone, strict=True)])
        text += f" ({duration(rest)} without its {_roles(line)})"
    return text


def _roles(line: Line) -> str:
    return listing(sorted({role for r in line.records for role in r.cell.parents})) or "parents"


def _crossing(c: Crossing, standing: tuple[Board, ...]) -> Words:
    """Tell one crossing of the winners in full."""
    return (
        Span(c.before, "strong"),
        Span(f" leads up to n = {c.below}, "),
        Span(c.after, "strong"),
        Span(f" from n = {c.above}; linear interpolation in log n puts the crossing near n ≈ {_about(c.at)}"),
        Span(f"{_doubt(c, standing)}."),
    )


def _doubt(c: Crossing, standing: tuple[Board, ...]) -> str:
    """Say which of the two leads around a crossing are not shown to be real."""
    verdicts = {b.size: b.comparisons[c.before, c.after].verdict for b in standing if b.size in (c.below, c.above)}
    open_ends = [f"n = {size}" for size, verdict in verdicts.items() if verdict == "no difference shown"]
    if len(open_ends) == 2:
        return ", though neither lead is shown to be more than the spread of seeds"
    return f", though the lead at {open_ends[0]} is not shown to be more than the spread of seeds" if open_ends else ""


def _lower(found: Sequence[Crossing]) -> Words:
    """Tell the other crossings in a few words each, the highest first."""
    texts = [f"{c.after} passes {c.before} near n ≈ {_about(c.at)}" for c in found[:MOST_OTHERS]]
    if len(found) > MOST_OTHERS:
        texts.append(f"and {len(found) - MOST_OTHERS} lower ones")
    return (Span(f"{'; '.join(texts)}."),)


def _about(n: float) -> str:
    """Two digits: the interpolation holds no more."""
    return significant(n, 2).replace(",", "")


def _joined(parts: Sequence[Words]) -> Words:
    words: list[Span] = []
    for part in parts:
        words += [*part, Span(" ")]
    return tuple(words[:-1])


def _small_print(held: Sequence[Board]) -> str:
    most = max(summary.n for board in held for _, summary in board.ranked)
    cost = "Times are the median seconds that a user pays who runs only this cell (standalone)."
    if most == 1:
        return f"One seed: no spread and no verdict; {MIN_SEEDS} seeds are the least for one. {cost}"
    text = "± is the standard deviation over seeds. "
    if most < MIN_SEEDS:
        return f"{text}Fewer than {MIN_SEEDS} seeds give no verdict. {cost}"
    return (
        f"{text}Differences are paired by seed; one is shown when p < 0.05 in a paired t test, adjusted by "
        f"Holm over all pairs of strategies at that size. {cost}"
    )

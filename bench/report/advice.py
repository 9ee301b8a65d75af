"""The answer: which strategy to take at which size, how sure that is, its cost, and where the lines cross."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.compare.answers import Resampled
from bench.compare.scaling import Interval
from bench.compare.statistics import MIN_SEEDS, Comparison
from bench.report.board import Board, Crossing, crossing_interval, crossings
from bench.report.choice import CLOSE, NO_LIMITS, Choice, Kind, Limits, choose, kind_of, rule_of_thumb
from bench.report.examples import over_examples, single_runs
from bench.report.page import Block, Bullets, Notes, Paragraph, Span, Table, Words
from bench.report.study import Line, Section
from bench.report.tables import NO_TIMING, ids
from bench.report.units import MISSING, duration, listing, metric, p_value, seeds, signed, significant, spread

MOST_OTHERS = 12
KINDS: dict[Kind, str] = {
    "scratch": "training from scratch",
    "frozen": "a head on frozen features",
    "partial": "fine-tuning the last stages",
    "full": "fine-tuning all of it",
}


def answer(
    section: Section, standing: tuple[Board, ...], primary: str, limits: Limits = NO_LIMITS, tabled: bool = False
) -> tuple[Block, ...]:
    """Return the answer of one section within limits: the headline, each size, the rule of thumb, the crossings.

    Each size is a sentence, for a terminal, or with `tabled` a row.
    """
    choices = [choose(board, limits) for board in standing]
    held = [board for board in standing if board.ranked]
    if not held:
        return (Paragraph((Span("No cell ended ok, so there is no answer yet."),), "lead"),)
    fitting = [choice for choice in choices if choice.ranked]
    if not fitting:
        return (Paragraph((Span("No strategy is within the limits at any size."),), "lead"), *_left_out(choices))
    blocks: list[Block] = [Paragraph(_headline(fitting), "lead")]
    if tabled:
        blocks.append(_table(choices, primary))
        blocks += _by_examples(choices, primary)
    else:
        blocks.append(Bullets(tuple(_at_size(choice, primary) for choice in choices)))
    blocks += _left_out(choices)
    blocks += _by_rule(standing, choices)
    found = crossings(standing) if limits == NO_LIMITS else ()
    leading, lower = [c for c in found if c.leading], [c for c in found if not c.leading]
    if len(lower) > MOST_OTHERS:  # of many strategies most lines cross somewhere by chance
        lower = [c for c in lower if not _doubt(c, standing)]
    if leading:
        blocks.append(Paragraph(_joined([_crossing(c, standing, primary) for c in leading])))
    if lower:
        blocks.append(Paragraph((Span("Other lines that cross: "), *_lower(lower))))
    blocks.append(Paragraph((Span(_small_print(held)),), "note"))
    return tuple(blocks)


def _headline(held: Sequence[Choice]) -> Words:
    """Name the winners, sizes with one winner together."""
    sizes: dict[str, list[str]] = {}
    for choice in held:
        sizes.setdefault(choice.ranked[0][0].label, []).append(str(choice.size))
    if len(sizes) == 1 and len(held) > 1:
        return (Span(next(iter(sizes)), "strong"), Span(" has the best mean at every size."))
    words: list[Span] = []
    for place, (label, at) in enumerate(sizes.items()):
        words.append(Span(label, "strong"))
        words.append(Span(f" has the best mean at n = {listing(at)}" if place == 0 else f" at n = {listing(at)}"))
        words.append(Span("." if place == len(sizes) - 1 else ", "))
    return tuple(words)


def _table(choices: Sequence[Choice], primary: str) -> Table:
    """Return a row for each size: what to take, what comes next, how far behind, and what is as good for less."""
    head = ("n", "take", metric(primary), "time", "next best", "ahead by (95 %)", "shown?", "as good for less")
    notes = Notes()
    rows = tuple(_row(choice, notes) for choice in choices)
    return Table("answer", head, rows, len(head), notes=tuple(notes.texts))


def _row(choice: Choice, notes: Notes) -> tuple[Span, ...]:
    size = Span(str(choice.size))
    if not choice.ranked:
        return size, Span("none within the limits" if choice.excluded else "none ended ok"), *[Span(MISSING)] * 6
    best, summary = choice.ranked[0]
    behind = ahead = shown = MISSING
    if len(choice.ranked) > 1 and choice.comparison is not None:
        second, other = choice.ranked[1]
        behind = f"{second.label}: {other.mean:.3f}, {_time(second, choice.size, notes)}"
        ahead, shown = _ahead(choice.comparison, summary.mean - other.mean)
    cheaper = f"{choice.cheaper.label}, {_time(choice.cheaper, choice.size, notes)}" if choice.cheaper else MISSING
    took = Span(spread(summary), cells=ids(best, choice.size))
    texts = (_time(best, choice.size, notes), behind, ahead, shown, cheaper)
    return size, Span(best.label, "strong"), took, *map(Span, texts)


def _ahead(comparison: Comparison, gap: float) -> tuple[str, str]:
    """Return how far the best is ahead with its interval over seeds, and whether that is shown."""
    d = comparison.difference
    if d is None:
        return f"{gap:.3f}", "other seeds"
    if comparison.verdict is None or d.low is None or d.high is None or comparison.p_adjusted is None:
        return signed(d.mean), f"no verdict, {seeds(d.n)}"
    told = "no" if comparison.verdict == "no difference shown" else "yes"
    return f"{signed(d.mean)} ({signed(d.low)} to {signed(d.high)})", f"{told}, {p_value(comparison.p_adjusted)}"


def _time(line: Line, size: int, notes: Notes) -> str:
    seconds = line.median(size, "seconds.standalone")
    if seconds is None:
        return MISSING
    return duration(seconds) if line.timed(size) else f"{duration(seconds)} {notes.mark(NO_TIMING)}"


def _doubted(line: Line, size: int) -> str:
    return "" if line.timed(size) else " (timing not valid)"


def _by_examples(choices: Sequence[Choice], primary: str) -> list[Block]:
    """Say what the gaps would be on other test examples, where the records tell."""
    told = []
    for choice in choices:
        if len(choice.ranked) > 1:
            found = over_examples(choice.ranked[0][0], choice.ranked[1][0], choice.size, primary)
            if found is not None:
                told.append(f"{signed(found.low)} to {signed(found.high)} at n = {choice.size}")
    words = f"With the same seeds and other test examples the best would be ahead by {listing(told)}."
    return [Paragraph((Span(words),))] if told else []


def _at_size(choice: Choice, primary: str) -> Words:
    start = Span(f"n = {choice.size}: ")
    if not choice.ranked:
        return start, Span("no strategy is within the limits." if choice.excluded else "no cell ended ok.")
    best, summary = choice.ranked[0]
    first = f", {metric(primary)} {spread(summary)} ({seeds(summary.n)}){_price(best, choice.size)}"
    words: Words = (start, Span(best.label, "strong"), Span(first))
    if len(choice.ranked) == 1 or choice.comparison is None:
        return (*words, Span("; nothing to compare it with."))
    second, other = choice.ranked[1]
    then = f", {spread(other)}{_price(second, choice.size)}. "
    margin = _margin(choice, best, second, summary.mean - other.mean, primary)
    words = (*words, Span("; then "), Span(second.label, "strong"), Span(then), Span(f"{margin}."))
    if choice.cheaper is None:
        return words
    price = _price(choice.cheaper, choice.size).replace(" in ", ", for ", 1)
    cheaper = f" is within {CLOSE:g} of it, no difference shown{price}."
    return (*words, Span(" "), Span(choice.cheaper.label, "strong"), Span(cheaper))


def _margin(choice: Choice, best: Line, second: Line, gap: float, primary: str) -> str:
    """Say how far the runner-up is behind and whether that is shown, over seeds and over test examples."""
    comparison = choice.comparison
    d = comparison.difference if comparison else None
    if comparison is None or d is None:
        return f"Gap {gap:.3f}, on other seeds: not comparable"
    examples = over_examples(best, second, choice.size, primary)
    if comparison.verdict is None or d.low is None or d.high is None or comparison.p_adjusted is None:
        single = single_runs(best, second, choice.size, primary)
        told = f"; on the same test examples {p_value(single.p)} (McNemar)" if single else ""
        return f"Gap {signed(d.mean)}{_over(examples)}: no verdict from {seeds(d.n)}{told}"
    interval = f"95 % interval {signed(d.low)} to {signed(d.high)} over seeds, {p_value(comparison.p_adjusted)}"
    verdict = comparison.verdict if comparison.verdict == "no difference shown" else "a difference is shown"
    return f"Gap {signed(d.mean)} ({interval}{_over(examples, '; ')}): {verdict}"


def _over(found: Resampled | None, before: str = ", ") -> str:
    """Say what the same gap is on other test examples."""
    return "" if found is None else f"{before}{signed(found.low)} to {signed(found.high)} over test examples"


def _left_out(choices: Sequence[Choice]) -> list[Block]:
    """Say which strategies exceed a limit, at which sizes and by what."""
    found = [(name, c.size, why) for c in choices for name, why in c.excluded.items()]
    if not found:
        return []
    items = tuple((Span(f"n = {size}: "), Span(name, "strong"), Span(f" ({why})")) for name, size, why in found)
    return [Paragraph((Span("Beyond the limits:"),)), Bullets(items)]


def _by_rule(standing: Sequence[Board], choices: Sequence[Choice]) -> list[Block]:
    """Say where the textbook's rule of thumb and the measurement agree."""
    parts = []
    for board, choice in zip(standing, choices, strict=True):
        rule = rule_of_thumb(board)
        if rule is None or not choice.ranked:
            continue
        because, says = rule
        parts.append(f"n = {board.size}, {because}: {KINDS[says]}, {_verdict_on(says, board, choice)}")
    return [Paragraph((Span(f"The textbook's rule of thumb: {'; '.join(parts)}."),))] if parts else []


def _verdict_on(says: Kind, board: Board, choice: Choice) -> str:
    """Say how what the rule of thumb takes compares with the choice."""
    best, top = choice.ranked[0]
    found = next(((line, s) for line, s in choice.ranked if kind_of(line, board.size) == says), None)
    if found is None:
        return "which was not measured or is beyond the limits"
    line, summary = found
    if line in (best, choice.cheaper):
        return "as measured"
    shown = board.comparisons[best.label, line.label].verdict
    doubt = ", no difference shown" if shown == "no difference shown" else ""
    return f"{signed(top.mean - summary.mean)} below the best{doubt}"


def _price(line: Line, size: int) -> str:
    """Say how long a strategy takes from nothing, and without its parents where it has some."""
    whole = line.values(size, "seconds.standalone")
    if not whole:
        return ""
    text = f" in {duration(statistics.median(whole))}{_doubted(line, size)}"
    alone = line.values(size, "seconds.parents")
    if len(alone) == len(whole) and any(alone):
        rest = statistics.median([w - p for w, p in zip(whole, alone, strict=True)])
        text += f" ({duration(rest)} without its {_roles(line)})"
    return text


def _roles(line: Line) -> str:
    return listing(sorted({role for r in line.records for role in r.cell.parents})) or "parents"


def _crossing(c: Crossing, standing: tuple[Board, ...], primary: str) -> Words:
    """Tell one crossing of the winners in full."""
    interval = crossing_interval(c, standing, primary)
    return (
        Span(c.before, "strong"),
        Span(f" leads up to n = {c.below}, "),
        Span(c.after, "strong"),
        Span(f" from n = {c.above}; linear interpolation in log n puts the crossing near n ≈ {_about(c.at)}"),
        Span(f"{_ends(interval, standing) if interval else ''}{_doubt(c, standing)}."),
    )


def _ends(found: Interval, standing: tuple[Board, ...]) -> str:
    """Say how sure a crossing is; an end that is not among the measured sizes is told as such."""
    low = f"{standing[0].size} or fewer" if found.low is None else _about(found.low)
    high = f"{standing[-1].size} or more" if found.high is None else _about(found.high)
    return f" (95 % interval over seeds: {low} to {high})"


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
        f"{text}Differences are paired by seed; one is shown when p < 0.05 in a paired t test whose "
        f"deviations lean on each other, adjusted by Holm over all pairs of strategies at that size. {cost}"
    )

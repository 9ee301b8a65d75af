"""What stands behind the answer: failures, machines, the way to do it again, every cell."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.naming import distinct, labels, once
from bench.record import Record
from bench.report.page import Block, Fold, Heading, Paragraph, Span, Table, Verbatim
from bench.report.study import Study, place_labels, value
from bench.report.tables import NO_TIMING
from bench.report.units import MISSING, listing, metric, sentence, significant

# More cells than this are no longer read as a table of a page, but in cells.csv.
MOST_ROWS = 500


def outcome(study: Study) -> str:
    """Say in a few words how the cells ended."""
    records, missing = study.records, len(study.missing)
    ok = sum(r.status == "ok" for r in records)
    if missing:
        return f"{len(records)} of {len(records) + missing} cells have run, {ok} ended ok"
    skipped = sum(r.status == "skipped" for r in records)
    ran = len(records) - skipped
    words = f"all {ok} cells ended ok" if ok == ran else f"{ok} of {ran} cells ended ok"
    return f"{words}, {skipped} skipped" if skipped else words


def not_run(study: Study) -> tuple[Block, ...]:
    """Say which cells have not run yet, since an answer without them is none."""
    if not study.missing:
        return ()
    sizes: dict[str, set[int]] = {}
    for cell in study.missing:
        sizes.setdefault(str(cell.strategy.get("name")), set()).add(cell.size)
    told = "; ".join(f"{name} at n = {listing([str(n) for n in sorted(held)])}" for name, held in sizes.items())
    total = len(study.missing) + len(study.records)
    words = (
        f"{len(study.missing)} of {total} planned cells have not run yet ({told}): what follows is of the others alone."
    )
    return (Paragraph((Span(words, "strong"),)),)


def failures(study: Study) -> tuple[Block, ...]:
    """Return every cell that did not end ok, with its reason and the command that shows it."""
    records = study.records
    heading = Heading("Failures and skips")
    if all(r.status == "ok" for r in records):
        return heading, Paragraph((Span(f"{sentence(outcome(study))}."),))
    groups: dict[tuple[str, ...], list[Record]] = {}
    for r, strategy, (dataset, backbone) in zip(records, strategy_labels(records), place_labels(records), strict=True):
        if r.status != "ok":
            alone = "" if r.status == "skipped" else r.cell_id  # what was skipped for one reason is one row
            reason = r.reason or "no reason was recorded"
            groups.setdefault((strategy, f"{dataset} · {backbone}", r.status, reason, alone), []).append(r)
    rows = []
    for (strategy, where, status, reason, alone), held in groups.items():
        see = Span(f"bench show {alone}", "code", (alone,)) if alone else Span(MISSING)
        for seeds, sizes in _rectangles(held):
            told = (listing([str(number) for number in numbers]) for numbers in (sizes, seeds))
            rows.append((*(Span(text) for text in (strategy, where, *told, status, reason)), see))
    head = ("strategy", "data · backbone", "n", "seed", "status", "reason", "to see it")
    listed = "listed here" if len(rows) <= MOST_ROWS else "in cells.csv, the first of it listed here,"
    note = f"{sentence(outcome(study))}; the rest is {listed} and counted in the tables above."
    return heading, Paragraph((Span(note),)), Table("failures", head, tuple(rows[:MOST_ROWS]), len(head))


def _rectangles(held: Sequence[Record]) -> list[tuple[tuple[int, ...], list[int]]]:
    """Return seeds with the sizes at which there are just these, so that a row names no cell which is not in it."""
    seeds: dict[int, set[int]] = {}
    for record in held:
        seeds.setdefault(record.cell.size, set()).add(record.cell.seed)
    found: dict[tuple[int, ...], list[int]] = {}
    for size in sorted(seeds):
        found.setdefault(tuple(sorted(seeds[size])), []).append(size)
    return list(found.items())


def environments(study: Study) -> tuple[Block, ...]:
    """Return one column for each machine the records come from, and a note when there are several."""
    groups: dict[str, list[Record]] = {}
    for record in study.records:
        if record.environment:
            groups.setdefault(str(record.environment.get("fingerprint", "unknown")), []).append(record)
    if not groups:
        return ()
    names = sorted(groups)
    facts = {name: distinct(record.environment for record in groups[name]) for name in names}
    keys = sorted({key for several in facts.values() for each in several for key in each} - {"fingerprint"})
    found = [[_distinct([each.get(key) for each in facts[name]]) for name in names] for key in keys]
    rows = [
        (Span(key.replace("_", " ")), *(Span(text) for text in texts))
        for key, texts in zip(keys, found, strict=True)
        if any(text != MISSING for text in texts)
    ]
    rows.append((Span("cells"), *(Span(str(len(groups[name]))) for name in names)))
    blocks: list[Block] = [Heading("Environment" if len(names) == 1 else "Environments")]
    if len(names) > 1:
        note = f"These records come from {len(names)} environments: compare seconds only within one of them."
        blocks.append(Paragraph((Span(note),)))
    shared = sum(not r.timing_valid for r in study.records)
    if shared:
        cells = "1 cell" if shared == 1 else f"{shared} cells"
        blocks.append(Paragraph((Span(f"Timing: {cells} {NO_TIMING}."),)))
    head = ("fingerprint", *names)
    blocks.append(Table("environments", head, tuple(rows), len(head)))
    return tuple(blocks)


def reproduce(study: Study) -> tuple[Block, ...]:
    """Return the command that makes the study again."""
    return Heading("How to reproduce"), Verbatim(study.command)


def appendix(study: Study) -> tuple[Block, ...]:
    """Return the architecture of each backbone and a table of every cell."""
    blocks: list[Block] = [Heading("Appendix")]
    summaries: dict[str, str] = {}
    for record, (_, backbone) in zip(study.records, place_labels(study.records), strict=True):
        architecture = record.details.get("architecture")
        text = architecture.get("summary") if isinstance(architecture, Mapping) else None
        if text:
            summaries.setdefault(backbone, str(text))
    for name, text in sorted(summaries.items()):
        blocks.append(Fold(f"Architecture of {name}", (Verbatim(text),)))
    if len(study.records) <= MOST_ROWS:
        blocks.append(Fold(f"Every cell ({len(study.records)})", (every_cell(study),)))
    else:
        blocks.append(Paragraph((Span(f"Every cell: cells.csv has a row for each of the {len(study.records)}."),)))
    return tuple(blocks)


def left_out(study: Study, sections: int) -> Paragraph:
    """Say what a report of many sections leaves out, and how to get it."""
    command = study.command.replace("bench run", "bench report", 1)
    return Paragraph(
        (
            Span(
                f"Each of the {sections} pairs of data set and backbone has a section with its tables and one figure. "
            ),
            Span("To draw all figures of one of them: "),
            Span(f"{command} --only dataset=NAME,backbone=NAME --reports FOLDER", "code"),
        ),
        "note",
    )


def every_cell(study: Study) -> Table:
    """Return one row for each planned cell, with its main numbers."""
    strategies, places = strategy_labels(study.records), place_labels(study.records)
    rows = []
    for r, strategy, place in zip(study.records, strategies, places, strict=True):
        c = r.cell
        role = "parent" if r.cell_id in study.parents else ""
        words = (strategy, *place, role, r.status)
        numbers = (
            str(c.size),
            str(c.seed),
            _number(value(r, f"metrics.{study.primary}"), 4),
            _number(r.seconds.standalone),
            _number(r.seconds.marginal),
        )
        rows.append((Span(r.cell_id, "code", (r.cell_id,)), *(Span(t) for t in (*words, *numbers))))
    head = ("cell", "strategy", "data", "backbone", "role", "status", "n", "seed", metric(study.primary))
    return Table("cells", (*head, "standalone (s)", "marginal (s)"), tuple(rows), 6)


def strategy_labels(records: Sequence[Record]) -> list[str]:
    """Return the label of each record's strategy, among all strategies of the study."""
    strategies = [r.cell.strategy for r in records]
    keys = once(strategies, lambda strategy: repr(sorted(strategy.items(), key=lambda kv: kv[0])))
    specs = dict(zip(keys, strategies, strict=True))
    names = dict(zip(specs, labels(list(specs.values())), strict=True))
    return [names[key] for key in keys]


def device(records: Sequence[Record]) -> str:
    """Name the machine of most records in a few words, or nothing."""
    found = [str(r.environment.get("gpu") or r.environment.get("cpu") or "") for r in records if r.environment]
    return statistics.mode(found) if found else ""


def _number(x: float | None, digits: int = 3) -> str:
    return MISSING if x is None else significant(x, digits)


def _distinct(values: Sequence[Any]) -> str:
    """Return the different values of one fact, in order, as text."""
    texts = [_text(v) for v in values if v is not None]
    return ", ".join(dict.fromkeys(texts)) or MISSING


def _text(item: Any) -> str:
    if isinstance(item, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in sorted(item.items()))
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, list | tuple):
        return ", ".join(_text(v) for v in item)
    return str(item)

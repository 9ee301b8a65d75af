"""What `bench plan` and `bench run` say of a plan as a whole: the state of its cells, what they take, the totals."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from bench.cell import Cell
from bench.index import Brief
from bench.machine import many_objects
from bench.planner import Entry, Plan
from bench.record import Record
from bench.schedule import Rates, Status, total
from bench.store import Store
from bench.terminal import duration

STATES = ("cached", "to run", "skipped")
WIDTH = 80
# Columns: id 12, state 7, time 8, and two spaces between them; the title takes the rest.
MARGIN, TIME = 23, 10
MOST_FAILURES = 20


@dataclass(frozen=True)
class Row:
    """One cell of a plan. `state` is one of STATES; `note` says why it is skipped, or how its last run ended."""

    entry: Entry
    title: str
    state: str
    estimate_seconds: float | None
    note: str | None


@many_objects()
def rows(plan: Plan, now: Status) -> list[Row]:
    """Return a row for each cell, in the plan's order."""
    rates = Rates.of(plan, now)
    expected = {e.cell.id: rates.seconds(e.cell) for e in now.missing}
    titles = plan.titles
    found = []
    for entry in plan.entries:
        cell_id = entry.cell.id
        state = "skipped" if entry.skip else "to run" if cell_id in expected else "cached"
        last = now.records.get(cell_id)
        note = entry.skip
        if state == "to run" and last is not None and last.status != "ok":
            note = f"last time: {last.status}" + (f", {last.reason}" if last.reason else "")
        found.append(Row(entry, titles[cell_id], state, expected.get(cell_id), note))
    return found


def to_json(plan: Plan, found: list[Row]) -> dict[str, Any]:
    """Return a plan as plain JSON: every cell with its identity, and the totals."""
    listed = [
        {
            "cell_id": row.entry.cell.id,
            "title": row.title,
            "state": row.state,
            "role": row.entry.role,
            "reason": row.note,
            "estimate_seconds": row.estimate_seconds,
            "cell": row.entry.cell.identity(),
        }
        for row in found
    ]
    counts = Counter(row.state for row in found)
    totals = {"cells": len(found), **{state.replace(" ", "_"): counts[state] for state in STATES}}
    return {"suite": plan.suite.suite, "cells": listed, "totals": {**totals, "estimate_seconds": _seconds(found)}}


def text(plan: Plan, found: list[Row]) -> str:
    """Return a plan as a table that fits 80 columns, and a last line with the totals."""
    lines = [f"{'cell':<14}{'state':<9}{'what':<{WIDTH - MARGIN - TIME}}{'expected':>{TIME}}"]
    for row in found:
        time = "" if row.estimate_seconds is None else duration(row.estimate_seconds)
        words = row.title + (f" ({row.entry.role})" if row.entry.role else "")
        first, *rest = _wrapped(words, WIDTH - MARGIN - TIME)
        lines.append(f"{row.entry.cell.id:<14}{row.state:<9}{first:<{WIDTH - MARGIN - TIME}}{time:>{TIME}}".rstrip())
        notes = textwrap.wrap(row.note, WIDTH - MARGIN - 2) if row.note else []
        lines += [" " * MARGIN + part for part in (*rest, *("  " + note for note in notes))]
    return "\n".join([*lines, "", summary(found)])


def _wrapped(words: str, width: int) -> list[str]:
    """Return words on as many lines as they need, as `textwrap` has it; plain words ten times as fast."""
    lines, rest = [], words
    while len(rest) > width and (cut := rest.rfind(" ", 0, width + 1)) > 0:
        lines.append(rest[:cut])
        rest = rest[cut + 1 :]
    odd = lines and any(sign in f"{words} " for sign in ("-", "  "))
    plain = len(rest) <= width and words.isprintable() and not odd
    return [*lines, rest] if plain else textwrap.wrap(words, width) or [""]


def summary(found: list[Row]) -> str:
    """Return the totals: how many cells in which state, and what those to run are expected to take."""
    counts = Counter(row.state for row in found)
    parents = sum(row.entry.role is not None for row in found)
    words = f"{cells(len(found))}: " + ", ".join(f"{counts[state]} {state}" for state in STATES)
    words += f"; {parents} only as a parent of others" if parents else ""
    if not counts["to run"]:
        return words
    seconds = _seconds(found)
    return words + (
        "\nno estimate: nothing like it has run yet" if seconds is None else f"\nabout {duration(seconds)} to run"
    )


def cells(count: int) -> str:
    """Return a number of cells in words."""
    return f"{count} cell" if count == 1 else f"{count} cells"


def _seconds(found: list[Row]) -> float | None:
    return total(row.estimate_seconds for row in found if row.state == "to run")


def records(plan: Plan, store: Store) -> list[Record]:
    """Return a record for every planned cell that was run or is skipped, in the plan's order."""
    cells = {e.cell.id: e.cell for e in plan.entries}
    found = {e.cell.id: Record(e.cell.id, plan.suite.suite, e.cell, "skipped", e.skip) for e in plan.entries if e.skip}
    last: Record | None = None
    with many_objects():
        for record in store.each(e.cell.id for e in plan.runnable):
            last = found[record.cell_id] = _sharing(record, cells[record.cell_id], last)
    return [found[e.cell.id] for e in plan.entries if e.cell.id in found]


def _sharing(record: Record, cell: Cell, last: Record | None) -> Record:
    """Return a record with the plan's cell, and with what the one before had too: half the memory of thousands."""
    same = {
        name: getattr(last, name)
        for name in ("environment", "details")
        if last is not None and getattr(last, name) == getattr(record, name)
    }
    return replace(record, cell=cell, **same)


def beginning(now: Status) -> list[str]:
    """Say before a run what is there already, and that records without their predictions are measured again."""
    missing = {e.cell.id for e in now.missing}
    done = sum(r.status == "ok" and i not in missing for i, r in now.records.items())
    lines = [f"{cells(done)} done already"] if done else []
    if now.alone:
        lines.append(f"{cells(len(now.alone))} came from elsewhere, without predictions: measured again here")
    return lines


def not_ok(now: Status) -> dict[str, Brief]:
    """Return what is known of the records that did not end ok, by cell id; one that was skipped is ok."""
    return {i: r for i, r in now.records.items() if r.status not in ("ok", "skipped")}


def ended(ran: int, plan: Plan, now: Status) -> list[str]:
    """Say after a run how it went, and why cells did not end ok."""
    statuses = [r.status for r in now.records.values()] + ["skipped" for e in plan.entries if e.skip]
    counts = Counter(statuses)
    said = ", ".join(f"{counts[status]} {status}" for status in sorted(counts)) or "nothing"
    bad = list(not_ok(now).items())
    lines = [f"  {r.status}: {plan.titles[i]}: {r.reason} (bench show {i})" for i, r in bad[:MOST_FAILURES]]
    more = [f"  and {len(bad) - MOST_FAILURES} more"] if len(bad) > MOST_FAILURES else []
    return [f"{cells(ran)} run; in all {said}", *lines, *more]

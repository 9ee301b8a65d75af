"""How the strategies of a section were trained: what was the same for all of them, and what was not."""

from __future__ import annotations

from typing import Any

from bench.naming import distinct, flat
from bench.record import Record
from bench.report.page import Block, Paragraph, Span, Table
from bench.report.study import Section
from bench.report.units import MISSING


def recipe(section: Section) -> list[Block]:
    """Return the fields that all cells share in one paragraph, and a table, strategy x size, for each that differs."""
    fields = _fields([r for line in section.rows for r in line.records])
    if not fields:
        return []
    same = [f"{name} {_text(next(iter(values)))}" for name, values in fields.items() if len(values) == 1]
    spans = [span for text in same for span in (Span(text, "code"), Span(" · "))][:-1]
    blocks: list[Block] = [Paragraph((Span("The same for every cell: "), *spans))] if spans else []
    blocks += [_table(section, name) for name, values in fields.items() if len(values) > 1]
    return blocks


def _table(section: Section, name: str) -> Table:
    rows = []
    for line in section.rows:
        found = [_fields(line.at(size)).get(name, {}) for size in section.sizes]
        rows.append((Span(line.label), *(Span(", ".join(map(_text, values)) or MISSING) for values in found)))
    head = ("strategy", *(f"n = {size}" for size in section.sizes))
    return Table(f"recipe.{name}", head, tuple(rows), 1, f"{name}, which is not the same for every cell.")


def _fields(records: list[Record] | tuple[Record, ...]) -> dict[str, dict[Any, None]]:
    """Return the values of each field of the recipe, in the order of the records.

    A field that joined later is in a recipe only where it is not at its default.
    """
    recipes = [dict(flat(shared)) for shared in distinct(record.cell.recipe for record in records)]
    found: dict[str, dict[Any, None]] = {name: {} for recipe in recipes for name in recipe}
    for recipe in recipes:
        for name, values in found.items():
            value = recipe.get(name, "default")
            values[value if not isinstance(value, list) else str(value)] = None
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)

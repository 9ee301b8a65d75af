"""Every strategy against one of them: by how much, how sure, and whether that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.compare.statistics import Comparison, compare_pairs
from bench.report.page import Span, Style, Table
from bench.report.study import Line, Section
from bench.report.tables import ids
from bench.report.units import MISSING, metric, sentence, signed


def table(section: Section, primary: str, suite: Mapping[str, Any]) -> Table | None:
    """Return strategy x size: the mean difference from the suite's `report: {against: ...}`, with its interval.

    None where the suite names none, or where this section does not have it.
    """
    reference = _reference(section, (suite.get("report") or {}).get("against"))
    if reference is None:
        return None
    path = f"metrics.{primary}"
    others = [line for line in section.lines if line is not reference]
    found: dict[tuple[str, int], Comparison] = {}
    for n in section.sizes:
        base = reference.by_seed(n, path)
        pairs = {(line.label, n): (line.by_seed(n, path), base) for line in others}
        found |= compare_pairs({key: pair for key, pair in pairs.items() if pair[0].keys() & base.keys()})
    if not found:
        return None
    rows = []
    for line in others:
        cells = [_cell(found.get((line.label, n)), ids(line, n)) for n in section.sizes]
        if any(cell.text != MISSING for cell in cells):
            rows.append((Span(line.label), *cells))
    caption = (
        f"{sentence(metric(primary))} less that of {reference.label}: mean over seeds, paired, with its 95 % interval. "
        "In bold with ▲ or ▼ what is shown to be better or worse at 5 % over all differences of a column together "
        "(Holm); without a mark, no difference is shown."
    )
    return Table("against", ("strategy", *(f"n = {n}" for n in section.sizes)), tuple(rows), 1, caption)


def _reference(section: Section, wanted: object) -> Line | None:
    """Return the line that a suite compares with, by its label or the one of that name."""
    exact = [line for line in section.lines if line.label == wanted]
    named = [line for line in section.lines if line.records[0].cell.strategy["name"] == wanted]
    return next(iter(exact or named), None)


def _cell(found: Comparison | None, cells: tuple[str, ...]) -> Span:
    if found is None or found.difference is None:
        return Span(MISSING)
    d = found.difference
    plus = "+" if d.mean > 0 else ""
    text = f"{plus}{signed(d.mean)}"
    if d.low is not None and d.high is not None:
        text += f" ({signed(d.low)} to {signed(d.high)})"
    mark = {"better": "▲ ", "worse": "▼ "}.get(str(found.verdict), "")
    style: Style = "strong" if mark else ""
    return Span(f"{mark}{text}", style, cells)

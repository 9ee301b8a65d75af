"""Which cells are the best of their data sets: their weights are kept, and the report shows where they look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.cell import Cell, canonical
from bench.record import Record


def metrics_of_one(record: Record) -> Mapping[str, float | None]:
    """Return the metrics of a cell that ended ok with one trained model; a task of many rounds trains one for each."""
    return record.metrics if record.status == "ok" and record.details.get("rounds", 1) == 1 else {}


def data_of(cell: Cell) -> bytes:
    """Return what cells of one data set have in common: its name, options and content."""
    return canonical(cell.dataset)


def best(scored: Iterable[tuple[Cell, float | None]]) -> dict[bytes, tuple[float, Cell]]:
    """Return the highest score of each data set and the cell that has it; of equal ones the first."""
    found: dict[bytes, tuple[float, Cell]] = {}
    for cell, score in scored:
        key = data_of(cell)
        if score is not None and (key not in found or score > found[key][0]):
            found[key] = score, cell
    return found

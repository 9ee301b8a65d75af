"""Which cell an id means, and why two cells differ: the fields of their identities, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.cell import Cell
from bench.errors import StoreError, UsageError, did_you_mean, nearest
from bench.naming import differing
from bench.record import Record
from bench.store import Store


def every_record(results: Path) -> list[Record]:
    """Return all records of all suites in a results folder; of a cell that several suites have, the latest."""
    try:
        suites = sorted(p.name for p in results.iterdir() if p.is_dir()) if results.is_dir() else []
    except OSError as error:
        raise StoreError(f"{results}: cannot be read: {error.strerror}") from None
    records = [record for suite in suites for record in Store(results, suite).every()]
    return list({r.cell_id: r for r in sorted(records, key=lambda r: r.started_at or "")}.values())


def find_id(beginning: str, ids: Iterable[str], where: str) -> str:
    """Return the one id that begins so. Raises UsageError when there is none, or more than one."""
    known = sorted(set(ids))
    found = [i for i in known if i.startswith(beginning.lower())]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no cell {beginning!r} in {where}{did_you_mean(nearest(beginning, known))}")
    shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    raise UsageError(f"{len(found)} cells in {where} begin with {beginning!r}: {shown}; write more of the id")


def nearest_cell(cell: Cell, others: Iterable[Cell]) -> Cell | None:
    """Return the cell, but for itself, whose identity differs in the fewest fields."""
    apart = (other for other in others if other.id != cell.id)
    return min(apart, key=lambda other: len(differences(cell, other)), default=None)


def differences(one: Cell, other: Cell) -> list[str]:
    """Return a line for each field of the identity that differs: `recipe.lr: 0.001, there 0.01`."""
    return [f"{path}: {here!r}, there {there!r}" for path, here, there in differing(one, other, "nothing")]

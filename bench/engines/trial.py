"""Tries what cells need before any of them is run: weights, data, sizes. Device half."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.backbones import find
from bench.cell import Cell, canonical
from bench.datasets import datasets
from bench.errors import BenchError, OptionError, WeightsError
from bench.tasks import tasks


def first_mistake(cells: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the first mistake of the user's that would fail a cell: `cell_id`, `part`, `path`, `message`; or None.

    A checkpoint that does not fit its model is found here, and data that can't be fetched. Whatever else goes wrong is
    left to the cell itself, whose record will say it.
    """
    seen: dict[bytes, Any] = {}
    for cell in map(Cell.from_json, cells):
        for part, attempt in (("backbone", _weights), ("dataset", _counts), ("size", _size)):
            try:
                attempt(cell, seen)
            except BenchError as error:
                path = ["weights"] if isinstance(error, WeightsError) else list(getattr(error, "path", ()))
                return {"cell_id": cell.id, "part": part, "path": path, "message": str(error)}
            except Exception:  # noqa: BLE001 - no mistake of the user's: the cell's record will say what it is
                continue
    return None


def _weights(cell: Cell, seen: dict[bytes, Any]) -> None:
    key = canonical(cell.plugin("backbone"))
    if cell.backbone["weights"] != "random" and key not in seen:
        seen[key] = True
        find(cell.plugin("backbone")).build(2, pretrained=True, seed=0)


def _counts(cell: Cell, seen: dict[bytes, Any]) -> tuple[int, dict[str, int]]:
    """Return the number of classes, and of the examples of each split; fetch the data if need be."""
    key = canonical(cell.plugin("dataset"))
    if key not in seen:
        dataset = datasets.create(cell.plugin("dataset"))
        labels = {split: dataset.examples(split).labels for split in ("train", "test")}
        classes = dataset.facts().classes
        counts = {split: len(found) for split, found in labels.items()}
        seen[key] = len(classes) if classes else int(labels["train"].max()) + 1, counts
    found: tuple[int, dict[str, int]] = seen[key]
    return found


def _size(cell: Cell, seen: dict[bytes, Any]) -> None:
    classes, counts = _counts(cell, seen)
    wrong = tasks.create(cell.plugin("task")).check(cell.size, classes, counts)
    if wrong:
        raise OptionError(wrong)

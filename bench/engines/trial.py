"""Tries what cells need before any of them is run: weights, data, sizes. Device half."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from bench.backbones import find
from bench.cell import Cell, canonical
from bench.datasets import datasets
from bench.datasets._classes import names_of, unknown
from bench.errors import BenchError, OptionError, WeightsError
from bench.tasks import tasks

Attempt = Callable[[Cell, dict[bytes, Any]], object]


def first_mistake(cells: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the first mistake of the user's that would fail a cell: `cell_id`, `part`, `path`, `message`; or None.

    A checkpoint that does not fit its model is found here, and data that can't be fetched. Whatever else goes wrong is
    left to the cell itself, whose record will say it.
    """
    seen: dict[bytes, Any] = {}
    for cell in map(Cell.from_json, cells):
        tried: list[tuple[str, Attempt]] = [("backbone", _weights), ("dataset", _data), ("size", _size)]
        tried += [(f"also_test.{i}", partial(_other, spec=spec)) for i, spec in enumerate(cell.elsewhere())]
        for part, attempt in tried:
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


def _data(cell: Cell, seen: dict[bytes, Any]) -> None:
    _known(cell.plugin("dataset"), seen)


def _known(spec: Mapping[str, Any], seen: dict[bytes, Any]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the classes of a data set, and the number of examples of each split; fetch the data if need be."""
    key = canonical(spec)
    if key not in seen:
        dataset = datasets.create(spec)
        labels = {split: dataset.examples(split).labels for split in ("train", "test")}
        classes = names_of(dataset.facts(), labels["train"])
        seen[key] = classes, {split: len(found) for split, found in labels.items()}
    found: tuple[tuple[str, ...], dict[str, int]] = seen[key]
    return found


def _size(cell: Cell, seen: dict[bytes, Any]) -> None:
    classes, counts = _known(cell.plugin("dataset"), seen)
    wrong = tasks.create(cell.plugin("task")).check(cell.size, len(classes), counts)
    if wrong:
        raise OptionError(wrong)


def _other(cell: Cell, seen: dict[bytes, Any], spec: Mapping[str, Any]) -> None:
    """Raise OptionError where a model of the cell's own data can't know all classes of another data set."""
    own = cell.plugin("dataset")
    wrong = unknown(own["name"], _known(own, seen)[0], spec["name"], _known(spec, seen)[0])
    if wrong:
        raise OptionError(wrong)

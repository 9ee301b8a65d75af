"""Cells run by the worker in this process, without an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import suites
from bench.engines.job import Job
from bench.engines.worker import run
from bench.planner import expand
from bench.suite import load

# toy_cnn at 16 pixels: three 3x3 convolutions of stride 2, then a linear head; multiply-adds for one picture.
STEM, MIDDLE, LAST = 3 * 8 * 9 * 64, 8 * 16 * 9 * 16, 16 * 32 * 9 * 4
SIZE, EPOCHS, CLASSES = 12, 2, 3
HEAD = 32 * CLASSES
TRUNK = STEM + MIDDLE + LAST
WHOLE = TRUNK + HEAD


def worked(folder: Path, changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the records of a toy suite with changes, by the name of the strategy. All end ok."""
    found: dict[str, dict[str, Any]] = {}
    for entry in expand(load(suites.write(folder, changes))).runnable:
        parents = {
            role: {"record": found[parent], "weights": str(folder / parent)}
            for role, parent in entry.cell.parents.items()
        }
        files = {"predictions": str(folder / "predictions"), "progress": str(folder / "progress")}
        weights = str(folder / entry.cell.id)
        job = Job("toy", entry.cell.to_json(), parents, str(folder), weights=weights, device="cpu", **files)
        found[entry.cell.id] = run(asdict(job))
        assert found[entry.cell.id]["status"] == "ok", found[entry.cell.id]["reason"]
    return {record["cell"]["strategy"]["name"]: record for record in found.values()}

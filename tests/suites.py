"""Throw-away toy suites: a whole suite on the toy data and the toy model, from a few changes or from text."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

TOY: dict[str, Any] = {
    "suite": "toy",
    "question": "Does it run?",
    "task": {"name": "classify", "test_size": 30, "monitor_size": 10},
    "matrix": {
        "dataset": [{"name": "toy"}],
        "size": [12],
        "backbone": ["toy_cnn"],
        "strategy": ["feature_extract"],
        "seed": [0],
    },
    "recipe": {"epochs": 2, "batch_size": 8},
}


def write(folder: Path, changes: str | Mapping[str, Any] | None = None, name: str = "toy.yaml") -> Path:
    """Write a suite file into `folder` and return its path.

    Text is written as it is. A mapping is laid over `TOY`: mappings merge, all else is replaced, and None takes a key
    away, so `{"matrix": {"seed": [0, 1]}, "task": None}` changes the seeds and leaves the task to its default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if isinstance(changes, str):
        path.write_text(changes, encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8") as handle:
        YAML(typ="safe", pure=True).dump(_over(TOY, changes or {}), handle)
    return path


def _over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(deepcopy(base))
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _over(merged[key], value)
        else:
            merged[key] = deepcopy(value)
    return merged

"""Which cells `--only` keeps: "strategy=scratch|distill,size=100", or "cell=ID|ID"."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from bench.axes import AXES, instead
from bench.cell import Cell
from bench.document import parse
from bench.errors import UsageError, did_you_mean, nearest, quoted
from bench.suite import matches, same

CELL = "cell"


def parse_only(text: str, axes: Mapping[str, Iterable[Any]]) -> dict[str, list[Any]]:
    """Read an expression as axis -> allowed values: names, or values as YAML reads them. Raises UsageError."""
    wanted: dict[str, list[Any]] = {}
    for part in text.split(","):
        axis, equals, values = part.strip().partition("=")
        if not equals:
            raise UsageError(f"--only {text}: write it as AXIS=VALUE, for example strategy=scratch|distill,size=100")
        if axis in wanted:
            raise UsageError(f"--only {text}: {axis} is there twice; allow several values as {axis}=A|B")
        if axis not in axes and axis != CELL:
            known = did_you_mean(nearest(axis, [*axes, CELL])) or f"; it has {', '.join([*axes, CELL])}"
            raise UsageError(f"--only {text}: unknown axis {quoted(axis)}{known}")
        if axis == CELL:
            wanted[axis] = [word.strip() for word in values.split("|")]
            continue
        wanted[axis] = [parse(value, f"--only {text}", mapping=False).data["value"] for value in values.split("|")]
        for value, word in zip(wanted[axis], values.split("|"), strict=True):
            if not any(same(value, known) for known in axes[axis]):
                raise UsageError(f"--only {text}: the suite has no {axis} {quoted(word)}{instead(word, axes[axis])}")
    return wanted


def kept(text: str, cells: Collection[Cell]) -> set[str]:
    """Return the ids of the cells that an expression keeps. Raises UsageError when there are none."""
    points = {cell.id: {axis: getattr(cell, axis) for axis in AXES} for cell in cells}
    wanted = parse_only(text, {axis: [point[axis] for point in points.values()] for axis in AXES})
    ids = wanted.pop(CELL, None)
    found = {i for i, point in points.items() if matches(wanted, point) and (ids is None or i in ids)}
    if not found:
        raise UsageError(f"--only {text}: no cell of the suite matches")
    return found

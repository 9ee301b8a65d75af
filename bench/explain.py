"""Why two cells differ: the fields of their identities, side by side."""

from __future__ import annotations

from bench.cell import Cell
from bench.naming import flat


def differences(one: Cell, other: Cell) -> list[str]:
    """Return a line for each field of the identity that differs: `recipe.lr: 0.001, there 0.01`."""
    here, there = dict(flat(one.identity())), dict(flat(other.identity()))
    missing = "nothing"
    return [
        f"{path}: {here.get(path, missing)!r}, there {there.get(path, missing)!r}"
        for path in sorted(here.keys() | there.keys())
        if here.get(path, missing) != there.get(path, missing)
    ]


def distance(one: Cell, other: Cell) -> int:
    """Return how many fields of the identity differ."""
    return len(differences(one, other))

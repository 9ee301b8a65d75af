"""The axes of a matrix, and the points on them. It knows what a suite says, and nothing of what that means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.cell import canonical
from bench.document import Trail
from bench.errors import did_you_mean, nearest

MOST_NAMED = 20
AXES = ("dataset", "backbone", "size", "seed", "strategy")


@dataclass(frozen=True, eq=False)
class Value:
    """One value of an axis: what the suite says, where it says so, and the canonical form that it is known by."""

    spec: Any
    trail: Trail
    key: bytes


Point = Mapping[str, Value]
Who = tuple[bytes, ...]


def axis_value(spec: Any, trail: Trail) -> Value:
    """Return the value of an axis that stands at a place in the suite."""
    return Value(spec, trail, canonical(spec))


def specs(point: Point) -> dict[str, Any]:
    """Return a point as the suite says it: axis -> value."""
    return {axis: value.spec for axis, value in point.items()}


def who(point: Point) -> Who:
    """Return what tells cells of one suite apart, its recipe aside."""
    return tuple(point[axis].key for axis in AXES)


def instead(word: object, values: Iterable[Any]) -> str:
    """Return the nearest of an axis' values, or all of them."""
    names = (v.get("name", v) if isinstance(v, Mapping) else v for v in values)
    known = {str(name): name for name in names}
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    every = f"; it has {', '.join(list(known)[:MOST_NAMED])}{more}"
    return did_you_mean([known[word] for word in nearest(str(word), known)]) or every

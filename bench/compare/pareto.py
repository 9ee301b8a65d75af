"""What no other choice beats in both ways: as good or better, and as cheap or cheaper."""

from __future__ import annotations

from collections.abc import Mapping


def front(points: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Return the names on the Pareto front of (quality, cost), cheapest first; quality is better high, cost low.

    Of two with the same quality and cost, both are on it.
    """
    found: list[str] = []
    best = float("-inf")
    reached: tuple[float, float] | None = None
    for name, (quality, cost) in sorted(points.items(), key=lambda item: (item[1][1], -item[1][0])):
        if quality > best or (quality, cost) == reached:
            best, reached = quality, (quality, cost)
            found.append(name)
    return tuple(found)

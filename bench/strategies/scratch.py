"""Training from scratch: what every transfer strategy has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.strategies import Phase, Strategy, strategies


@strategies.register
@dataclass(frozen=True)
class Scratch(Strategy):
    """Train every stage from random weights, with the library's own initialisation."""

    name: ClassVar[str] = "scratch"
    version: ClassVar[int] = 1
    start: ClassVar[Literal["pretrained", "random"]] = "random"

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=None),)

"""Full fine-tuning: every weight learns, from the pretrained ones on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.errors import OptionError
from bench.strategies import Phase, Strategy, strategies


@strategies.register
@dataclass(frozen=True)
class FullFinetune(Strategy):
    """Train every stage from the pretrained weights.

    `decay` below 1 gives each stage further from the head `decay` times the learning rate of the one after it
    (Howard and Ruder, 2018, arXiv 1801.06146); 1 is one rate for all.
    """

    name: ClassVar[str] = "full_finetune"
    version: ClassVar[int] = 1

    decay: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise OptionError(f"decay must be in (0, 1], not {self.decay}", ("decay",))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=None, decay=self.decay),)

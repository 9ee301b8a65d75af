"""Partial fine-tuning: the last stages of the backbone learn with the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.errors import OptionError, Skip
from bench.strategies import Phase, Strategy, strategies


@strategies.register
@dataclass(frozen=True)
class PartialFinetune(Strategy):
    """Train the last `unfreeze` stages and the head; the stages before them stay frozen, in eval mode.

    Stages are the backbone's own ordered list, so the same number means the same thing whatever the layers are called.
    """

    name: ClassVar[str] = "partial_finetune"
    version: ClassVar[int] = 1

    unfreeze: int = 1

    def __post_init__(self) -> None:
        if self.unfreeze < 1:
            raise OptionError(f"unfreeze must be 1 or more, not {self.unfreeze}", ("unfreeze",))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        if self.unfreeze >= len(stages):
            raise Skip(
                f"unfreeze: {self.unfreeze} leaves nothing frozen: this backbone has {len(stages)} stage(s), "
                f"{', '.join(stages)}"
            )
        return (Phase(unfrozen=self.unfreeze),)

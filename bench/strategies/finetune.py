"""Fine-tuning with what is usually left unsaid spelled out: BatchNorm's statistics, and where the head begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.errors import OptionError, Skip
from bench.registry import later
from bench.strategies import Norms, Phase, Strategy, strategies

if TYPE_CHECKING:
    from torch import nn


@strategies.register
@dataclass(frozen=True)
class Finetune(Strategy):
    """Train all stages, or the last `unfreeze`, with a policy for BatchNorm and a first head.

    `norms` is what becomes of BatchNorm's statistics in the stages that learn. "train": each batch is normalised by
    itself, and running averages follow, as by default everywhere. "frozen": the pretrained statistics normalise
    throughout, which is steadier where batches are small. "recalibrate": as "train", and at the end mean and variance
    are counted over the training examples with the final weights (Wu and Johnson, 2021, arXiv 2105.07576).

    `head` is where the new head begins. "default": as the library draws it. "zero": no class is preferred, and the
    first step leaves the backbone alone, as its gradient is a product with the head. "probe": the linear probe in
    closed form, ridge regression; what is learnt from there is LP-FT without the time of its first half (Kumar et al.,
    2022, arXiv 2202.10054). That wants a lower rate, `lr` times the recipe's, and `norms: frozen`: the probe fits
    features by the pretrained statistics.
    """

    name: ClassVar[str] = "finetune"
    version: ClassVar[int] = 1

    unfreeze: int | None = None
    norms: Norms = "train"
    head: Literal["default", "zero", "probe"] = "default"
    lr: float = later(1.0)

    def __post_init__(self) -> None:
        if self.unfreeze is not None and self.unfreeze < 1:
            raise OptionError(f"unfreeze must be 1 or more, not {self.unfreeze}", ("unfreeze",))
        if not self.lr > 0:
            raise OptionError(f"lr must be positive, not {self.lr}", ("lr",))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        if self.unfreeze is not None and self.unfreeze > len(stages):
            has = f"this backbone has {len(stages)} stage(s), {', '.join(stages)}"
            raise Skip(f"{self.unfreeze} stages are asked for, but {has}")
        tuning = Phase(unfrozen=self.unfreeze, norms=self.norms, lr=self.lr)
        if self.head != "probe":
            return (tuning,)
        from bench.strategies._probe import probe_head

        return (Phase(unfrozen=0, solve=probe_head), tuning)

    def initialise(self, head: nn.Module) -> None:
        import torch

        if self.head == "zero":
            with torch.no_grad():
                for parameter in head.parameters():
                    parameter.zero_()

"""L2-SP: fine-tuning that is pulled to where it started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.errors import OptionError
from bench.strategies import Phase, Step, Strategy, strategies

if TYPE_CHECKING:
    from torch import Tensor


@strategies.register
@dataclass(frozen=True)
class L2Sp(Strategy):
    """Fine-tune every stage, held near the pretrained weights (Li et al., 2018, arXiv 1802.01483).

    loss = CE + pull / 2 * |w - w_0|^2 + shrink / 2 * |h|^2

    w are the parameters of the backbone and w_0 their pretrained values; the head h is new, has nothing to go back to,
    and gets plain L2. Both take the place of the recipe's weight decay. The paper sets shrink to 0.01 and searches
    pull between 0.001 and 1; 0.1 is in the middle.
    """

    name: ClassVar[str] = "l2_sp"
    version: ClassVar[int] = 1

    pull: float = 0.1
    shrink: float = 0.01

    def __post_init__(self) -> None:
        for name in ("pull", "shrink"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name} must be 0 or more, not {getattr(self, name)}", (name,))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=None, weight_decay=0.0),)

    def loss(self, step: Step) -> Tensor:
        return super().loss(step) + self.penalty(step)

    def penalty(self, step: Step) -> Tensor:
        """Return what the loss has beside the cross-entropy."""
        import torch

        pulls = [(step.weights[name] - first).square().sum() for name, first in step.start.items()]
        norms = [weight.square().sum() for name, weight in step.weights.items() if name not in step.start]
        return self.pull / 2 * torch.stack(pulls).sum() + self.shrink / 2 * torch.stack(norms).sum()

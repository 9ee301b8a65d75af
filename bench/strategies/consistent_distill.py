"""Patient and consistent distillation: the teacher's function is all that is learnt, view by view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.strategies import Step, strategies
from bench.strategies._taught import Taught, soft_divergence

if TYPE_CHECKING:
    from torch import Tensor


@strategies.register
@dataclass(frozen=True)
class ConsistentDistill(Taught):
    """Match a teacher on the very views that the student sees, without labels (Beyer et al., 2022, arXiv 2106.05237).

    loss = T^2 * KL(softmax(teacher / T) || softmax(student / T))

    It is function matching: what counts is that both see the same picture, cropped and moved alike, and that there is
    patience. Epochs are the recipe's, the same for all strategies; give this one more with an override for
    `{strategy: consistent_distill}`, and views to match on with the recipe's augmentation. The paper takes hundreds
    of epochs and mixes pictures. `teacher` is as in `distill`.
    """

    name: ClassVar[str] = "consistent_distill"
    version: ClassVar[int] = 1

    temperature: float = 1.0

    def loss(self, step: Step) -> Tensor:
        return soft_divergence(step.logits, step.parents["teacher"], self.temperature)

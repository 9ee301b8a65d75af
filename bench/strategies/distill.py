"""Knowledge distillation: a student learns from labels and from a teacher's logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.errors import OptionError
from bench.strategies import Step, strategies
from bench.strategies._taught import Taught, soft_divergence

if TYPE_CHECKING:
    from torch import Tensor


@strategies.register
@dataclass(frozen=True)
class Distill(Taught):
    """Fine-tune every stage on labels and on the softened outputs of a teacher (Hinton et al., 2015, arXiv 1503.02531).

    loss = alpha * CE(labels) + (1 - alpha) * T^2 * KL(softmax(teacher / T) || softmax(student / T))

    `teacher` names what differs from the student's cell, `{backbone: ..., strategy: ...}`: an ordinary cell, trained
    first on the same labelled examples. Its logits are on the very views that the student sees. The mean is over
    examples, not over classes, and T^2 keeps the size of the gradient when the temperature changes.
    """

    name: ClassVar[str] = "distill"
    version: ClassVar[int] = 1

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha must be between 0 and 1, not {self.alpha}", ("alpha",))

    def loss(self, step: Step) -> Tensor:
        hard = super().loss(step)
        soft = soft_divergence(step.logits, step.parents["teacher"], self.temperature)
        return self.alpha * hard + (1 - self.alpha) * soft

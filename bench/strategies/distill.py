"""Knowledge distillation: a student learns from labels and from a teacher's logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import OptionError
from bench.strategies import Phase, Step, Strategy, strategies

if TYPE_CHECKING:
    from torch import Tensor


@strategies.register
@dataclass(frozen=True)
class Distill(Strategy):
    """Fine-tune every stage on labels and on the softened outputs of a teacher (Hinton et al., 2015, arXiv 1503.02531).

    loss = alpha * CE(labels) + (1 - alpha) * T^2 * KL(softmax(teacher / T) || softmax(student / T))

    `teacher` names what differs from the student's cell, `{backbone: ..., strategy: ...}`: an ordinary cell, trained
    first on the same labelled examples. Its logits are on the very views that the student sees. The mean is over
    examples, not over classes, and T^2 keeps the size of the gradient when the temperature changes.
    """

    name: ClassVar[str] = "distill"
    version: ClassVar[int] = 1

    teacher: dict[str, Any]
    temperature: float = 4.0
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise OptionError(f"temperature must be positive, not {self.temperature}", ("temperature",))
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha must be between 0 and 1, not {self.alpha}", ("alpha",))

    def parents(self) -> Mapping[str, Mapping[str, Any]]:
        return {"teacher": self.teacher}

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=None),)

    def loss(self, step: Step) -> Tensor:
        hard = super().loss(step)
        soft = soft_divergence(step.logits, step.parents["teacher"], self.temperature)
        return self.alpha * hard + (1 - self.alpha) * soft


def soft_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 * KL(teacher || student) of the softened logits, float [batch, classes], averaged over the batch."""
    from torch.nn.functional import kl_div, log_softmax

    return temperature**2 * kl_div(
        log_softmax(student / temperature, dim=1),
        log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )

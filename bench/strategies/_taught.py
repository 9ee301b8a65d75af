"""What strategies that learn from a teacher share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import OptionError
from bench.strategies import Strategy

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Taught(Strategy):
    """A strategy whose parent is a teacher: what differs from the student's cell, `{backbone: ..., strategy: ...}`.

    Every stage learns. The softness of what the teacher says is the `temperature`.
    """

    teacher: dict[str, Any]
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise OptionError(f"temperature must be positive, not {self.temperature}", ("temperature",))

    def parents(self) -> Mapping[str, Mapping[str, Any]]:
        return {"teacher": self.teacher}


def soft_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 * KL(teacher || student) of the softened logits, float [batch, classes], averaged over the batch."""
    from torch.nn.functional import kl_div, log_softmax

    return temperature**2 * kl_div(
        log_softmax(student / temperature, dim=1),
        log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )

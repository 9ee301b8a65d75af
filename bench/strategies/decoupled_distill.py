"""Decoupled knowledge distillation: what a teacher says of the right class and of the others, weighted apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.errors import OptionError
from bench.strategies import Step, strategies
from bench.strategies._taught import Taught

if TYPE_CHECKING:
    from torch import Tensor


@strategies.register
@dataclass(frozen=True)
class DecoupledDistill(Taught):
    """Fine-tune on labels and on both parts of a teacher's softened outputs (Zhao et al., 2022, arXiv 2203.08679).

    loss = CE + T^2 * (alpha * TCKD + beta * NCKD)

    TCKD = KL(b_t || b_s), where b = (p of the label, all the rest) at temperature T; NCKD = KL(q_t || q_s), where q
    is the softmax over the other classes alone. Plain distillation is TCKD + (1 - p_t of the label) * NCKD: a sure
    teacher takes the weight from what it knows of the other classes, and here that weight is beta instead. alpha = 1,
    beta = 8 and T = 4 are the paper's for CIFAR-100; it raises the weight over 20 epochs first, which is left out.
    `teacher` is as in `distill`.
    """

    name: ClassVar[str] = "decoupled_distill"
    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "hard_labels"})

    alpha: float = 1.0
    beta: float = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha", "beta"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name} must be 0 or more, not {getattr(self, name)}", (name,))

    def loss(self, step: Step) -> Tensor:
        target, others = decoupled(step.logits, step.parents["teacher"], step.labels, self.temperature)
        soft = self.alpha * target.mean() + self.beta * others.mean()
        return super().loss(step) + self.temperature**2 * soft


def decoupled(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return TCKD and NCKD of each example, float [batch], from logits, float [batch, classes], and labels.

    Everything is in log space: the rest's log-probability is a log-sum over the other classes, never log(1 - p).
    """
    import torch
    from torch.nn.functional import kl_div, log_softmax

    right = labels[:, None]
    # By position and not by -inf, whose product with a probability of 0 is no number.
    classes = torch.arange(student.shape[1] - 1, device=labels.device).expand(len(labels), -1)
    wrong = classes + (classes >= right)
    binary, rest = [], []
    for logits in (student, teacher):
        logs = log_softmax(logits / temperature, dim=1)
        other = logs.gather(1, wrong)
        binary.append(torch.cat([logs.gather(1, right), other.logsumexp(dim=1, keepdim=True)], dim=1))
        rest.append(log_softmax(other, dim=1))
    target, others = (kl_div(s, t, reduction="none", log_target=True).sum(dim=1) for s, t in (binary, rest))
    return target, others

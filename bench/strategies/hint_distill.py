"""Hint distillation: a student's features regress its teacher's, then it learns from labels and logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.errors import OptionError
from bench.strategies import Phase, Step, strategies
from bench.strategies.distill import Distill

if TYPE_CHECKING:
    from torch import Tensor, nn


@strategies.register
@dataclass(frozen=True)
class HintDistill(Distill):
    """Fine-tune on a teacher's features, then on labels and its logits (Romero et al., 2015, arXiv 1412.6550).

    phase 1: loss = 1/2 * mean |f_t - R f_s|^2, by example and feature
    phase 2: loss = alpha * CE + (1 - alpha) * T^2 * KL(softmax(teacher / T) || softmax(student / T))

    f are pooled features, the teacher's on the very views that the student sees. R is linear, learns with the student
    and is thrown away: it is there because the two widths differ, and because no unit has to be where the teacher has
    it. The paper's FitNets take a layer half way, and a convolution for R. `hint` is the part of the epochs that phase
    1 gets; the head learns in phase 2. `teacher`, `temperature` and `alpha` are as in `distill`.
    """

    name: ClassVar[str] = "hint_distill"
    version: ClassVar[int] = 1
    hints: ClassVar[bool] = True

    hint: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.hint < 1:
            raise OptionError(f"hint must be between 0 and 1, not {self.hint}", ("hint",))
        super().__post_init__()

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=None, share=self.hint), Phase(unfrozen=None, share=1 - self.hint))

    def beside(self, dim: int, parents: Mapping[str, int]) -> nn.Module:
        from torch import nn

        return nn.Linear(dim, parents["teacher"])

    def loss(self, step: Step) -> Tensor:
        if step.phase == 0:
            from torch.nn.functional import mse_loss

            assert step.beside is not None
            return mse_loss(step.beside(step.features), step.parents["teacher/features"]) / 2
        return super().loss(step)

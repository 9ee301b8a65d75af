"""Prototypical networks on frozen features: the nearest class mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.strategies import Phase, Strategy, strategies

if TYPE_CHECKING:
    from torch import Tensor, nn


@strategies.register
@dataclass(frozen=True)
class ProtoNet(Strategy):
    """Classify by the nearest class prototype in the frozen feature space (Snell et al., 2017, arXiv 1703.05175).

    The logit of class c is minus the squared Euclidean distance to its prototype p_c, the mean of its labelled
    features: -|f - p_c|^2 = 2 f.p_c - |p_c|^2 - |f|^2. The last term is the same for all classes and drops out of the
    softmax, so the head is an ordinary linear layer. Nothing is learnt by gradient; it is the few-shot baseline, not a
    rival at thousands of labels.
    """

    name: ClassVar[str] = "protonet"
    version: ClassVar[int] = 1

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=0, solve=prototype_head),)


def prototype_head(features: Tensor, labels: Tensor, classes: int) -> nn.Module:
    """Return the linear layer whose logits are minus the squared distances to the class means, up to a shared term.

    `features` float [n, dim], `labels` int64 [n] in [0, classes), each class at least once.
    """
    import torch
    from torch import nn

    counts = torch.bincount(labels, minlength=classes).to(features.dtype)
    sums = torch.zeros(classes, features.shape[1], dtype=features.dtype, device=features.device)
    prototypes = sums.index_add_(0, labels, features) / counts[:, None]
    head = nn.Linear(features.shape[1], classes, device=features.device, dtype=features.dtype)
    with torch.no_grad():
        head.weight.copy_(2 * prototypes)
        head.bias.copy_(-prototypes.square().sum(dim=1))
    return head

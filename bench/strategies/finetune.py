"""Fine-tuning with what is usually left unsaid spelled out: BatchNorm's statistics, and where the head begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.errors import OptionError, Skip
from bench.strategies import Norms, Phase, Strategy, strategies

if TYPE_CHECKING:
    from torch import Tensor, nn


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
    closed form, see `probe_head`; what is learnt from there is LP-FT without the time of its first half (Kumar et al.,
    2022, arXiv 2202.10054).
    """

    name: ClassVar[str] = "finetune"
    version: ClassVar[int] = 1

    unfreeze: int | None = None
    norms: Norms = "train"
    head: Literal["default", "zero", "probe"] = "default"

    def __post_init__(self) -> None:
        if self.unfreeze is not None and self.unfreeze < 1:
            raise OptionError(f"unfreeze must be 1 or more, not {self.unfreeze}", ("unfreeze",))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        if self.unfreeze is not None and self.unfreeze > len(stages):
            has = f"this backbone has {len(stages)} stage(s), {', '.join(stages)}"
            raise Skip(f"{self.unfreeze} stages are asked for, but {has}")
        tuning = Phase(unfrozen=self.unfreeze, norms=self.norms)
        return (Phase(unfrozen=0, solve=probe_head), tuning) if self.head == "probe" else (tuning,)

    def initialise(self, head: nn.Module) -> None:
        import torch

        if self.head == "zero":
            with torch.no_grad():
                for parameter in head.parameters():
                    parameter.zero_()


def probe_head(features: Tensor, labels: Tensor, classes: int) -> nn.Module:
    """Return the ridge regression of one-hot labels on standardised features as a linear layer.

    W = argmin |Y - Z W|^2 + strength * |W|^2, the intercept free. Least squares give scores around 0 and 1, too close
    for a softmax, so that they are multiplied by one number. That and the strength are those of a grid with the least
    cross-entropy on each example left out in turn, which ridge regression gives in closed form (Allen, 1974:
    prediction i without example i is y_i - r_i / (1 - h_i)). `features` float [n, dim], `labels` int64 [n].
    """
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy, one_hot

    x = features.double()
    std, mean = torch.std_mean(x, dim=0, correction=0)
    std = torch.where(std > 1e-6 + 1e-5 * mean.abs(), std, 1.0)
    y = one_hot(labels, classes).double()
    prior = y.mean(dim=0)
    u, s, v = torch.linalg.svd((x - mean) / std, full_matrices=False)
    target = u.T @ (y - prior)
    tried = []
    for strength in (s.square().mean() * 10.0**power for power in range(-3, 4)):
        kept = s.square() / (s.square() + strength)
        residual = y - prior - u @ (kept[:, None] * target)
        leverage = u.square() @ kept + 1 / len(x)
        without = y - residual / (1 - leverage).clamp_min(1e-6)[:, None]
        for scale in (2.0**power for power in range(8)):
            tried.append((float(cross_entropy(scale * without, labels)), strength, scale))
    _, strength, scale = min(tried, key=lambda each: each[0])
    weight = scale * (v.T @ ((s / (s.square() + strength))[:, None] * target)).T / std
    head = nn.Linear(x.shape[1], classes, device=features.device, dtype=features.dtype)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(scale * prior - weight @ mean)
    return head

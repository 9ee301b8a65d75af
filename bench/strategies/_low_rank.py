"""A low-rank addition to a weight."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """weight + scale * B A, as a parametrisation of a weight, float [out, in, ...].

    A, float [rank, in * ...], is drawn uniformly as a layer's weight is; B, float [out, rank], begins at 0, so that
    nothing has changed at first.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.a = nn.Parameter(torch.empty(rank, weight[0].numel(), device=weight.device, dtype=weight.dtype))
        self.b = nn.Parameter(torch.zeros(len(weight), rank, device=weight.device, dtype=weight.dtype))
        nn.init.kaiming_uniform_(self.a, a=sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.b @ self.a).view(weight.shape)

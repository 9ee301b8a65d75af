"""A head that sees standardised features, and the folding of their scale into its first layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.backbones._heads import ends_of


class Standardized(nn.Module):
    """A head on features of mean 0 and deviation 1 over the rows it was made from, float [n, dim]."""

    mean: Tensor
    std: Tensor

    def __init__(self, rows: Tensor, head: nn.Module) -> None:
        super().__init__()
        mean, std = scale_of(rows, dim=0)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of features, float [batch, dim]."""
        logits: Tensor = self.head((features - self.mean) / self.std)
        return logits

    def folded(self) -> nn.Module:
        """Return the head with the scaling in the weights of its first layer, or this module if that is not linear."""
        ends = ends_of(self.head)
        if ends is None:
            return self
        first, _ = ends
        with torch.no_grad():
            weight = first.weight.double() / self.std
            first.weight.copy_(weight)
            first.bias.sub_(weight @ self.mean.double())
        return self.head


def scale_of(rows: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over one dimension of rows, in their precision.

    A feature that varies by no more than float32 rounds has deviation 1: its noise is not worth amplifying.
    """
    std, mean = torch.std_mean(rows.double(), dim=dim, correction=0)
    std = torch.where(std > 1e-6 + 1e-5 * mean.abs(), std, 1.0)
    return mean.to(rows.dtype), std.to(rows.dtype)

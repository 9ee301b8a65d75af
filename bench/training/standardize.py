"""A head that sees standardised features, and its folding back into a plain linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardized(nn.Module):
    """A head on features of mean 0 and deviation 1 over the rows it was made from."""

    mean: Tensor
    std: Tensor

    def __init__(self, rows: Tensor, head: nn.Module) -> None:
        super().__init__()
        flat = rows.flatten(0, 1)
        self.register_buffer("mean", flat.mean(dim=0))
        # A feature that never varies is left as it is.
        std = flat.std(dim=0, correction=0)
        self.register_buffer("std", torch.where(std > 1e-6, std, torch.ones_like(std)))
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of features, float [batch, dim]."""
        logits: Tensor = self.head((features - self.mean) / self.std)
        return logits

    def folded(self) -> nn.Module:
        """Return the head with the scaling in its own weights, or this module when the head is not linear."""
        if not isinstance(self.head, nn.Linear):
            return self
        with torch.no_grad():
            self.head.weight.div_(self.std)
            self.head.bias.sub_(self.head.weight @ self.mean)
        return self.head

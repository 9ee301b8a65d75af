"""A linear probe in closed form: ridge regression of one-hot labels, chosen by leaving each example out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot


@dataclass(frozen=True)
class Probe:
    """A linear classifier of features, and what it would say of each example had it not seen it.

    `weight` float64 [classes, dim], `bias` float64 [classes], `without` float64 [n, classes].
    """

    weight: Tensor
    bias: Tensor
    without: Tensor

    def head(self, features: Tensor) -> nn.Module:
        """Return the classifier as a linear layer for such features."""
        classes, dim = self.weight.shape
        layer = nn.Linear(dim, classes, device=features.device, dtype=features.dtype)
        with torch.no_grad():
            layer.weight.copy_(self.weight)
            layer.bias.copy_(self.bias)
        return layer

    def separability(self, labels: Tensor) -> float:
        """Return how many of the examples it gets right without having seen them, as a part of all."""
        return float((self.without.argmax(dim=1) == labels).double().mean())


def probe(features: Tensor, labels: Tensor, classes: int) -> Probe:
    """Return the probe of features, float [n, dim], and labels, int64 [n].

    W = argmin |Y - Z W|^2 + strength * |W|^2 on standardised features Z, the intercept free. Least squares give scores
    around 0 and 1, too close for a softmax, so that they are multiplied by one number. That and the strength are those
    of a grid with the least cross-entropy on each example left out in turn, which ridge regression gives in closed form
    (Allen, 1974: the prediction of y_i without example i is y_i - r_i / (1 - h_i), r the residual and h the leverage).
    """
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
            tried.append((float(cross_entropy(scale * without, labels)), strength, scale, without))
    _, strength, scale, without = min(tried, key=lambda each: each[0])
    weight = scale * (v.T @ ((s / (s.square() + strength))[:, None] * target)).T / std
    return Probe(weight, scale * prior - weight @ mean, scale * without)


def probe_head(features: Tensor, labels: Tensor, classes: int) -> nn.Module:
    """Return the probe as a linear layer."""
    return probe(features, labels, classes).head(features)


def separability(features: Tensor, labels: Tensor, classes: int) -> float:
    """Return how many of the examples the probe gets right without having seen them, as a part of all."""
    return probe(features, labels, classes).separability(labels)

"""Parameter groups and learning rates: what a phase means for the optimiser."""

from __future__ import annotations

from collections import defaultdict
from math import cos, pi
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from bench.backbones._network import Network
from bench.recipe import Recipe
from bench.strategies import Phase


def optimizer_for(network: Network, phase: Phase, recipe: Recipe) -> Optimizer:
    """Return the recipe's optimiser over a phase's trainable parameters.

    The head learns at `recipe.lr * phase.lr`, the last stage at `phase.decay` times that, and each stage before it at
    `phase.decay` times the next. Weight decay leaves biases and norms (one dimension or none) alone. Each group keeps
    its peak rate under `peak`.
    """
    members: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    depth = len(network.stages)
    parts = [(network.stage_parameters(i), phase.decay ** (depth - i)) for i in range(network.frozen, depth)]
    for named, factor in [*parts, (network.head_parameters(), 1.0)]:
        for _, parameter in named:
            if parameter.requires_grad:
                decay = recipe.weight_decay if parameter.dim() > 1 else 0.0
                members[recipe.lr * phase.lr * factor, decay].append(parameter)
    groups = [{"params": p, "lr": lr, "peak": lr, "weight_decay": wd} for (lr, wd), p in members.items()]
    return _OPTIMIZERS[recipe.optimizer](groups)


def _adamw(groups: list[dict[str, Any]]) -> Optimizer:
    return torch.optim.AdamW(groups, fused=True)


def _adam(groups: list[dict[str, Any]]) -> Optimizer:
    return torch.optim.Adam(groups, fused=True)


def _sgd(groups: list[dict[str, Any]]) -> Optimizer:
    return torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=True)


_OPTIMIZERS = {"adamw": _adamw, "adam": _adam, "sgd": _sgd}


def set_rate(optimizer: Optimizer, schedule: str, step: int, steps: int) -> None:
    """Set every group's rate for step `step` of `steps` (from 0) to its share of the group's peak."""
    factor = rate_factor(schedule, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def rate_factor(schedule: str, step: int, steps: int) -> float:
    """Return the learning rate at a step as a part of its peak, in [0, 1].

    one_cycle rises by a cosine from 1/25 to 1 over the first 30 % of steps and falls by a cosine to almost 0 (Smith and
    Topin, 2017, arXiv 1708.07120; the momentum is left alone); cosine and linear fall from 1.
    """
    done = step / max(steps - 1, 1)
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return 1.0 - step / steps
    if schedule == "cosine":
        return 0.5 * (1 + cos(pi * step / steps))
    rise = 0.3
    if done < rise:
        return _blend(1 / 25, 1.0, done / rise)
    return _blend(1.0, 1e-5, (done - rise) / (1 - rise))


def _blend(start: float, end: float, part: float) -> float:
    return end + (start - end) * 0.5 * (1 + cos(pi * part))

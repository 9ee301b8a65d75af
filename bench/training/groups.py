"""Parameter groups and learning rates: what a phase means for the optimiser."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from bench.backbones._network import Network
from bench.errors import Skip
from bench.recipe import Recipe
from bench.strategies import Phase


def choose(network: Network, phase: Phase) -> dict[str, nn.Parameter]:
    """Freeze what a phase does not train of a network's stages, and return the parameters that learn, by name.

    Raises Skip when the backbone has none of the parameters that the phase picks.
    """
    first = first_stage(network, phase)
    wanted = range(first, len(network.stages)) if phase.stages is None else _numbers(network, phase.stages)
    after = [i for i in range(first, len(network.stages)) if i not in wanted]
    network.freeze(first, after, norms=phase.norms == "frozen")
    head = {id(parameter) for parameter in network.head.parameters()}
    if phase.only is not None or phase.adapt is not None:
        for module in network.model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                picked = phase.adapt is None and phase.only is not None and phase.only(module, name)
                if parameter.requires_grad and id(parameter) not in head and not picked:
                    parameter.requires_grad_(False)
    learning = {name: parameter for name, parameter in network.model.named_parameters() if parameter.requires_grad}
    if phase.only is not None and all(id(parameter) in head for parameter in learning.values()):
        raise Skip("this backbone has none of the parameters that would learn")
    return learning


def first_stage(network: Network, phase: Phase) -> int:
    """Return the first stage that a phase trains: as many as there are when it trains the head alone."""
    depth = len(network.stages)
    if phase.solve is not None:
        return depth
    if phase.stages is not None:
        return min(_numbers(network, phase.stages), default=depth)
    return 0 if phase.unfrozen is None else max(depth - phase.unfrozen, 0)


def _numbers(network: Network, names: Collection[str]) -> list[int]:
    """Return which stages have these names."""
    return [i for i, stage in enumerate(network.stages) if stage.name in names]


def epochs_of(phases: Sequence[Phase], epochs: int) -> tuple[int, ...]:
    """Divide the recipe's epochs among phases by their shares: at least one each, none for a closed form.

    Raises Skip when there are more phases than epochs: no strategy gets more than another.
    """
    shares = [0.0 if phase.solve is not None else phase.share for phase in phases]
    left = sum(phase.solve is None for phase in phases)
    if left > epochs:
        raise Skip(f"{left} phases of training need {left} epochs or more; the recipe has {epochs}")
    given: list[int] = []
    for i, phase in enumerate(phases):
        if phase.solve is not None:
            given.append(0)
            continue
        left -= 1
        so_far = round(epochs * sum(shares[: i + 1]) / sum(shares)) if left else epochs
        given.append(min(max(so_far - sum(given), 1), epochs - sum(given) - left))
    return tuple(given)


def optimizer_for(
    network: Network, phase: Phase, recipe: Recipe, capturable: bool = False, beside: nn.Module | None = None
) -> Optimizer:
    """Return the recipe's optimiser over a phase's trainable parameters; `capturable` in a CUDA graph.

    The head, and what learns `beside` the network, learn at `recipe.lr * phase.lr`, the last stage at `phase.decay`
    times that, and each stage before it at `phase.decay` times the next, times the stage's own of `phase.rates`. Weight
    decay leaves biases and norms (one dimension or none) alone, unless the recipe says otherwise, and pulls on a
    standardised head as that head is, before it is folded. Each group keeps its peak rate under `peak`.
    """
    members: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    depth = len(network.stages)
    own = phase.rates or (1.0,) * depth
    parts = [(network.stage_parameters(i), phase.decay ** (depth - i) * own[i]) for i in range(network.frozen, depth)]
    others = [] if beside is None else list(beside.named_parameters())
    for named, factor in [*parts, ([*network.head_parameters(), *others], 1.0)]:
        for _, parameter in named:
            if parameter.requires_grad:
                rate, decay = rates_of(phase, recipe, parameter.dim())
                members[rate * factor, decay].append(parameter)
    return optimizer_of(recipe, members, capturable)


def rates_of(phase: Phase, recipe: Recipe, dims: int) -> tuple[float, float]:
    """Return the head's peak learning rate in a phase, and the weight decay of parameters of so many dimensions."""
    decays = dims > 1 or recipe.decay_norms
    return recipe.lr * phase.lr, recipe.weight_decay * phase.weight_decay if decays else 0.0


def optimizer_of(
    recipe: Recipe, members: Mapping[tuple[float, float], list[nn.Parameter]], capturable: bool = False
) -> Optimizer:
    """Return the recipe's optimiser over parameters by (peak rate, weight decay)."""
    groups: list[dict[str, Any]] = [
        {"params": p, "lr": lr, "peak": lr, "weight_decay": wd} for (lr, wd), p in members.items()
    ]
    if capturable:
        # A graph reads its rates from the device's memory: a number would be the same in every replay.
        groups = [{**group, "lr": torch.tensor(group["lr"], device=group["params"][0].device)} for group in groups]
    return _OPTIMIZERS[recipe.optimizer](groups, capturable)


def _adamw(groups: list[dict[str, Any]], capturable: bool) -> Optimizer:
    return torch.optim.AdamW(groups, fused=True, capturable=capturable)


def _adam(groups: list[dict[str, Any]], capturable: bool) -> Optimizer:
    return torch.optim.Adam(groups, fused=True, capturable=capturable)


def _sgd(groups: list[dict[str, Any]], capturable: bool) -> Optimizer:
    return torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=True)


_OPTIMIZERS = {"adamw": _adamw, "adam": _adam, "sgd": _sgd}


def set_rate(optimizer: Optimizer, part: float) -> None:
    """Set every group's rate to a part of the group's peak."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(group["peak"] * part)
        else:
            group["lr"] = group["peak"] * part


def learning(optimizer: Optimizer) -> list[nn.Parameter]:
    """Return everything that an optimiser trains."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]

"""The training loop: the only one. It knows feeds, groups and a loss; it knows no method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.backbones._network import Network
from bench.recipe import Recipe
from bench.strategies import Phase, Step, Strategy
from bench.training.feed import Feed, autocast
from bench.training.groups import optimizer_for, set_rate


class Diverged(Exception):
    """The training loss is no longer a finite number."""


@dataclass(frozen=True)
class Epoch:
    """What the loop says at the end of an epoch: its number from 1, steps so far, mean loss and accuracy in it."""

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float


@dataclass(frozen=True)
class Lesson:
    """What a phase learns from, on the device.

    A feed of `views` views, its labels int64 [n], and the parents' logits, float [n, views, classes]; by name, the
    parameters that learn and the first values of those of the backbone.
    """

    feed: Feed
    labels: Tensor
    parents: Mapping[str, Tensor]
    views: int
    weights: Mapping[str, Tensor]
    start: Mapping[str, Tensor]


def train(
    network: Network,
    strategy: Strategy,
    phase: Phase,
    recipe: Recipe,
    lesson: Lesson,
    epochs: int,
    generator: torch.Generator,
    ended: Callable[[Epoch], None],
) -> None:
    """Train the parts of a network that are not frozen for some epochs, calling `ended` after each.

    Batches are drawn without replacement, each example in one random view. Nothing is read back from the device inside
    an epoch. Raises Diverged at the end of an epoch whose loss is not finite.
    """
    device = lesson.labels.device
    optimizer = optimizer_for(network, phase, recipe)
    per_epoch = len(batches(torch.arange(len(lesson.labels)), recipe.batch_size))
    totals = torch.zeros(2, device=device)
    step = 0
    for epoch in range(1, epochs + 1):
        if not network.training:
            network.train()
        totals.zero_()
        order = torch.randperm(len(lesson.labels), generator=generator)
        drawn = torch.randint(lesson.views, (len(order),), generator=generator)
        for position, view in zip(batches(order, recipe.batch_size), batches(drawn, recipe.batch_size), strict=True):
            set_rate(optimizer, recipe.schedule, step, epochs * per_epoch)
            totals += _step(network, strategy, recipe, lesson, optimizer, position, view)
            step += 1
        loss, correct = (totals / len(order)).tolist()
        if not math.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {epoch} (learning rate {recipe.lr * phase.lr:g})")
        ended(Epoch(epoch, step, loss, correct))


def _step(
    network: Network,
    strategy: Strategy,
    recipe: Recipe,
    lesson: Lesson,
    optimizer: torch.optim.Optimizer,
    position: Tensor,
    view: Tensor,
) -> Tensor:
    """Take one optimiser step; return the summed loss and the count of right answers, float [2] on the device."""
    x = lesson.feed.batch(position, view)
    here = position.to(x.device)
    labels = lesson.labels[here]
    parents = {role: logits[here, view.to(x.device)] for role, logits in lesson.parents.items()}
    with autocast(x.device, recipe.precision):
        logits = network.suffix(x, lesson.feed.cut)
    loss = strategy.loss(Step(logits.float(), labels, parents, recipe.label_smoothing, lesson.weights, lesson.start))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    correct = (logits.detach().argmax(dim=1) == labels).sum()
    return torch.stack([loss.detach() * len(labels), correct.to(loss.dtype)])


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Cut an order into batches; a last batch of one joins the one before, since BatchNorm has no variance of one."""
    parts = list(order.split(size))
    if size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts

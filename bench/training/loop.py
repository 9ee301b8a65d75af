"""The training loop: the only one. It knows feeds, groups and a loss; it knows no method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.backbones._network import Network
from bench.recipe import Recipe
from bench.strategies import Phase, Strategy
from bench.training.feed import batches
from bench.training.groups import optimizer_for, set_rate
from bench.training.step import Lesson, Stepping, stepper_for


class Diverged(Exception):
    """The training loss is no longer a finite number."""


@dataclass(frozen=True)
class Epoch:
    """What the loop says at the end of an epoch: its number from 1, steps so far, mean loss and accuracy in it."""

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float


def train(
    network: Network,
    strategy: Strategy,
    phase: Phase,
    recipe: Recipe,
    lesson: Lesson,
    epochs: int,
    generator: torch.Generator,
    stepping: Stepping,
    ended: Callable[[Epoch], None],
) -> None:
    """Train the parts of a network that are not frozen for some epochs, calling `ended` after each.

    Batches are drawn without replacement, each example in one random view. Nothing is read back from the device inside
    an epoch. Raises Diverged at the end of an epoch whose loss is not finite.
    """
    device, count = lesson.labels.device, len(lesson.labels)
    optimizer = optimizer_for(network, phase, recipe, stepping == "graph", lesson.beside)
    take = stepper_for(stepping, network, strategy, recipe, lesson, optimizer)
    parts = batches(count, recipe.batch_size)
    totals = torch.zeros(2, device=device)
    step = 0
    for epoch in range(1, epochs + 1):
        if not network.training:
            network.train()
        totals.zero_()
        order = torch.randperm(count, generator=generator)
        view = torch.randint(lesson.views, (count,), generator=generator)
        labels = lesson.labels[order.to(device)]
        parents = {role: logits[order.to(device), view.to(device)] for role, logits in lesson.parents.items()}
        for part, x in zip(parts, lesson.feed.epoch(order, view, parts), strict=True):
            set_rate(optimizer, recipe.schedule, step, epochs * len(parts))
            totals += take(x, labels[part], {role: logits[part] for role, logits in parents.items()})
            step += 1
        loss, correct = (totals / count).tolist()
        if not math.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {epoch} (learning rate {recipe.lr * phase.lr:g})")
        ended(Epoch(epoch, step, loss, correct))

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
    """What the loop says at the end of an epoch: its number from 1, steps so far, mean loss and accuracy in it.

    There is no accuracy on examples that were mixed: none of them has one label.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float | None


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
        order = lesson.feed.source.regrouped(order, parts, generator)
        view = lesson.views.random(count, generator)
        mixing = None if lesson.mixer is None else lesson.mixer.draw(parts, generator)
        labels = lesson.labels[order.to(device)]
        fed = [feed.epoch(order, view, parts, mixing) for feed in (lesson.feed, *lesson.parents.values())]
        for part, x, *answers in zip(parts, *fed, strict=True):
            wanted = labels[part] if mixing is None else mixing.targets(labels[part], part)
            set_rate(optimizer, recipe.schedule, step, epochs * len(parts))
            totals += take(x, wanted, {role: a.float() for role, a in zip(lesson.parents, answers, strict=True)})
            step += 1
        loss, correct = (totals / count).tolist()
        if not math.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {epoch} (learning rate {recipe.lr * phase.lr:g})")
        ended(Epoch(epoch, step, loss, correct if mixing is None else None))

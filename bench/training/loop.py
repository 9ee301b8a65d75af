"""The training loop: the only one. It knows feeds, groups and a loss; it knows no method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.backbones._network import Network
from bench.rates import Rates
from bench.recipe import Recipe
from bench.strategies import Phase, Strategy
from bench.training.average import Average
from bench.training.balance import Draws
from bench.training.feed import batches
from bench.training.groups import learning, optimizer_for, set_rate
from bench.training.selection import Judged
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
    ended: Callable[[Epoch], Judged | None],
) -> int:
    """Train the parts of a network that are not frozen for some epochs, or fewer, and return how many.

    After each `ended` is called, with the recipe's average of the weights in place if it has one, and what it says of
    validation can lower the rate or be the end. Batches are drawn as the recipe says, each example in one random view.
    Nothing is read back from the device inside an epoch. Raises Diverged at the end of an epoch whose loss is not
    finite.
    """
    device, count = lesson.labels.device, len(lesson.labels)
    optimizer = optimizer_for(network, phase, recipe, stepping == "graph", lesson.beside)
    take = stepper_for(stepping, network, strategy, recipe, lesson, optimizer)
    parts = batches(count, recipe.batch_size)
    rates, draws = Rates(recipe.schedule, epochs, len(parts)), Draws(recipe.sampling, lesson.labels)
    average = Average(learning(optimizer), recipe.ema)
    totals = torch.zeros(2, device=device)
    step = 0
    for epoch in range(1, epochs + 1):
        if not network.training:
            network.train()
        totals.zero_()
        order = draws.order(generator)
        order = lesson.feed.source.regrouped(order, parts, generator)
        view = lesson.views.random(count, generator)
        mixing = None if lesson.mixer is None else lesson.mixer.draw(parts, generator)
        labels = lesson.labels[order.to(device)]
        fed = [feed.epoch(order, view, parts, mixing) for feed in (lesson.feed, *lesson.parents.values())]
        for part, x, *answers in zip(parts, *fed, strict=True):
            wanted = labels[part] if mixing is None else mixing.targets(labels[part], part)
            set_rate(optimizer, rates.part(step))
            totals += take(x, wanted, {role: a.float() for role, a in zip(lesson.parents, answers, strict=True)})
            average.follow()
            step += 1
        loss, correct = (totals / count).tolist()
        if not math.isfinite(loss):
            raise Diverged(f"the training loss is {loss} in epoch {epoch} (learning rate {recipe.lr * phase.lr:g})")
        with average.shown():
            judged = ended(Epoch(epoch, step, loss, correct if mixing is None else None))
        if judged is not None:
            rates.judged(judged.loss, judged.accuracy)
            if judged.stop:
                break
    average.settle()
    return epoch

"""Many linear heads trained at once: the episodes of a few-shot cell, each on its own few examples.

A head of a few hundred numbers takes a step in the time that it takes to ask for one, so hundreds of heads cost about
what one does. The loss of each is its own, and so are its gradient and its optimiser state: what a head learns is what
it would learn alone, up to the rounding of a batched matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import vmap

from bench.recipe import Recipe
from bench.strategies import Phase, Step, Strategy
from bench.training.feed import batches
from bench.training.groups import optimizer_of, rates_of, set_rate
from bench.training.loop import Diverged
from bench.training.standardize import scale_of


@dataclass(frozen=True)
class Lessons:
    """What heads learn from: features, float [heads, n, views, dim], and labels, int64 [heads, n]."""

    features: Tensor
    labels: Tensor


class Heads:
    """As many linear heads as there are lessons, all from the same first weights.

    `weight` is float [heads, classes, dim], `bias` float [heads, classes].
    """

    def __init__(self, first: nn.Linear, count: int, path: str) -> None:
        self.path = path
        self._mapped = True
        self.weight, self.bias = (
            nn.Parameter(start.detach().expand(count, *start.shape).clone()) for start in (first.weight, first.bias)
        )

    def learn(
        self,
        phases: Sequence[tuple[Phase, int]],
        strategy: Strategy,
        recipe: Recipe,
        lessons: Lessons,
        generator: torch.Generator,
    ) -> None:
        """Train by phases of so many epochs, each head as `loop.train` would train it alone. Raises Diverged."""
        for number, (phase, epochs) in enumerate(phases):
            if phase.standardize:
                with torch.no_grad():
                    mean, std = scale_of(lessons.features[:, :, 0], dim=1)
                features = (lessons.features - mean[:, None, None]) / std[:, None, None]
                self._train(number, phase, epochs, strategy, recipe, Lessons(features, lessons.labels), generator)
                self._fold(mean, std)
            else:
                self._train(number, phase, epochs, strategy, recipe, lessons, generator)

    def put(self, number: int, layer: nn.Linear) -> None:
        """Put the weights of one head into a layer."""
        with torch.no_grad():
            layer.weight.copy_(self.weight[number])
            layer.bias.copy_(self.bias[number])

    def _train(
        self,
        number: int,
        phase: Phase,
        epochs: int,
        strategy: Strategy,
        recipe: Recipe,
        lessons: Lessons,
        generator: torch.Generator,
    ) -> None:
        (heads, count, views), device = lessons.features.shape[:3], lessons.labels.device
        rate, decay = rates_of(phase, recipe)
        members: dict[tuple[float, float], list[nn.Parameter]] = {(rate, 0.0): [self.bias]}
        members.setdefault((rate, decay), []).append(self.weight)
        optimizer = optimizer_of(recipe, members)
        parts = batches(count, recipe.batch_size)
        step = 0

        def loss(logits: Tensor, labels: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            weights = {f"{self.path}.weight": weight, f"{self.path}.bias": bias}
            return strategy.loss(Step(logits, labels, {}, recipe.label_smoothing, weights, {}, x, phase=number))

        for epoch in range(1, epochs + 1):
            order = torch.randperm(count, generator=generator).to(device)
            view = torch.randint(views, (count,), generator=generator).to(device)
            total = torch.zeros(heads, device=device)
            for part in parts:
                set_rate(optimizer, recipe.schedule, step, epochs * len(parts))
                x, labels = lessons.features[:, order[part], view[part]], lessons.labels[:, order[part]]
                logits = torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2))
                losses = self._losses(loss, logits, labels, x)
                optimizer.zero_grad(set_to_none=True)
                losses.sum().backward()
                optimizer.step()
                total += losses.detach() * labels.shape[1]
                step += 1
            mean = float((total / count).sum())
            if not math.isfinite(mean):
                raise Diverged(f"a training loss is not finite in epoch {epoch} (learning rate {rate:g})")

    def _losses(self, loss: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """Return the loss of each head, float [heads]."""
        if self._mapped:
            try:
                mapped: Tensor = vmap(loss)(*given, self.weight, self.bias)
                return mapped
            except Exception:  # noqa: BLE001 - a loss that decides by its numbers can't be mapped, whatever it raises
                self._mapped = False
        each = zip(*given, self.weight, self.bias, strict=True)
        return torch.stack([loss(*one) for one in each])

    def _fold(self, mean: Tensor, std: Tensor) -> None:
        """Put the scaling of standardised features into the weights."""
        with torch.no_grad():
            weight = self.weight.double() / std.double()[:, None]
            self.weight.copy_(weight)
            self.bias.sub_((weight @ mean.double()[:, :, None])[:, :, 0])

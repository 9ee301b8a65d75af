"""Many linear heads trained at once: the episodes of a few-shot cell, each on its own few examples.

A head of a few hundred numbers takes a step in the time that it takes to ask for one, so hundreds of heads cost about
what one does. The loss of each is its own, and so are its gradient and its optimiser state: what a head learns is what
it would learn alone, up to the rounding of a batched matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import vmap

from bench.rates import Rates
from bench.recipe import Recipe
from bench.strategies import Phase, Step, Strategy
from bench.training.average import Average
from bench.training.balance import Draws
from bench.training.feed import batches
from bench.training.groups import learning, optimizer_of, rates_of, set_rate
from bench.training.loop import Diverged
from bench.training.standardize import scale_of


@dataclass(frozen=True)
class Lessons:
    """What heads learn from: features, float [heads, n, views, dim], and labels, int64 [heads, n].

    `importance` is what each example counts in the loss, float [heads, n], where they are not alike. If the recipe
    draws by labels, these are the same for all heads.
    """

    features: Tensor
    labels: Tensor
    importance: Tensor | None = None


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
                scaled = replace(lessons, features=(lessons.features - mean[:, None, None]) / std[:, None, None])
                self._train(number, phase, epochs, strategy, recipe, scaled, generator)
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
        members: dict[tuple[float, float], list[nn.Parameter]] = {}
        for parameter in (self.bias, self.weight):
            members.setdefault(rates_of(phase, recipe, parameter.dim() - 1), []).append(parameter)
        optimizer = optimizer_of(recipe, members)
        parts = batches(count, recipe.batch_size)
        rates, draws = Rates(recipe.schedule, epochs, len(parts)), Draws(recipe.sampling, lessons.labels[0])
        average = Average(learning(optimizer), recipe.ema)
        step = 0

        def loss(weight: Tensor, bias: Tensor, logits: Tensor, labels: Tensor, x: Tensor, *more: Tensor) -> Tensor:
            weights = {f"{self.path}.weight": weight, f"{self.path}.bias": bias}
            counts = more[0] if more else None
            given = Step(logits, labels, {}, recipe.label_smoothing, weights, {}, x, phase=number, importance=counts)
            return strategy.loss(given)

        for epoch in range(1, epochs + 1):
            order = draws.order(generator).to(device)
            view = torch.randint(views, (count,), generator=generator).to(device)
            total = torch.zeros(heads, device=device)
            for part in parts:
                set_rate(optimizer, rates.part(step))
                x, labels = lessons.features[:, order[part], view[part]], lessons.labels[:, order[part]]
                logits = torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2))
                more = [] if lessons.importance is None else [lessons.importance[:, order[part]]]
                losses = self._losses(loss, logits, labels, x, *more)
                optimizer.zero_grad(set_to_none=True)
                losses.sum().backward()
                if recipe.clip_norm is not None:
                    self._clip(recipe.clip_norm)
                optimizer.step()
                average.follow()
                total += losses.detach() * labels.shape[1]
                step += 1
            mean = float((total / count).sum())
            if not math.isfinite(mean):
                rate = recipe.lr * phase.lr
                raise Diverged(f"a training loss is not finite in epoch {epoch} (learning rate {rate:g})")
        average.settle()

    def _losses(self, loss: Callable[..., Tensor], *given: Tensor) -> Tensor:
        """Return the loss of each head, float [heads]."""
        if self._mapped:
            try:
                mapped: Tensor = vmap(loss)(self.weight, self.bias, *given)
                return mapped
            except Exception:  # noqa: BLE001 - a loss that decides by its numbers can't be mapped, whatever it raises
                self._mapped = False
        each = zip(self.weight, self.bias, *given, strict=True)
        return torch.stack([loss(*one) for one in each])

    def _clip(self, most: float) -> None:
        """Scale the gradient of each head down to a norm of `most`, as torch's clip_grad_norm_ does for one alone."""
        gradients = [p.grad for p in (self.weight, self.bias) if p.grad is not None]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        scale = (most / (norms + 1e-6)).clamp_max(1.0)
        for gradient in gradients:
            gradient.mul_(scale.view(-1, *(1,) * (gradient.dim() - 1)))

    def _fold(self, mean: Tensor, std: Tensor) -> None:
        """Put the scaling of standardised features into the weights."""
        with torch.no_grad():
            weight = self.weight.double() / std.double()[:, None]
            self.weight.copy_(weight)
            self.bias.sub_((weight @ mean.double()[:, :, None])[:, :, 0])

"""A look at a round: what a strategy may ask before it decides on a phase."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, linear

from bench.backbones._network import Network
from bench.tasks import Selection
from bench.training.feed import Feed
from bench.training.passes import autocast, forward_batches

# Pixels are averaged to so many points an edge: 768 numbers of a coloured picture, about as many as there are features.
POINTS = 16


class Look:
    """What `bench.strategies.Look` says, of the training examples of one round.

    `examples` gives a feed of their plain view, `features` their features, which are asked for once. `passes` counts
    the passes over all examples that went forward and backward.
    """

    def __init__(
        self,
        network: Network,
        train: Selection,
        classes: int,
        features: Callable[[], Tensor],
        examples: Callable[[], Feed],
        precision: str,
    ) -> None:
        self.network, self.classes, self.precision = network, classes, precision
        self.stages = tuple(stage.name for stage in network.stages)
        self.labels = torch.from_numpy(train.labels).to(network.device)
        self.features, self._examples = cache(features), examples
        self.notes: dict[str, Any] = {}
        self.passes = 0

    def source_logits(self) -> Tensor | None:
        if self.network.source_head is None:
            return None
        weight, bias = (part.to(self.labels.device) for part in self.network.source_head)
        return linear(self.features().float(), weight, bias)

    def pixels(self) -> Tensor:
        edge = min(POINTS, *self.network.inputs.extent.values())
        feed, order = self._examples(), torch.arange(len(self.labels))
        parts = forward_batches(len(order), self.labels.device)
        pictures = [x for x in feed.epoch(order, torch.zeros_like(order), parts) if isinstance(x, Tensor)]
        return torch.cat([adaptive_avg_pool2d(x, edge).flatten(1) for x in pictures])

    def relative_gradients(self) -> tuple[float, ...]:
        network, feed, order = self.network, self._examples(), torch.arange(len(self.labels))
        parts = forward_batches(len(order), self.labels.device)
        network.freeze(0)
        network.eval()
        network.zero_grad(set_to_none=True)
        for part, x in zip(parts, feed.epoch(order, torch.zeros_like(order), parts), strict=True):
            with autocast(self.labels.device, self.precision):
                logits = network.suffix(x, feed.cut)
            (cross_entropy(logits.float(), self.labels[part], reduction="sum") / len(order)).backward()
        found = tuple(self._relative(index) for index in range(len(self.stages)))
        network.zero_grad(set_to_none=True)
        self.passes += 1
        return found

    def _relative(self, stage: int) -> float:
        learnt = [p for _, p in self.network.stage_parameters(stage) if p.grad is not None]
        if not learnt:
            return 0.0
        gradient = torch.stack([p.grad.norm() for p in learnt if p.grad is not None]).norm()
        weight = torch.stack([p.detach().norm() for p in learnt]).norm()
        return float(gradient / weight.clamp_min(1e-12))

    def note(self, **said: Any) -> None:
        self.notes |= said

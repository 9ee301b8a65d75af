"""One optimiser step, and the ways to take it: as it is written, compiled, or replayed as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from bench.backbones._inputs import Flow, each, tensors
from bench.backbones._network import Network
from bench.recipe import Recipe
from bench.strategies import Step, Strategy
from bench.training.feed import Feed
from bench.training.groups import learning
from bench.training.mixing import Mixer
from bench.training.passes import autocast
from bench.training.views import Views

Stepping = Literal["eager", "compiled", "graph"]
# A graph is captured after so many steps have been taken as written: by then optimiser and libraries have their memory.
EAGER_STEPS = 3


@dataclass(frozen=True)
class Lesson:
    """What a phase learns from, on the device.

    A feed of views, its labels int64 [n], and feeds of what parents answer, by the names of `Step.parents`; by name,
    the parameters that learn and the first values of those of the backbone; what learns beside the network, and the
    number of the phase. Of a batch, at most `at_once` examples are taken at once. The `mixer` says how they are mixed.
    `class_weights`, float [classes], is what an example of each class counts, where they are not alike.
    """

    feed: Feed
    labels: Tensor
    parents: Mapping[str, Feed]
    views: Views
    weights: Mapping[str, Tensor]
    start: Mapping[str, Tensor]
    beside: nn.Module | None = None
    phase: int = 0
    at_once: int | None = None
    mixer: Mixer | None = None
    class_weights: Tensor | None = None


class Stepper(Protocol):
    """Takes one optimiser step on a batch; returns the summed loss and the count of right answers, float [2].

    `labels` are int64 [batch], or where examples are mixed the targets, float [batch, classes].
    """

    def __call__(self, x: Flow, labels: Tensor, parents: Mapping[str, Tensor]) -> Tensor: ...


class Eager:
    """A step as it is written; `answer` maps a batch to the network's features and logits.

    Where fewer examples than a batch has are taken at once, so that less has to be held, the gradients of the batch are
    the sum of the pieces', each by its share of the examples. BatchNorm that learns sees the pieces. A gradient is
    clipped when it is whole, over all that learns (Pascanu et al., 2013, arXiv 1211.5063).
    """

    def __init__(
        self,
        answer: Callable[[Flow], tuple[Tensor, Tensor]],
        strategy: Strategy,
        recipe: Recipe,
        lesson: Lesson,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.answer, self.strategy, self.recipe = answer, strategy, recipe
        self.lesson, self.optimizer = lesson, optimizer

    def __call__(self, x: Flow, labels: Tensor, parents: Mapping[str, Tensor]) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        count, at_once = len(labels), self.lesson.at_once
        if at_once is None or count <= at_once:
            totals = self._learn(x, labels, parents, count)
        else:
            parts = pieces(count, at_once)
            made = [
                self._learn(each(itemgetter(p), x), labels[p], {r: t[p] for r, t in parents.items()}, count)
                for p in parts
            ]
            totals = torch.stack(made).sum(dim=0)
        if self.recipe.clip_norm is not None:
            clip_grad_norm_(learning(self.optimizer), self.recipe.clip_norm)
        self.optimizer.step()
        return totals

    def _learn(self, x: Flow, labels: Tensor, parents: Mapping[str, Tensor], count: int) -> Tensor:
        """Add to the gradients what some of a batch of `count` examples say; return the totals of a step."""
        lesson = self.lesson
        with autocast(labels.device, self.recipe.precision):
            features, logits = self.answer(x)
        targets = labels if labels.is_floating_point() else None
        labels = labels if targets is None else targets.argmax(dim=1)
        weights = lesson.class_weights
        # Of a mixed example, the weights of its classes by their parts.
        importance = None if weights is None else weights[labels] if targets is None else targets @ weights
        step = Step(
            logits.float(), labels, parents, self.recipe.label_smoothing, lesson.weights, lesson.start,
            features.float(), lesson.beside, lesson.phase, targets, importance,
        )  # fmt: skip
        loss = self.strategy.loss(step)
        (loss * (len(labels) / count)).backward()
        correct = (logits.detach().argmax(dim=1) == labels).sum()
        return torch.stack([loss.detach() * len(labels), correct.to(loss.dtype)])


def pieces(count: int, most: int) -> list[slice]:
    """Cut `count` examples into as few pieces of at most `most` as there can be, as equal as they can be."""
    number = -(-count // most)
    ends = [count * (i + 1) // number for i in range(number)]
    return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


class Graphed:
    """A step captured once as a CUDA graph and replayed: one launch instead of hundreds.

    Batches of another shape than the first, such as an epoch's last, are stepped eagerly. The optimiser must be
    capturable, and its rates tensors on the device.
    """

    def __init__(self, eager: Eager) -> None:
        self.eager = eager
        self._taken = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._totals = torch.zeros(2)

    def __call__(self, x: Flow, labels: Tensor, parents: Mapping[str, Tensor]) -> Tensor:
        given = [*tensors(x), labels, *parents.values()]
        if self._inputs and [t.shape for t in given] != [t.shape for t in self._inputs]:
            return self.eager(x, labels, parents)
        if self._graph is None:
            if not self._inputs:
                self._inputs = [torch.empty_like(t) for t in given]
            self._taken += 1
            if self._taken <= EAGER_STEPS:
                return self._aside(x, labels, parents)
            self._capture(x, list(parents))
        for mine, new in zip(self._inputs, given, strict=True):
            mine.copy_(new, non_blocking=True)
        assert self._graph is not None
        self._graph.replay()
        return self._totals

    def _aside(self, x: Flow, labels: Tensor, parents: Mapping[str, Tensor]) -> Tensor:
        """Step on a stream of its own, as what is captured later must have been."""
        stream = torch.cuda.Stream(labels.device)
        stream.wait_stream(torch.cuda.current_stream(labels.device))
        with torch.cuda.stream(stream):
            totals = self.eager(x, labels, parents)
        torch.cuda.current_stream(labels.device).wait_stream(stream)
        return totals

    def _capture(self, like: Flow, roles: list[str]) -> None:
        """Record a step on the inputs' own memory; nothing is computed while it is recorded."""
        mine = iter(self._inputs)
        x = each(lambda _: next(mine), like)
        labels, *logits = mine
        self.eager.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._totals = self.eager(x, labels, dict(zip(roles, logits, strict=True)))
        self._graph = graph


def stepper_for(
    stepping: Stepping,
    network: Network,
    strategy: Strategy,
    recipe: Recipe,
    lesson: Lesson,
    optimizer: torch.optim.Optimizer,
) -> Stepper:
    """Return the way to take steps that was chosen for a phase."""
    answer: Callable[[Flow], tuple[Tensor, Tensor]] = partial(network.answer, start=lesson.feed.cut)
    if stepping == "compiled":  # fewer kernels, for each shape of a batch its own
        answer = torch.compile(answer, dynamic=False)
    eager = Eager(answer, strategy, recipe, lesson, optimizer)
    return Graphed(eager) if stepping == "graph" else eager

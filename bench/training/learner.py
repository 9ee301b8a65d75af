"""A learner: a network and a strategy, that learns one round at a time from the same first weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.backbones._network import Network
from bench.measure.clock import Clock
from bench.recipe import Augment, Recipe
from bench.record import Point
from bench.strategies import Phase, Strategy
from bench.tasks import Round, Selection
from bench.training.feed import FORWARD_BATCH, ActivationFeed, Cache, Feed, Forward, PictureFeed, infer
from bench.training.loop import Epoch, Lesson, batches, train
from bench.training.standardize import Standardized
from bench.training.views import Views, key_of

PLAIN = Views(Augment(), 0)


@dataclass(frozen=True)
class Work:
    """Passes over examples: `examples` went forward from stage `forward`, and backward down to stage `backward`."""

    examples: int
    forward: int
    backward: int | None


@dataclass(frozen=True)
class Parent:
    """A trained cell that this one learns from: its id and how to have its network."""

    cell_id: str
    network: Callable[[], Network]


@dataclass
class Learner:
    """Learns rounds by the strategy's phases.

    A prefix that no phase has trained yet is run once over each view of each example, and its activations are kept:
    `identity` is everything that can change them. `touched` is the first stage that has been trained since the start
    of the round. Randomness comes from `generator` alone.
    """

    network: Network
    strategy: Strategy
    recipe: Recipe
    cache: Cache
    identity: Mapping[str, Any]
    views: Views
    parents: Mapping[str, Parent]
    generator: torch.Generator
    device: torch.device
    clock: Clock
    watch: Callable[[Point], None]
    curve: list[Point] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    used: list[tuple[Forward, str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.head = self.network.head
        self.depth = len(self.network.stages)
        self.touched = self.depth
        self.start = {k: v.clone() for k, v in self.network.model.state_dict().items()}
        self.phases = self.strategy.phases([stage.name for stage in self.network.stages])
        self._teachers: dict[str, Network] = {}
        self._best: tuple[tuple[float, float], dict[str, Tensor]] | None = None
        self.selected_epoch: int | None = None
        self._steps, self._began = 0, 0.0

    def fit(self, round_: Round) -> None:
        """Learn one round from the first weights. Raises Diverged."""
        self._rewind()
        self.curve.clear()
        self._steps, self._began = 0, self.clock.seconds["train"]
        done = 0
        for i, phase in enumerate(self.phases):
            share = sum(p.share for p in self.phases[: i + 1]) / sum(p.share for p in self.phases)
            epochs = max(round(self.recipe.epochs * share) - done, 1)
            self._learn(phase, round_, epochs, done)
            done += epochs

    def logits(self, selection: Selection) -> NDArray[np.float32]:
        """Return the network's logits, float32 [n, classes], on the plain view of a selection."""
        with self.clock.phase("evaluate"):
            return self._logits(selection).cpu().numpy()

    def _logits(self, selection: Selection) -> Tensor:
        feed = self._feed(selection, self.touched, PLAIN, "evaluate")
        positions = torch.arange(len(selection)).split(FORWARD_BATCH)
        parts = (feed.batch(position, torch.zeros_like(position)) for position in positions)
        return torch.cat([infer(self.network, x, feed.cut, None, self.recipe.precision) for x in parts])

    def _learn(self, phase: Phase, round_: Round, epochs: int, before: int) -> None:
        """Run one phase."""
        cut = 0 if phase.unfrozen is None else max(self.depth - phase.unfrozen, 0)
        self.network.freeze(cut)
        feed = self._feed(round_.train, cut if cut <= self.touched else 0, self.views, "features")
        labels = torch.from_numpy(round_.train.labels).to(self.device)
        if phase.solve is not None:
            self._solve(phase.solve, feed, labels, len(round_.classes))
            return
        if cut < self.depth:
            self.touched = min(self.touched, cut)
        parents = {role: self._parent_logits(role, round_.train) for role in self.parents}
        lesson = Lesson(feed, labels, parents, self.views.count)
        if phase.standardize and isinstance(feed, ActivationFeed) and cut == self.depth:
            self.network.replace_head(Standardized(feed.rows, self.network.head))
        with self.clock.phase("train"):
            train(
                self.network, self.strategy, phase, self.recipe, lesson, epochs, self.generator,
                lambda epoch: self._ended(epoch, round_, before),
            )  # fmt: skip
        self._restore_best()
        if isinstance(self.network.head, Standardized):
            self.network.replace_head(self.network.head.folded())
        self.work.append(Work(len(labels) * epochs, feed.cut, cut))
        self._steps += len(batches(torch.arange(len(labels)), self.recipe.batch_size)) * epochs

    def _solve(
        self, solve: Callable[[Tensor, Tensor, int], nn.Module], feed: Feed, labels: Tensor, classes: int
    ) -> None:
        """Have the head in closed form, from the features of the plain view."""
        plain = torch.zeros(len(labels), dtype=torch.long)
        with self.clock.phase("train"), torch.no_grad():
            self.network.eval()
            z = feed.batch(torch.arange(len(labels)), plain)
            features = infer(self.network, z, feed.cut, self.depth, self.recipe.precision)
            self.network.replace_head(solve(features.clone(), labels, classes))

    def _ended(self, epoch: Epoch, round_: Round, before: int) -> None:
        """Measure a point of the curve, and select, after an epoch of training; neither counts as training."""
        number = before + epoch.epoch
        with self.clock.phase("evaluate"):
            if self.recipe.selection == "best_val" and round_.validation is not None:
                self._select(round_.validation, number)
            if round_.monitor is None or number not in curve_epochs(self.recipe.epochs, self.recipe.curve_points):
                return
            loss, accuracy = self._quality(round_.monitor)
        seconds = self.clock.seconds["train"] - self._began
        point = Point(number, self._steps + epoch.step, epoch.train_loss, epoch.train_accuracy, loss, accuracy, seconds)
        self.curve.append(point)
        self.watch(point)

    def _quality(self, selection: Selection) -> tuple[float, float]:
        """Return the mean cross-entropy in nats and the accuracy on a selection."""
        logits = self._logits(selection)
        labels = torch.from_numpy(selection.labels).to(self.device)
        loss = cross_entropy(logits, labels)
        return float(loss), float((logits.argmax(dim=1) == labels).float().mean())

    def _select(self, validation: Selection, epoch: int) -> None:
        """Keep the weights and buffers when they are the best on validation so far: accuracy, then loss."""
        loss, accuracy = self._quality(validation)
        if self._best is None or (accuracy, -loss) > self._best[0]:
            state = {k: v.clone() for k, v in self.network.model.state_dict().items()}
            self._best = (accuracy, -loss), state
            self.selected_epoch = epoch

    def _restore_best(self) -> None:
        """End a phase at its best epoch, buffers included, when the recipe selects on validation."""
        if self._best is not None:
            self.network.model.load_state_dict(self._best[1])
            self._best = None

    def _rewind(self) -> None:
        """Go back to the first weights, the head's own included."""
        self.network.replace_head(self.head)
        if self.touched < self.depth:
            self.network.model.load_state_dict(self.start)
        else:
            head = {n: self.start[f"{self.network.head_path}.{n}"] for n in self.head.state_dict()}
            self.head.load_state_dict(head)
        self.touched = self.depth

    def _feed(self, selection: Selection, cut: int, views: Views, phase: str) -> Feed:
        """Return a feed for the stages from `cut` on: kept activations, or pictures when nothing is frozen."""
        if cut == 0:
            pixels = self.cache.pictures.pixels(selection.split, selection.index).to(self.device)
            return PictureFeed(pixels, selection.index, views, self.network)
        forward = Forward(self.network, cut, "activations", self.identity, self.recipe.precision)
        rows = self.cache.get(forward, selection, views, key_of(views.augment, views.data_seed), phase)
        if phase == "features":
            self.used.append((forward, selection.split, len(selection), views.count))
        return ActivationFeed(rows, cut)

    def _parent_logits(self, role: str, selection: Selection) -> Tensor:
        """Return a parent's logits on every view of the training examples, float [n, views, classes]."""
        parent = self.parents[role]
        with self.clock.phase("features"):
            network = self._teachers.setdefault(role, parent.network())
        forward = Forward(network, None, "logits", {"cell": parent.cell_id}, self.recipe.precision)
        self.used.append((forward, selection.split, len(selection), self.views.count))
        key = key_of(self.views.augment, self.views.data_seed)
        return self.cache.get(forward, selection, self.views, key, "features")


def curve_epochs(epochs: int, points: int) -> set[int]:
    """Return the epochs, from 1, after which the curve is measured: evenly spread, the last always among them."""
    return {round(x) for x in np.linspace(1, epochs, min(points, epochs))} | {epochs}

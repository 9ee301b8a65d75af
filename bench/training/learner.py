"""A learner: a network and a strategy, that learns one round at a time from the same first weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.backbones._heads import ends_of
from bench.backbones._network import Network
from bench.errors import Skip
from bench.measure.clock import Clock
from bench.recipe import Recipe
from bench.record import Point
from bench.strategies import Phase, Strategy
from bench.tasks import Round, Selection
from bench.training.adapters import attach, detach, merged_state
from bench.training.autotune import Autotune, Stretch, Verdict, modes
from bench.training.balance import class_weights
from bench.training.exams import Exam, outputs
from bench.training.feed import Feed, batches
from bench.training.groups import choose, epochs_of, first_stage
from bench.training.heads import Heads, Lessons
from bench.training.look import Look
from bench.training.loop import train
from bench.training.merging import State, merge
from bench.training.mixing import mixer_of
from bench.training.norms import recalibrate
from bench.training.passes import Cache, PassedFeed
from bench.training.progress import Progress
from bench.training.spent import Spent, Work
from bench.training.standardize import Standardized
from bench.training.step import Lesson
from bench.training.supply import Parent, Supply
from bench.training.views import PLAIN, Views

# Heads that are trained at once, at most.
TOGETHER = 200


@dataclass
class Learner:
    """Learns rounds by the strategy's phases.

    A prefix that no phase has trained yet is run once over each view of each example, and its activations are kept:
    `identity` is everything that can change them. `touched` is the first stage that has been trained since the start
    of the round. Randomness comes from `generator` alone, and each round starts from its first state: what a round
    gives does not depend on the rounds before it.

    `trained` names the parameters that learnt in any phase, `adapted` has the size of the adapter that became a part of
    a weight, and `params_beside` counts what learnt beside the network's own parameters. `notes` is what the strategy
    said of its decisions.
    """

    network: Network
    strategy: Strategy
    recipe: Recipe
    cache: Cache
    identity: Mapping[str, Any]
    views: Views
    parents: Mapping[str, Parent]
    autotune: Autotune
    generator: torch.Generator
    device: torch.device
    clock: Clock
    watch: Callable[[Point], None]
    at_once: int | None = None
    spent: Spent = field(default_factory=Spent)
    trained: set[str] = field(default_factory=set)
    adapted: dict[str, int] = field(default_factory=dict)
    params_beside: int = 0
    notes: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.head = self.network.head
        self.depth = len(self.network.stages)
        self.touched = self.depth
        self.start = self._state()
        self.phases = self.strategy.phases([stage.name for stage in self.network.stages])
        self.epochs = epochs_of(self.phases, self.recipe.epochs)
        self.ends = self._ends_of_head()
        self.progress = Progress(
            self.network, self.recipe.epochs, self.recipe.curve_points, self.recipe.patience, self.clock, self.watch
        )
        self.verdict: Verdict | None = None
        self.mode = modes(self.recipe.precision, self.device)[0]
        self.supply = Supply(
            self.network, self.cache, self.identity, self.views, self.parents, self.recipe.precision, self.device,
            self.clock, self.spent.used,
        )  # fmt: skip
        self._first_draw = self.generator.get_state()
        self._chosen: tuple[Phase, dict[str, nn.Parameter]] | None = None
        self._beside: nn.Module | None = None
        self._number = 0

    def _ends_of_head(self) -> tuple[nn.Linear, nn.Linear]:
        """Return the first and the last layer of the head. Raises Skip where a head in closed form has no place."""
        ends = ends_of(self.head)
        if ends is None:
            raise Skip(f"a head that is a {type(self.head).__name__} has no layers that are known")
        if ends[0] is not ends[1] and any(phase.solve is not None for phase in self.phases):
            raise Skip(f"{self.strategy.name} solves for a linear head, and the recipe's has hidden units")
        return ends

    def tune(self, round_: Round, identity: Mapping[str, Any]) -> None:
        """Settle how the network is run, by trial where a round is long enough; `identity` names its architecture."""
        if self.at_once is None:  # what does not fit at once is not tried at once
            with self.clock.phase("tune"):
                self.verdict = self.autotune.verdict(self.network, self.recipe, self._stretch(round_), identity)
        if self.verdict is not None:
            self.mode = self.verdict.mode
            self.network.arrange(self.mode.memory_format)
        self.recipe = replace(self.recipe, precision=self.mode.precision)
        self.supply.precision = self.mode.precision

    def _stretch(self, round_: Round) -> Stretch:
        """Return what is trained of a round beside heads alone: the deepest cut of all phases stands for each."""
        cuts = [first_stage(self.network, phase) for phase in self.phases]
        deep = [(cut, epochs) for cut, epochs in zip(cuts, self.epochs, strict=True) if cut < self.depth]
        if not deep:
            return Stretch(0, self.depth)
        cut, epochs, shown = min(deep)[0], sum(epochs for _, epochs in deep), self.views.shown
        steps = epochs * len(batches(len(round_.train), self.recipe.batch_size))
        passes = shown / epochs if shown is not None and self.supply.keeps(cut, round_.train, shown) else 1.0
        return Stretch(steps, cut, passes if cut else 0.0)

    def learn(self, rounds: Sequence[Round]) -> Iterator[tuple[Round, NDArray[np.float32]]]:
        """Learn rounds, and yield each with its logits on test: heads of many rounds at once where that is the same."""
        for _, alike in groupby(rounds, key=self._kind):
            waiting = list(alike)
            for begin in range(0, len(waiting), TOGETHER):
                group = waiting[begin : begin + TOGETHER]
                if len(group) > 1:
                    self._ahead(group)
                if len(group) > 1 and self._heads_alone(group[0]):
                    yield from self._learn_heads(group)
                    continue
                for round_ in group:
                    self.fit(round_)
                    yield round_, self.logits(round_.test)

    def _ahead(self, rounds: Sequence[Round]) -> None:
        """Run the frozen stages once for the examples of many rounds."""
        cuts = [first_stage(self.network, phase) for phase in self.phases]
        if cuts[0] and self.views.shown is not None:
            train = [round_.train for round_ in rounds]
            self.supply.ahead(cuts[0], train, self.views, "features", self.views.shown)
        self.look_ahead([round_.test for round_ in rounds])

    def look_ahead(self, tests: Sequence[Selection], cache: Cache | None = None) -> None:
        """Run the frozen stages once for the test examples of many rounds; of another data set with its `cache`."""
        cut = min(first_stage(self.network, phase) for phase in self.phases)
        if cut:
            with self.clock.phase("evaluate"):
                self._supplied(cache).ahead(cut, tests, PLAIN, "evaluate", 1)

    def fit(self, round_: Round) -> None:
        """Learn one round from the first weights. Raises Diverged, and Skip when there is nothing to select on."""
        if self.recipe.selection == "best_val" and round_.validation is None:
            raise Skip("the task holds out no examples to select on; use selection: last")
        self._rewind()
        self.spent.show(round_)
        with self._dropout_drawn(), self.clock.phase("train"):
            self._beside = self._made_beside()
            path = [self._state()] if self.strategy.merges else []
            for number, (phase, epochs) in enumerate(zip(self.phases, self.epochs, strict=True)):
                self._number = number
                self._learn(phase, round_, epochs)
                path += [self._state()] if self.strategy.merges else []
            if self.strategy.merges:
                self._merge(path, round_)

    def _merge(self, path: Sequence[State], round_: Round) -> None:
        """Put the merged network in the place of the trained one, with statistics of its own."""
        parents = {role: self.supply.parent(role).model.state_dict() for role in self.parents}
        counted = merge(self.network, self.strategy, path, parents)
        self.touched = 0
        self.trained |= {n for n, p in self.network.model.named_parameters() if not torch.equal(p, path[0][n])}
        if not counted and self.network.batch_norms():
            feed = self.supply.feed(round_.train, 0, self.views, "features", plain=True)
            recalibrate(self.network, feed, len(round_.train), range(self.depth + 1), self.recipe.precision)
            self.spent.work.append(Work(len(round_.train), 0, None, feed.source.spent()))

    def _made_beside(self) -> nn.Module | None:
        """Return what learns beside the network, drawn for this round."""
        parents = {role: self.supply.parent(role).dim for role in self.parents} if self.strategy.hints else {}
        beside = self.strategy.beside(self.network.dim, parents)
        self.params_beside = 0 if beside is None else sum(p.numel() for p in beside.parameters())
        return None if beside is None else beside.to(self.device).train()

    def _kind(self, round_: Round) -> tuple[int, int, bytes]:
        """Return what rounds that are learnt together share: how many examples and classes, and what draws look at."""
        drawn_by = round_.train.labels.tobytes() if self.recipe.sampling == "balanced" else b""
        return len(round_.train), len(round_.classes), drawn_by

    def _heads_alone(self, round_: Round) -> bool:
        """Say whether nothing but a linear head learns, nothing is drawn for it, and nothing is looked at meanwhile."""
        drawn = any(isinstance(m, nn.Dropout) and m.p > 0 for m in self.network.before_head.modules())
        plain = all(first_stage(self.network, p) == self.depth and p.solve is None and not p.only for p in self.phases)
        watched = self.recipe.selection != "last" or round_.monitor is not None
        linear = type(self.head) is nn.Linear
        beside = not self.parents and self.strategy.beside(self.network.dim, {}) is not None
        others = self.parents or beside or self.strategy.merges
        return plain and linear and self.views.shown is not None and not (drawn or watched or others)

    def _learn_heads(self, rounds: Sequence[Round]) -> Iterator[tuple[Round, NDArray[np.float32]]]:
        """Learn the heads of rounds at once, and yield each round with its logits on test."""
        self._rewind()
        head = self.head
        assert isinstance(head, nn.Linear)
        heads = Heads(head, len(rounds), self.network.head_path)
        with self._dropout_drawn(), self.clock.phase("train"):
            phases = list(zip(self.phases, self.epochs, strict=True))
            for phase, epochs in phases:
                self._choose(phase)
                self.spent.work += [Work(len(round_.train) * epochs, self.depth, self.depth) for round_ in rounds]
            forward = self.supply.prefix(self.depth)
            features = []
            for round_ in rounds:
                self.spent.show(round_)
                rows, keys = self.supply.rows(forward, round_.train, self.views, "features", self.views.count)
                features.append(rows.take(keys).float().unflatten(0, (len(round_.train), -1)))
            labels = torch.from_numpy(np.stack([round_.train.labels for round_ in rounds])).to(self.device)
            lessons = Lessons(torch.stack(features).to(self.device), labels, self._importance(labels, rounds[0]))
            heads.learn(phases, self.strategy, self.recipe, lessons, self.generator)
        for number, round_ in enumerate(rounds):
            heads.put(number, head)
            yield round_, self.logits(round_.test)

    def _importance(self, labels: Tensor, like: Round) -> Tensor | None:
        """Return what each example of rounds alike counts in the loss, float [rounds, n], where they are not alike."""
        weights = [class_weights(self.recipe, of_round, len(like.classes)) for of_round in labels]
        found = [each[of_round] for each, of_round in zip(weights, labels, strict=True) if each is not None]
        return torch.stack(found) if found else None

    def logits(self, selection: Selection, cache: Cache | None = None) -> NDArray[np.float32]:
        """Return the network's logits, float32 [n, classes], on the plain view of a selection.

        With a `cache`, the selection is of the data set whose rows that keeps.
        """
        with self.clock.phase("evaluate"):
            feed = self._supplied(cache).feed(selection, self.touched, PLAIN, "evaluate")
            return outputs(self.network, feed, len(selection), None, self.recipe.precision).cpu().numpy()

    def _supplied(self, cache: Cache | None) -> Supply:
        return self.supply if cache is None else replace(self.supply, cache=cache)

    def _features(self, feed: Feed, count: int) -> Tensor:
        """Return the features of the plain view of all training examples, float [n, dim]."""
        found = outputs(self.network, feed, count, self.depth, self.recipe.precision).float()
        if feed.start < self.depth:
            self.spent.work.append(Work(count, feed.start, None, feed.source.spent()))
        return found

    def _decided(self, phase: Phase, round_: Round) -> Phase:
        """Return a phase, or the one that the strategy decides on in its place."""
        if phase.decide is None:
            return phase
        train = round_.train

        def feed(cut: int) -> Feed:
            return self.supply.feed(train, cut, self.views, "features", plain=True)

        look = Look(
            self.network, train, len(round_.classes),
            lambda: self._features(feed(self.touched), len(train)), lambda: feed(0), self.recipe.precision,
        )  # fmt: skip
        decided = phase.decide(look)
        self.spent.work += [Work(len(train), 0, 0)] * look.passes
        self.notes += [look.notes] if look.notes else []
        self._chosen = None
        return decided

    def _learn(self, phase: Phase, round_: Round, epochs: int) -> None:
        """Run one phase."""
        phase = self._decided(phase, round_)
        network, recipe, cut = self.network, self.recipe, first_stage(self.network, phase)
        learning = self._choose(phase)
        plain = phase.solve is not None
        feed = self.supply.feed(round_.train, min(cut, self.touched), self.views, "features", plain)
        labels = torch.from_numpy(round_.train.labels).to(self.device)
        if phase.solve is not None:
            network.replace_head(phase.solve(self._features(feed, len(labels)), labels, len(round_.classes)))
            return
        self.touched = min(self.touched, cut)
        if phase.standardize and cut == self.depth:
            shown = self.supply.feed(round_.train, feed.cut, self.views, "features", plain=True)
            network.replace_head(Standardized(self._features(shown, len(labels)), network.head))
        parents = self.supply.answers(round_.train, self.strategy.hints)
        self._attach(phase)
        start = {name: self.start[name] for name in learning if not name.startswith(f"{network.head_path}.")}
        lesson = Lesson(
            feed, labels, parents, self.views, learning, start, self._beside, self._number, self.at_once,
            mixer_of(self.views.augment, max(network.inputs.extent.values()), len(round_.classes), self.device),
            class_weights(recipe, labels, len(round_.classes)),
        )  # fmt: skip
        validation = self._exam(round_.validation, self.views, "features")
        monitor = self._exam(round_.monitor, PLAIN, "evaluate")
        epochs = train(
            network, self.strategy, phase, recipe, lesson, epochs, self.generator, self.mode.stepping,
            partial(
                self.progress.ended, planned=epochs, validation=validation, monitor=monitor, precision=recipe.precision
            ),
        )  # fmt: skip
        self.progress.settle(epochs, len(batches(len(labels), recipe.batch_size)) * epochs)
        self.spent.work.append(Work(len(labels) * epochs, feed.start, cut, feed.source.spent()))
        asked = [parent for parent in parents.values() if isinstance(parent, PassedFeed)]
        self.spent.asked += [(parent.forward, len(labels) * epochs, parent.source.spent()) for parent in asked]
        if phase.norms == "recalibrate":
            self._recalibrate(feed, len(labels))
        if validation is not None:
            spent = validation.feed.source.spent()
            self.spent.work.append(Work(len(validation.labels) * epochs, validation.feed.start, None, spent))

    def _recalibrate(self, feed: Feed, count: int) -> None:
        """Count the BatchNorm statistics of what has just been trained anew, over the plain view of all examples."""
        trained = set(range(feed.cut, self.depth + 1)) - self.network.still
        recalibrate(self.network, feed, count, trained, self.recipe.precision)
        self.spent.work.append(Work(count, feed.start, None, feed.source.spent()))
        self.progress.best.renew()

    def _choose(self, phase: Phase) -> dict[str, nn.Parameter]:
        """Return the parameters that learn in a phase, and freeze all others: once for many rounds of one phase."""
        if self._chosen is None or self._chosen[0] is not phase:
            self._chosen = phase, choose(self.network, phase)
            self.trained |= self._chosen[1].keys()
        return self._chosen[1]

    def _attach(self, phase: Phase) -> None:
        """Have adapters learn in the place of the weights that a phase adapts."""
        attached = attach(self.network, phase)
        counts = {name: sum(p.numel() for p in adapter.parameters()) for name, adapter in attached.items()}
        self.adapted |= counts
        self.params_beside += sum(counts.values())

    def _exam(self, selection: Selection | None, views: Views, phase: str) -> Exam | None:
        """Return what an epoch is measured on."""
        if selection is None:
            return None
        with self.clock.phase(phase):
            feed = self.supply.feed(selection, self.touched, views, phase, plain=True)
            return Exam(feed, torch.from_numpy(selection.labels).to(self.device))

    def _state(self) -> dict[str, Tensor]:
        return merged_state(self.network.model)

    def _rewind(self) -> None:
        """Go back to the first weights, the head's own included, and to the first draw."""
        detach(self.network)
        self.network.replace_head(self.head)
        if self.touched < self.depth:
            self.network.load(self.start)
        else:
            head = {n: self.start[f"{self.network.head_path}.{n}"] for n in self.head.state_dict()}
            self.head.load_state_dict(head)
        self.strategy.initialise(self.ends[1])
        self.touched = self.depth
        self.generator.set_state(self._first_draw)
        self.supply.begin()
        self.progress.begin()

    @contextmanager
    def _dropout_drawn(self) -> Iterator[None]:
        """Have layers that draw by themselves, such as dropout, draw from this learner's generator."""
        devices = range(torch.cuda.device_count()) if self.device.type == "cuda" else ()
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(torch.randint(2**62, (), generator=self.generator)))
            yield

"""One cell on one device: what learns it is built, it learns and is scored, and what others may need is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.backbones._network import Network
from bench.cell import Cell
from bench.datasets import Dataset, Examples, Facts, datasets, extent
from bench.datasets._classes import names_of
from bench.engines.account import Account, with_drift
from bench.engines.elsewhere import Elsewhere, Tested, elsewhere
from bench.engines.job import Job
from bench.engines.memory import give_back, keep_what_is_there
from bench.engines.trained import Kept, built, keep, trained
from bench.errors import BenchError, DataError
from bench.files import replacing
from bench.measure.calibration import Kernels, calibrate
from bench.measure.clock import Clock
from bench.measure.cost import trained_shares
from bench.measure.environment import environment
from bench.measure.memory import peak_bytes, reset_peak
from bench.recipe import Recipe
from bench.record import Point, Record
from bench.registry import build
from bench.strategies import strategies
from bench.tasks import Problem, Round, Score, Task, tasks
from bench.training.autotune import Autotune
from bench.training.learner import Learner
from bench.training.loop import Diverged
from bench.training.material import make_room, opened
from bench.training.modalities import material_of
from bench.training.passes import Cache
from bench.training.supply import Parent
from bench.training.views import Views

_warm: set[str] = set()


class Session:
    """One cell on one device."""

    def __init__(self, job: Job, cell: Cell, points: list[Point]) -> None:
        self.job, self.cell, self.points = job, cell, points
        self.device = torch.device(job.device)
        self.clock = Clock(self.device)
        self.artifacts = Path(job.artifacts)
        self.recipe = build(Recipe, cell.recipe, "the recipe")
        self.pretrained = cell.backbone["weights"] != "random"

    def run(self, record: Record) -> Record:
        """Learn, score and measure; return the whole record."""
        self._warm_up()
        before = self._calibrated()
        task = tasks.create(self.cell.plugin("task"))
        learner, rounds, problem = self._learner(task)
        others = self._others(learner, task, problem, rounds)
        if learner.autotune.spent_seconds:
            give_back(self.device)  # the trial's is not the cell's
        memory_known = reset_peak(self.device)
        scores: list[Score] = []
        logits: list[NDArray[np.float32]] = []
        held_out: list[NDArray[np.float32]] = []
        kept: list[Round] = []
        peaks: list[int | None] = []
        for number, (round_, given) in enumerate(learner.learn(rounds)):
            logits.append(given)
            if not np.isfinite(logits[-1]).all():
                raise Diverged("the logits of the trained model are not finite numbers")
            with self.clock.phase("evaluate"):
                scores.append(task.score(logits[-1], round_))
            if round_.validation is not None:
                held_out.append(learner.logits(round_.validation))
            kept.append(round_)
            if others:
                peaks.append(self._test_elsewhere(others, learner, task, number))
        summary = task.summary(scores)
        peaks = peaks or [peak_bytes(self.device)]
        peak = max(filter(None, peaks), default=None) if memory_known else None
        after = self._calibrated()
        learner.cache.save()
        learner.cache.material.save()
        for other in others:
            other.save()
        self._keep_predictions(kept, logits, held_out, others, learner.cache.material.examples("test"))
        if self.job.weights and self._worth_keeping(summary.metrics.get(task.primary), len(kept)):
            about = Kept(kept[-1].classes, learner.recipe.precision, learner.cache.material.told)
            keep(learner.network, Path(self.job.weights), about)
        details = self._details(learner, kept, summary)
        if others:
            details["also_test"] = [other.told(task) for other in others]
        reasons = dict(summary.reasons)
        if learner.progress.curve and self.recipe.augment.mixes:
            reasons["curve.train_accuracy"] = "examples are mixed when they are learnt from, and none has one label"
        record = replace(record, metrics=dict(summary.metrics), reasons=reasons, details=details)
        record = with_drift(record, before, after)
        account = Account(self.job, self.cell, learner)
        with self.clock.phase("measure"):
            record = account.complete(record, peak)
        used, seconds = account.artifacts(), account.seconds()
        return replace(record, status="ok", curve=tuple(learner.progress.curve), seconds=seconds, artifacts=used)

    def _details(self, learner: Learner, rounds: Sequence[Round], summary: Score) -> dict[str, Any]:
        """Return what a record says of how it was learnt, beside what the score says."""
        stages = [stage.name for stage in learner.network.stages]
        details: dict[str, Any] = {
            "stages": stages,
            "rounds": len(rounds),
            "mode": asdict(learner.mode),
            "inputs": dict(learner.network.inputs.extent),
            **summary.details,
        }
        if torch.are_deterministic_algorithms_enabled():
            details["deterministic"] = True
        if len(rounds) == 1:
            details["drawn"] = _drawn(rounds[0])
        if learner.at_once is not None:
            details["at_once"] = learner.at_once
        if learner.progress.selected_epoch is not None:
            details["selected_epoch"] = learner.progress.selected_epoch
        if learner.progress.stopped_epoch is not None:
            details["stopped_epoch"] = learner.progress.stopped_epoch
        details["trained_shares"] = trained_shares(learner)
        if learner.notes:
            details["decided"] = learner.notes
        return details

    def _calibrated(self) -> Kernels:
        with self.clock.phase("measure"):
            return calibrate(self.device)

    def _learner(self, task: Task) -> tuple[Learner, list[Round], Problem]:
        """Return the learner, the rounds it will learn and what they are made of."""
        cell = self.cell
        make_room(1 + len(cell.also_test))
        dataset, facts = _planned(cell.plugin("dataset"), cell.dataset["digest"])
        strategy = strategies.create(cell.plugin("strategy"))
        examples = {split: opened(dataset, facts.digest, split) for split in ("train", "test")}
        labels = {split: found.labels for split, found in examples.items()}
        groups = {split: found.groups for split, found in examples.items() if found.groups is not None}
        classes = names_of(facts, labels["train"])
        wrong = task.check(cell.size, len(classes), {k: len(v) for k, v in labels.items()})
        if wrong:
            raise BenchError(wrong)
        held = self.recipe.validation if self.recipe.selection == "best_val" else None
        problem = Problem(labels, classes, cell.size, cell.seed, held, groups if len(groups) == len(labels) else None)
        rounds = list(task.rounds(problem))
        with self.clock.phase("setup"):
            network = built(cell, len(rounds[0].classes), self.pretrained, extent(dataset), self.device)
        (size,) = network.inputs.extent.values()
        generator = torch.Generator().manual_seed(cell.entropy("order"))
        learner = Learner(
            network=network,
            strategy=strategy,
            recipe=self.recipe,
            cache=self._cache(dataset, network),
            identity=self._trunk_identity(),
            views=Views(self.recipe.augment, cell.seed),
            parents={role: self._parent(role, len(rounds[0].classes), size) for role in cell.parents},
            autotune=Autotune(
                self.artifacts, self.device, {"fingerprint": environment(self.device.type)["fingerprint"]}
            ),
            generator=generator,
            device=self.device,
            clock=self.clock,
            watch=self._watch,
            at_once=self.job.at_once,
        )
        learner.tune(rounds[0], {k: cell.backbone.get(k) for k in ("source", "name", "version")})
        return learner, rounds, problem

    def _others(self, learner: Learner, task: Task, problem: Problem, rounds: Sequence[Round]) -> list[Elsewhere]:
        """Return the tests of the cell on other data sets than its own."""
        found = []
        for spec, own in zip(self.cell.also_test, self.cell.elsewhere(), strict=True):
            dataset, facts = _planned(own, spec["digest"])
            labels = opened(dataset, facts.digest, "test").labels
            tested = Tested(spec, labels, names_of(facts, labels))
            found.append(elsewhere(tested, self._cache(dataset, learner.network), task, problem, rounds))
        return found

    def _test_elsewhere(self, others: Sequence[Elsewhere], learner: Learner, task: Task, number: int) -> int | None:
        """Test a round on other data sets; return the peak of memory before, since what they need is not the cell's."""
        peak = peak_bytes(self.device)
        for other in others:
            other.test(learner, task, number)
        reset_peak(self.device)
        return peak

    def _cache(self, dataset: Dataset, network: Network) -> Cache:
        """Return what keeps the rows of a data set as a network sees it."""
        material = material_of(dataset, network.inputs, self.artifacts, self.clock)
        return Cache(material, self.artifacts, self.device, self.clock)

    def _warm_up(self) -> None:
        """Pay once, off every clock, for the libraries of this source of models and for the device's first pass.

        They cost seconds, and would be charged to whichever cell happens to come first.
        """
        source = self.cell.backbone["source"]
        if source not in _warm:
            network = built(self.cell, 2, self.pretrained, None, self.device)
            network(network.placed(network.inputs.blank(2))).sum().backward()
            _warm.add(source)
            del network
            keep_what_is_there()

    def _trunk_identity(self) -> dict[str, Any]:
        """Return what the first activations depend on: the weights, or the seed they were drawn from."""
        backbone = dict(self.cell.backbone)
        return backbone if self.pretrained else {**backbone, "drawn_for": self.cell.learnt_id}

    def _parent(self, role: str, classes: int, size: int) -> Parent:
        parent = Cell.from_json(self.job.parents[role]["record"]["cell"])
        path = Path(self.job.parents[role]["weights"])
        return Parent(parent.id, lambda: trained(parent, path, classes, size, self.device))

    def _keep_predictions(
        self,
        rounds: list[Round],
        logits: list[NDArray[np.float32]],
        held_out: list[NDArray[np.float32]],
        others: Sequence[Elsewhere],
        test: Examples,
    ) -> None:
        """Keep logits, labels and example numbers beside the record, as npz without objects.

        They are of the test examples, with their groups where those are known, of what was held out to select on, and
        under `also_test.PLACE.` of other data sets, in the order of the cell's `also_test`.
        """
        kept = {"": [r.test for r in rounds], "validation_": [r.validation for r in rounds if r.validation is not None]}
        arrays: dict[str, Any] = {"classes": np.array([list(r.classes) for r in rounds])}
        for (prefix, selections), given in zip(kept.items(), (logits, held_out), strict=True):
            if selections:
                arrays[f"{prefix}logits"] = np.concatenate(given)
                arrays[f"{prefix}labels"] = np.concatenate([s.labels for s in selections])
                arrays[f"{prefix}index"] = np.concatenate([s.index for s in selections])
        if test.groups is not None:
            arrays["groups"] = test.groups[arrays["index"]]
        arrays |= {f"also_test.{i}.{k}": v for i, other in enumerate(others) for k, v in other.arrays().items()}
        with replacing(Path(self.job.predictions)) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, **arrays)

    def _worth_keeping(self, score: float | None, rounds: int) -> bool:
        """Say whether the job asks for these weights."""
        above = self.job.weights_above
        return above is None or (rounds == 1 and score is not None and score > above)

    def _watch(self, point: Point) -> None:
        self.points.append(point)
        self.job.tell("point", asdict(point))


def _drawn(round_: Round) -> dict[str, list[int]]:
    """Return how many examples of each class a round has in each of its parts."""
    parts = {
        "train": round_.train,
        "validation": round_.validation,
        "monitor": round_.monitor,
        "test": round_.test,
    }
    many = len(round_.classes)
    return {name: np.bincount(p.labels, minlength=many).tolist() for name, p in parts.items() if p is not None}


def _planned(spec: Mapping[str, Any], digest: str) -> tuple[Dataset, Facts]:
    """Return a data set that still is what was planned. Raises DataError."""
    dataset = datasets.create(spec)
    facts = dataset.facts()
    if facts.digest != digest:
        raise DataError(f"{dataset.name}: the data have changed since this cell was planned; run the suite again")
    return dataset, facts

"""The worker: turns one cell's JSON into one record's JSON. Device half; a warm process runs many cells.

It knows the protocols of data sets, backbones, tasks and strategies, and asks them in turn: what is to be learnt, what
learns it, what it cost. Whatever goes wrong in a cell becomes the status of its record.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.backbones import find
from bench.backbones._network import Network
from bench.cell import Cell
from bench.datasets import datasets
from bench.errors import BenchError, Skip
from bench.files import replacing
from bench.measure.architecture import Architecture, architecture_of
from bench.measure.clock import Clock
from bench.measure.cost import cost_of
from bench.measure.environment import environment
from bench.measure.memory import peak_bytes, reset_peak
from bench.recipe import Recipe
from bench.record import Point, Record, Seconds, Status
from bench.registry import build
from bench.strategies import strategies
from bench.tasks import Problem, Round, Score, Task, tasks
from bench.training.feed import Cache
from bench.training.learner import Learner, Parent
from bench.training.loop import Diverged
from bench.training.pictures import Pictures
from bench.training.views import Views


@dataclass(frozen=True)
class Job:
    """What an engine sends for one cell: plain JSON.

    `parents` maps a role to the cell that plays it: `{"record": ..., "weights": PATH}`. `predictions` is the file for
    the test predictions, `weights` the one for the trained weights when another cell learns from this one, `progress`
    the one to which curve points are appended as JSON lines, and `artifacts` the folder that cells share.
    """

    suite: str
    cell: Mapping[str, Any]
    parents: Mapping[str, Mapping[str, Any]]
    artifacts: str
    predictions: str
    weights: str | None
    progress: str
    device: str


def run(data: Mapping[str, Any]) -> dict[str, Any]:
    """Run one job and return its record as JSON. Never raises for what a cell can do wrong."""
    job = Job(**data)
    cell = Cell.from_json(job.cell)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    record = Record(cell.id, job.suite, cell, "failed", started_at=started)
    session = _Session(job, cell)
    try:
        record = session.run(record)
    except Skip as skip:
        record = replace(record, status="skipped", reason=str(skip))
    except Diverged as error:
        record = replace(record, status="diverged", reason=str(error))
    except BenchError as error:
        record = replace(record, reason=str(error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        record = replace(record, status="oom", reason=_one_line(error))
    except Exception as error:  # noqa: BLE001 - a cell that raises is a record; the others go on
        record = replace(record, status=_status(error), reason=_one_line(error))
        record = replace(record, details={"traceback": traceback.format_exc()})
    if not record.curve:
        record = replace(record, curve=tuple(session.points))
    if session.device.type == "cuda":
        torch.cuda.empty_cache()
    return replace(record, environment=environment(session.device.type)).to_json()


def _status(error: Exception) -> Status:
    """Tell running out of memory, which CPU allocators report as a RuntimeError, from other failures."""
    return "oom" if "not enough memory" in str(error) or "can't allocate memory" in str(error) else "failed"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


class _Session:
    """One cell on one device."""

    def __init__(self, job: Job, cell: Cell) -> None:
        self.job, self.cell = job, cell
        self.device = torch.device(job.device)
        self.clock = Clock(self.device)
        self.artifacts = Path(job.artifacts)
        self.points: list[Point] = []
        self.recipe = build(Recipe, cell.recipe, "the recipe")
        self.pretrained = cell.backbone["weights"] != "random"

    def run(self, record: Record) -> Record:
        """Learn, score and measure; return the whole record."""
        memory_known = reset_peak(self.device)
        task = tasks.create(self.cell.plugin("task"))
        learner, rounds = self._learner(task)
        scores: list[Score] = []
        logits: list[NDArray[np.float32]] = []
        kept: list[Round] = []
        for round_ in rounds:
            learner.fit(round_)
            logits.append(learner.logits(round_.test))
            scores.append(task.score(logits[-1], round_))
            kept.append(round_)
        summary = task.summary(scores)
        peak = peak_bytes(self.device) if memory_known else None
        learner.cache.save()
        learner.cache.pictures.save()
        self._keep_predictions(learner, kept, logits)
        if self.job.weights:
            self._keep_weights(learner.network, Path(self.job.weights))
        with self.clock.phase("measure"):
            architecture = self._architecture(learner.network)
            parent_flops = [parent["record"]["cost"]["flops_train"] for parent in self.job.parents.values()]
            cost = cost_of(learner, parent_flops, peak)
        reasons = dict(summary.reasons)
        if peak is None:
            reasons["cost.peak_memory_bytes"] = "this system does not let a process reset its peak"
        details: dict[str, Any] = {
            "architecture": {"summary": architecture.summary, "macs_by_fvcore": architecture.macs_by_fvcore},
            "stages": [stage.name for stage in learner.network.stages],
        }
        if learner.selected_epoch is not None:
            details["selected_epoch"] = learner.selected_epoch
        return replace(
            record,
            status="ok",
            metrics=dict(summary.metrics),
            reasons=reasons,
            curve=tuple(learner.curve),
            seconds=self._seconds(learner),
            cost=cost,
            latency=architecture.latency,
            artifacts=tuple(self._artifacts_used(learner)),
            details=details,
        )

    def _learner(self, task: Task) -> tuple[Learner, Any]:
        """Return the learner and the rounds it will learn."""
        cell = self.cell
        dataset = datasets.create(cell.plugin("dataset"))
        strategy = strategies.create(cell.plugin("strategy"))
        labels = {split: dataset.examples(split).labels for split in ("train", "test")}
        facts = dataset.facts()
        classes = facts.classes or tuple(str(c) for c in range(int(labels["train"].max()) + 1))
        wrong = task.check(cell.size, len(classes), {k: len(v) for k, v in labels.items()})
        if wrong:
            raise BenchError(wrong)
        held = self.recipe.validation if self.recipe.selection == "best_val" else None
        rounds = list(task.rounds(Problem(labels, classes, cell.size, cell.seed, held)))
        with self.clock.phase("setup"):
            network = self._network(cell, len(rounds[0].classes), self.pretrained)
            network = _at(network, dataset.resolution, self.device)
        inputs = network.inputs
        pictures = Pictures(dataset, inputs.resolution, inputs.interpolation, self.artifacts, self.clock)
        generator = torch.Generator().manual_seed(cell.entropy("order"))
        learner = Learner(
            network=network,
            strategy=strategy,
            recipe=self.recipe,
            cache=Cache(pictures, self.artifacts, self.device, self.clock),
            identity=self._trunk_identity(),
            views=Views(self.recipe.augment, cell.seed),
            parents={role: self._parent(role, len(rounds[0].classes), inputs.resolution) for role in cell.parents},
            generator=generator,
            device=self.device,
            clock=self.clock,
            watch=self._watch,
        )
        return learner, rounds

    def _network(self, cell: Cell, classes: int, pretrained: bool) -> Network:
        return find(cell.plugin("backbone")).build(classes, pretrained, cell.entropy("init"))

    def _trunk_identity(self) -> dict[str, Any]:
        """Return what the first activations depend on: the weights, or the seed they were drawn from."""
        backbone = dict(self.cell.backbone)
        return backbone if self.pretrained else {**backbone, "drawn_for": self.cell.id}

    def _parent(self, role: str, classes: int, resolution: int) -> Parent:
        parent = Cell.from_json(self.job.parents[role]["record"]["cell"])

        def network() -> Network:
            from safetensors.torch import load_file

            built = self._network(parent, classes, pretrained=False)
            built.model.load_state_dict(load_file(self.job.parents[role]["weights"]))
            return _at(built, resolution, self.device).eval()

        return Parent(parent.id, network)

    def _seconds(self, learner: Learner) -> Seconds:
        """Split the time: what this run spent, and what a user who runs only this cell would pay."""
        spent = self.clock.seconds
        trained = {(s, n) for _, s, n, _ in learner.used} or {("train", self.cell.size)}
        prepare = sum(learner.cache.pictures.rows(split).price(n) for split, n in sorted(trained)[:1])
        passes = sum(
            learner.cache.rows(forward, split, _views_key(learner)).price(examples * views)
            for forward, split, examples, views in learner.used
        )
        parents = sum(p["record"]["seconds"]["standalone"] or 0.0 for p in self.job.parents.values())
        shared = passes + parents
        setup, train = spent["setup"], spent["train"]
        return Seconds(
            prepare=prepare,
            setup=setup,
            train=train,
            evaluate=spent["evaluate"],
            measure=spent["measure"],
            shared=shared,
            parents=parents,
            marginal=spent["prepare"] + setup + train + spent["features"],
            standalone=prepare + setup + train + shared,
        )

    def _artifacts_used(self, learner: Learner) -> list[dict[str, Any]]:
        used: list[dict[str, Any]] = []
        for forward, split, examples, views in learner.used:
            rows = learner.cache.rows(forward, split, _views_key(learner))
            entry = {"kind": rows.kind, "id": rows.id, "seconds": rows.price(examples * views)}
            if entry["id"] not in {u["id"] for u in used}:
                used.append(entry)
        return used

    def _architecture(self, network: Network) -> Architecture:
        return architecture_of(network, self.cell, self.recipe.precision, self.device, self.artifacts)

    def _keep_predictions(self, learner: Learner, rounds: list[Round], logits: list[NDArray[np.float32]]) -> None:
        """Keep test logits, labels and example numbers beside the record, as npz without objects."""
        with replacing(Path(self.job.predictions)) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(
                handle,
                logits=np.concatenate(logits),
                labels=np.concatenate([r.test.labels for r in rounds]),
                index=np.concatenate([r.test.index for r in rounds]),
                classes=np.array([list(r.classes) for r in rounds]),
            )

    def _keep_weights(self, network: Network, path: Path) -> None:
        from safetensors.torch import save_file

        with replacing(path) as temporary:
            save_file({k: v.contiguous() for k, v in network.model.state_dict().items()}, temporary)

    def _watch(self, point: Point) -> None:
        self.points.append(point)
        with Path(self.job.progress).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"cell_id": self.cell.id, **asdict(point)}) + "\n")


def _at(network: Network, resolution: int | None, device: torch.device) -> Network:
    """Put a network on a device, and have it see pictures of another resolution than its own."""
    if resolution is not None:
        network.inputs = replace(network.inputs, resolution=resolution)
    network.to(device)
    return network.to(memory_format=torch.channels_last)


def _views_key(learner: Learner) -> dict[str, Any]:
    from bench.training.views import key_of

    return dict(key_of(learner.views.augment, learner.views.data_seed))

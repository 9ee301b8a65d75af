"""The worker: turns one cell's JSON into one record's JSON. Device half; a warm process runs many cells.

It knows the protocols of data sets, backbones, tasks and strategies, and asks them in turn: what is to be learnt, what
learns it, what it cost. Whatever goes wrong in a cell becomes the status of its record.
"""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import traceback
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from bench.errors import BenchError, DataError, Skip
from bench.files import replacing
from bench.machine import cores
from bench.measure.architecture import architecture_of
from bench.measure.clock import Clock
from bench.measure.contention import Contention
from bench.measure.cost import cost_of, sizes_of
from bench.measure.environment import environment
from bench.measure.flops import Uncountable
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
from bench.training.views import Views, key_of

# Kinds of artifact that seconds are told apart by.
PIXELS, PARENT = "pixels", "weights"

# mallopt(3): which allocations are mapped on their own, and how much freed memory is kept.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_warm: set[str] = set()


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


def prepare(device: str) -> None:
    """Have ready, before any cell is timed, what all cells share: threads, the device's context, lazy imports.

    The first step of an optimiser imports torch's compiler, 1 to 2 s that would be the first cell's training; scoring
    imports scikit-learn, as long, within its deadline.
    """
    import sklearn.metrics  # noqa: F401

    _keep_freed_memory()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores())
    layer = torch.nn.Linear(1, 1, device=device)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.zeros(1, 1, device=device)).sum().backward()
    optimizer.step()
    environment(torch.device(device).type)


def run(data: Mapping[str, Any]) -> dict[str, Any]:
    """Run one job and return its record as JSON. Never raises for what a cell can do wrong.

    `device_is_broken` is added when the device answers to nothing any more, so that this process is of no further use.
    """
    job = Job(**data)
    cell, device = Cell.from_json(job.cell), torch.device(job.device)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    where = environment(device.type)
    record = Record(cell.id, job.suite, cell, "failed", started_at=started, environment=where)
    _tell(job, "begun", {"pid": os.getpid(), "started_at": started, "environment": where})
    points: list[Point] = []
    contention = Contention()
    try:
        record = _Session(job, cell, points).run(record)
    except Skip as skip:
        record = replace(record, status="skipped", reason=str(skip))
    except Diverged as error:
        record = replace(record, status="diverged", reason=str(error))
    except BenchError as error:
        record = replace(record, reason=str(error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        record = replace(record, status="oom", reason=_one_line(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a cell that raises is a record; the others go on
        record = replace(record, status=_status(error), reason=_one_line(error))
        record = replace(record, details={"traceback": traceback.format_exc()})
    shared = contention.explain()
    if shared is not None:
        record = replace(record, timing_valid=False, reasons={**record.reasons, "timing_valid": shared})
    ended = finite(replace(record, curve=record.curve or tuple(points)).to_json())
    return {**ended, "device_is_broken": not _clean_up(device)}


def finite(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record's JSON with None, and a reason under the dotted path, for each number that is not finite."""
    reasons: dict[str, str] = dict(record["reasons"])

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            return {k: walk(v, f"{path}.{k}" if path else k) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [walk(v, f"{path}.{i}") for i, v in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            reasons[path] = f"it is not a finite number: {value}"
            return None
        return value

    return {**walk(record, ""), "reasons": reasons}


def _keep_freed_memory() -> None:
    """Have glibc keep what a step frees for the next one, not give it back to the system at once.

    On 2 CPU cores the page faults took a quarter of an evaluation: 900 pictures a second instead of 1,200.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _clean_up(device: torch.device) -> bool:
    """Give memory back, so that a cell's peak is its own; return whether the device still works.

    After an illegal access or a failed assertion on a GPU, every later call in this process fails.
    """
    gc.collect()
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
        except RuntimeError:
            return False
    with suppress(OSError, AttributeError):
        # glibc keeps what was freed: the resident size grew by 20 MB a cell without this.
        ctypes.CDLL(None).malloc_trim(0)
    return True


def _tell(job: Job, kind: str, message: Mapping[str, Any]) -> None:
    """Append one message to the job's progress."""
    with Path(job.progress).open("a", encoding="utf-8") as handle:
        handle.write(json.dumps({"kind": kind, **message}) + "\n")


def _status(error: BaseException) -> Status:
    """Tell running out of memory, which CPU allocators report as a RuntimeError, from other failures."""
    return "oom" if "not enough memory" in str(error) or "can't allocate memory" in str(error) else "failed"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


class _Session:
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
        memory_known = reset_peak(self.device)
        task = tasks.create(self.cell.plugin("task"))
        learner, rounds = self._learner(task)
        scores: list[Score] = []
        logits: list[NDArray[np.float32]] = []
        kept: list[Round] = []
        for round_ in rounds:
            learner.fit(round_)
            logits.append(learner.logits(round_.test))
            if not np.isfinite(logits[-1]).all():
                raise Diverged("the logits of the trained model are not finite numbers")
            scores.append(task.score(logits[-1], round_))
            kept.append(round_)
        summary = task.summary(scores)
        peak = peak_bytes(self.device) if memory_known else None
        learner.cache.save()
        learner.cache.pictures.save()
        self._keep_predictions(learner, kept, logits)
        if self.job.weights:
            self._keep_weights(learner.network, Path(self.job.weights))
        stages = [stage.name for stage in learner.network.stages]
        details: dict[str, Any] = {"stages": stages, "rounds": len(kept)}
        if learner.selected_epoch is not None:
            details["selected_epoch"] = learner.selected_epoch
        record = replace(record, metrics=dict(summary.metrics), reasons=dict(summary.reasons), details=details)
        with self.clock.phase("measure"):
            record = self._with_cost(record, learner, peak)
            record = self._with_architecture(record, learner.network)
        artifacts = self._artifacts(learner)
        seconds = self._seconds(learner, artifacts)
        return replace(record, status="ok", curve=tuple(learner.curve), seconds=seconds, artifacts=artifacts)

    def _with_cost(self, record: Record, learner: Learner, peak_memory_bytes: int | None) -> Record:
        reasons = dict(record.reasons)
        if peak_memory_bytes is None:
            reasons["cost.peak_memory_bytes"] = "this system does not let a process reset its peak"
        parent_flops = [parent["record"]["cost"]["flops_train"] for parent in self.job.parents.values()]
        try:
            cost = cost_of(learner, parent_flops, peak_memory_bytes)
            if cost.flops_train is None:
                reasons["cost.flops_train"] = "the FLOPs of a parent's training are not known"
        except Uncountable as error:
            cost = sizes_of(learner, peak_memory_bytes)
            reasons |= {f"cost.{name}": str(error) for name in ("macs_forward", "flops_forward", "flops_train")}
        return replace(record, cost=cost, reasons=reasons)

    def _with_architecture(self, record: Record, network: Network) -> Record:
        """Add latency and summary. A model that can't be measured is no reason to lose what was learnt."""
        try:
            measured = architecture_of(network, self.cell, self.recipe.precision, self.device, self.artifacts)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason that there is no number
            return replace(record, reasons={**record.reasons, "latency": _one_line(error)})
        architecture = {"summary": measured.summary, "macs_by_fvcore": measured.macs_by_fvcore}
        return replace(record, latency=measured.latency, details={**record.details, "architecture": architecture})

    def _learner(self, task: Task) -> tuple[Learner, Any]:
        """Return the learner and the rounds it will learn."""
        cell = self.cell
        dataset = datasets.create(cell.plugin("dataset"))
        strategy = strategies.create(cell.plugin("strategy"))
        labels = {split: dataset.examples(split).labels for split in ("train", "test")}
        facts = dataset.facts()
        if facts.digest != cell.dataset["digest"]:
            raise DataError(f"{dataset.name}: the data have changed since this cell was planned; run the suite again")
        classes = facts.classes or tuple(str(c) for c in range(int(labels["train"].max()) + 1))
        wrong = task.check(cell.size, len(classes), {k: len(v) for k, v in labels.items()})
        if wrong:
            raise BenchError(wrong)
        held = self.recipe.validation if self.recipe.selection == "best_val" else None
        rounds = list(task.rounds(Problem(labels, classes, cell.size, cell.seed, held)))
        with self.clock.phase("setup"):
            network = self._network(cell, len(rounds[0].classes), self.pretrained, dataset.resolution)
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

    def _warm_up(self) -> None:
        """Pay once, off every clock, for the libraries of this source of models and for the device's first pass.

        They cost seconds, and would be charged to whichever cell happens to come first.
        """
        source = self.cell.backbone["source"]
        if source not in _warm:
            network = self._network(self.cell, 2, self.pretrained, None)
            edge = network.inputs.resolution
            network(torch.zeros(2, 3, edge, edge, device=self.device)).sum().backward()
            _warm.add(source)

    def _network(self, cell: Cell, classes: int, pretrained: bool, resolution: int | None) -> Network:
        backbone = find(cell.plugin("backbone"))
        network = backbone.build(classes, pretrained, cell.entropy("init"), resolution).to(self.device)
        return network.to(memory_format=torch.channels_last)

    def _trunk_identity(self) -> dict[str, Any]:
        """Return what the first activations depend on: the weights, or the seed they were drawn from."""
        backbone = dict(self.cell.backbone)
        return backbone if self.pretrained else {**backbone, "drawn_for": self.cell.id}

    def _parent(self, role: str, classes: int, resolution: int) -> Parent:
        parent = Cell.from_json(self.job.parents[role]["record"]["cell"])

        def network() -> Network:
            from safetensors.torch import load_file

            built = self._network(parent, classes, False, resolution)
            built.load(load_file(self.job.parents[role]["weights"]))
            return built.eval()

        return Parent(parent.id, network)

    def _artifacts(self, learner: Learner) -> tuple[dict[str, Any], ...]:
        """Return what this cell used of what cells share, each with its price for this cell's own examples."""
        priced: dict[tuple[str, str], float] = defaultdict(float)
        for split, count in learner.shown:
            pixels = learner.cache.pictures.rows(split)
            priced[pixels.kind, pixels.id] += pixels.price(count)
        key = key_of(learner.views.augment, learner.views.data_seed)
        for forward, split, examples, views in learner.used:
            rows = learner.cache.rows(forward, split, key)
            priced[rows.kind, rows.id] += rows.price(examples * views)
        for role, parent in self.job.parents.items():
            priced[PARENT, self.cell.parents[role]] = _price_of_parent(parent["record"], priced)
        return tuple({"kind": kind, "id": name, "seconds": seconds} for (kind, name), seconds in priced.items())

    def _seconds(self, learner: Learner, artifacts: Sequence[Mapping[str, Any]]) -> Seconds:
        """Split the time: what this run spent, and what a user who runs only this cell would pay."""
        spent = self.clock.seconds
        price: dict[str, float] = defaultdict(float)
        for artifact in artifacts:
            price[artifact["kind"]] += artifact["seconds"]
        prepare = price.pop(PIXELS, 0.0)
        shared = sum(price.values())
        setup, train = spent["setup"], spent["train"]
        return Seconds(
            prepare=prepare,
            setup=setup,
            train=train,
            evaluate=spent["evaluate"],
            measure=spent["measure"],
            shared=shared,
            parents=price[PARENT],
            marginal=spent["prepare"] + setup + train + spent["features"],
            standalone=prepare + setup + train + shared,
        )

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
        _tell(self.job, "point", asdict(point))


def _price_of_parent(record: Mapping[str, Any], mine: Mapping[tuple[str, str], float]) -> float:
    """Return what a parent's training adds to the price of a cell: what both use is paid for once."""
    twice: float = sum(used["seconds"] for used in record["artifacts"] if (used["kind"], used["id"]) in mine)
    return float(record["seconds"]["standalone"] or 0.0) - twice

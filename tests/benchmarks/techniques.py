"""What each technique of the engine gains: the same cell with it and without it, turn by turn, in one process.

`python -m benchmarks.techniques DEVICE REPEATS [quick]`, started in the folder of the tests, prints one line of JSON a
technique: the seconds of prepare + train + shared with it and without it, and the accuracies, which must agree.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from benchmarks.harness import MOVIES, Data, Question, pictures, seconds_of
from torch import Tensor

import bench
from bench import schedule
from bench.backbones import _attention, _transformers
from bench.backbones._network import Network
from bench.engines import worker
from bench.planner import Plan
from bench.record import Record
from bench.store import Store
from bench.tasks import Selection
from bench.terminal import Silent
from bench.training import exams, groups, passes
from bench.training import learner as learner_module
from bench.training import supply as supply_module
from bench.training.autotune import Autotune, Mode, Verdict
from bench.training.feed import Feed
from bench.training.pictures import squared
from bench.training.sources import Even
from bench.training.step import Lesson
from bench.training.supply import Supply

T = TypeVar("T")
LITE0, RESNET18 = "tf_efficientnet_lite0", {"name": "resnet18", "weights": "random"}


class InProcess:
    """An engine without a process of its own."""

    def __init__(self, device: str, folder: Path) -> None:
        self.device, self.progress = device, str(folder / "progress.jsonl")

    def check(self, cells: Any, watch: Any) -> None:
        """Find nothing wrong."""

    def run(self, job: Mapping[str, Any], deadline_seconds: float | None, watch: Any) -> dict[str, Any]:
        """Run a job here."""
        return worker.run({**job, "progress": self.progress, "device": self.device})


@dataclass(frozen=True)
class Technique:
    """One technique: on which strategy it is shown, with how many labels and epochs, and what turns it off and on."""

    name: str
    strategy: str
    labels: int
    epochs: int
    off: Callable[[], Any]
    on: Callable[[], Any]
    backbone: str | dict[str, str] = LITE0
    episodes: bool = False
    data: Data | None = None


@contextmanager
def nothing() -> Iterator[None]:
    """Change nothing."""
    yield


@contextmanager
def patched(where: Any, name: str, value: Any) -> Iterator[None]:
    """Give an attribute another value for a while."""
    kept = getattr(where, name)
    setattr(where, name, value)
    try:
        yield
    finally:
        setattr(where, name, kept)


def uncached() -> Any:
    """Run frozen stages again for each batch."""
    return patched(supply_module, "CACHE_LIMIT_BYTES", 0)


def in_mode(mode: Mode) -> Any:
    """Run networks in a mode, whatever is faster."""
    return patched(Autotune, "verdict", lambda self, *rest: Verdict("0" * 16, mode, {}, 0.0))


def looped_optimiser() -> Any:
    """Update one parameter after the other."""
    plain = {
        "adamw": lambda given, capturable: torch.optim.AdamW(given, foreach=False),
        **{name: make for name, make in groups._OPTIMIZERS.items() if name != "adamw"},
    }
    return patched(groups, "_OPTIMIZERS", plain)


@contextmanager
def teacher_at_every_step() -> Iterator[None]:
    """Have the teacher see each batch when the student does. What it says is what was kept, and is dropped."""
    teachers: list[Network] = []
    logits, train = Supply.parent_logits, learner_module.train

    def remembered(self: Supply, role: str, selection: Selection) -> Feed:
        found = logits(self, role, selection)
        teachers.append(self.parent(role))
        return found

    def watched(network: Network, strategy: Any, phase: Any, recipe: Any, lesson: Lesson, *rest: Any) -> int:
        if lesson.parents:
            lesson = replace(lesson, feed=_Seen(lesson.feed, teachers[-1], recipe.precision))
        return train(network, strategy, phase, recipe, lesson, *rest)

    with patched(Supply, "parent_logits", remembered), patched(learner_module, "train", watched):
        yield


class _Seen:
    """A feed whose batches a teacher sees as well."""

    start = cut = 0

    def __init__(self, feed: Feed, teacher: Network, precision: str) -> None:
        self.feed, self.teacher, self.precision = feed, teacher, precision
        self.source = feed.source

    def epoch(self, order: Tensor, view: Tensor, parts: Sequence[slice], *mixing: Any) -> Iterator[Tensor]:
        """Yield the batches of the feed."""
        for x in self.feed.epoch(order, view, parts, *mixing):
            passes.infer(self.teacher, x, 0, None, self.precision)
            yield x


@contextmanager
def loaded_by_workers() -> Iterator[None]:
    """Have worker processes open, resize, flip and normalise each picture of each epoch."""
    feed = Supply.feed

    def loaded(self: Supply, selection: Selection, cut: int, views: Any, phase: str, *rest: Any) -> Feed:
        found = feed(self, selection, cut, views, phase, *rest)
        return _Loader(self, selection) if cut == 0 and phase == "features" else found

    with patched(Supply, "feed", loaded):
        yield


class _Loader:
    """A feed from a DataLoader."""

    start = cut = 0
    source = Even()

    def __init__(self, supply: Supply, selection: Selection) -> None:
        self.supply, self.selection = supply, selection

    def __len__(self) -> int:
        return len(self.selection)

    def __getitem__(self, wanted: tuple[int, int]) -> Tensor:
        position, view = wanted
        pictures, inputs = self.supply.cache.material, self.supply.network.inputs
        read = pictures.examples(self.selection.split).read(int(self.selection.index[position]))
        pixels = torch.tensor(squared(read, read.ndim == 3, pictures.resolution, pictures.interpolation))
        mean, std = (torch.tensor(v)[:, None, None] * 255 for v in (inputs.mean, inputs.std))
        return ((pixels.flip(2) if view else pixels).float() - mean) / std

    def epoch(self, order: Tensor, view: Tensor, parts: Sequence[slice], *mixing: Any) -> Iterator[Tensor]:
        """Yield the batches of an epoch from new workers."""
        pairs = list(zip(order.tolist(), view.tolist(), strict=True))
        loader = torch.utils.data.DataLoader(
            self,  # type: ignore[arg-type]
            batch_sampler=[pairs[part] for part in parts],  # type: ignore[arg-type]
            num_workers=torch.get_num_threads(),
        )
        for x in loader:
            yield self.supply.network.arranged(x)


@contextmanager
def not_folded() -> Iterator[None]:
    """Run frozen passes on the network as it is."""
    with patched(passes, "folded", as_it_is), patched(exams, "folded", as_it_is):
        yield


def as_it_is(model: T) -> T:
    """Return a model itself."""
    return model


@contextmanager
def torchs_dropout() -> Iterator[None]:
    """Draw what encoders of texts drop by torch's own layers and attention."""
    take_over = patched(_attention, "take_over", as_it_is)
    with patched(_transformers, "quickened", as_it_is), take_over:
        yield


def one_by_one() -> Any:
    """Learn the heads of episodes one after the other."""
    return patched(learner_module, "TOGETHER", 1)


NHWC, NCHW = Mode(), Mode(layout="contiguous")
TECHNIQUES = (
    Technique("frozen features kept", "feature_extract", 300, 10, uncached, nothing),
    Technique("normalisations folded in frozen passes", "feature_extract", 600, 10, not_folded, nothing),
    Technique("frozen stages kept, two unfrozen", "partial_finetune", 150, 10, uncached, nothing),
    Technique("teacher's logits kept", "distill", 64, 10, teacher_at_every_step, nothing),
    Technique("pixels in memory, views on the device", "full_finetune", 128, 4, loaded_by_workers, nothing),
    Technique("layout: channels last, lite0", "full_finetune", 128, 3, lambda: in_mode(NCHW), lambda: in_mode(NHWC)),
    Technique(
        "layout: channels last, resnet18", "scratch", 128, 3, lambda: in_mode(NCHW), lambda: in_mode(NHWC), RESNET18
    ),
    Technique(
        "precision: bf16, resnet18", "scratch", 128, 3, lambda: in_mode(NHWC), lambda: in_mode(Mode("bf16")), RESNET18
    ),
    Technique(
        "precision: bf16, lite0", "full_finetune", 128, 3, lambda: in_mode(NHWC), lambda: in_mode(Mode("bf16"))
    ),
    Technique("fused optimiser", "full_finetune", 128, 3, looped_optimiser, nothing),
    Technique(
        "dropout of 16 bits an element, minilm_l6", "full_finetune", 256, 3, torchs_dropout, nothing, "minilm_l6",
        data=MOVIES,
    ),
    Technique(
        "forward passes in batches of 64, not 256",
        "feature_extract",
        600,
        1,
        lambda: patched(passes, "FORWARD_BATCH", {"cpu": 256, "cuda": 64}),
        nothing,
    ),
    Technique("heads of 100 episodes at once", "feature_extract", 5, 20, one_by_one, nothing, episodes=True),
    Technique(
        "compiled step, without compiling", "full_finetune", 128, 3, lambda: in_mode(NHWC),
        lambda: in_mode(Mode(stepping="compiled")),
    ),
)  # fmt: skip


def plan_of(technique: Technique, folder: Path, quick: bool) -> Plan:
    """Return the one cell, with its teacher, on which a technique is shown."""
    resolution, epochs = (32, 2) if quick else (64, technique.epochs)
    labels = min(technique.labels, 20 if quick else technique.labels)
    data = technique.data or pictures(resolution)
    question = Question(technique.backbone, data, (technique.strategy,), (labels,), (0,), epochs, 200)
    episodes = [f"task={{name: few_shot, episodes: {10 if quick else 100}}}"] if technique.episodes else []
    return bench.plan(bench.load_suite(question.write(folder), settings=episodes))


def run_once(plan: Plan, device: str, root: Path) -> tuple[float, float]:
    """Run a plan from nothing; return the seconds of its cell, and its accuracy.

    A teacher's logits are not in the seconds where they are taken at every step.
    """
    with tempfile.TemporaryDirectory(dir=root) as folder:
        results = Path(folder)
        (results / "artifacts").mkdir()
        (results / "artifacts" / "architecture").symlink_to(root / "architecture", target_is_directory=True)
        engine = InProcess(device, results)
        records = schedule.run(plan, Store(results, plan.suite.suite), engine, Silent())
    (record,) = (records[e.cell.id] for e in plan.runnable if e.role is None)
    if record.status != "ok":
        raise RuntimeError(record.reason)
    return own_seconds(record), float(record.metrics["accuracy"] or 0.0)


def own_seconds(record: Record) -> float:
    """Return prepare + train + shared of a cell, without its parents' training."""
    return seconds_of(record)["work"] - float(record.seconds.parents or 0.0)


def main(device: str, repeats: int, quick: bool) -> None:
    """Measure each technique."""
    answers = sys.stdout
    sys.stdout = sys.stderr
    worker.prepare(device)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "architecture").mkdir()
        for technique in TECHNIQUES:
            plan = plan_of(technique, root, quick)
            taken: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
            ways = {"off": technique.off, "on": technique.on}
            for number in range(repeats + 1):
                for way in ("off", "on") if number % 2 else ("on", "off"):
                    with ways[way]():
                        taken[way].append(run_once(plan, device, root))
            # The first turn warms up, and compiles.
            found = {way: {"seconds": [s for s, _ in t[1:]], "accuracy": t[-1][1]} for way, t in taken.items()}
            told = {"technique": technique.name, "strategy": technique.strategy, "n": technique.labels}
            print(json.dumps({**told, "epochs": technique.epochs, **found}), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), "quick" in sys.argv[3:])

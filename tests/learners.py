"""Learners on toy data, without a suite or a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from bench.backbones import find
from bench.backbones._heads import with_head
from bench.backbones._network import Network
from bench.datasets import Dataset
from bench.datasets.toy import Toy
from bench.measure.clock import Clock
from bench.recipe import Recipe
from bench.strategies import Phase, Strategy, strategies
from bench.tasks import Problem, Round
from bench.tasks.classify import Classify
from bench.training.autotune import Autotune
from bench.training.learner import Learner
from bench.training.modalities import material_of
from bench.training.passes import Cache
from bench.training.supply import Parent
from bench.training.views import Views

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=3, batch_size=8)
TOY = Toy()
# Of each kind of layer that is counted: name, source, pixels.
SMALL_MODELS = [
    ("toy_cnn", "toy", 16),
    ("tf_efficientnet_lite0", "timm", 64),
    ("test_resnet", "timm", 160),
    ("test_convnext", "timm", 160),
    ("test_byobnet", "timm", 160),
    ("shufflenet_v2_x0_5", "torchvision", 64),
    ("test_vit", "timm", 160),
]


@dataclass(frozen=True)
class Sketch(Strategy):
    """A strategy that is nothing but its phases."""

    name: ClassVar[str] = "sketch"
    version: ClassVar[int] = 1

    made_of: tuple[Phase, ...] = (Phase(),)

    def phases(self, stages):
        return self.made_of


def round_of(size: int, recipe: Recipe = RECIPE, dataset: Dataset = TOY, seed: int = 0, **options: Any) -> Round:
    """Return the one round of a classification cell."""
    held = recipe.validation if recipe.selection == "best_val" else None
    task = Classify(**{"monitor_size": 12, **options})
    (only,) = task.rounds(problem_of(size, dataset, seed, held))
    return only


def problem_of(size: int, dataset: Dataset = TOY, seed: int = 0, validation: float | None = None) -> Problem:
    """Return what a task is set on."""
    labels = {split: dataset.examples(split).labels for split in ("train", "test")}
    return Problem(labels, dataset.facts().classes or (), size, seed, validation)


def network_of(backbone: str = "toy_cnn", classes: int = 3, pretrained: bool = True, seed: int = 1) -> Network:
    """Return a network for pictures of 16 pixels or short texts; only toys have weights to start from."""
    size = {"toy_cnn": 16, "toy_encoder": 48}.get(backbone, 32)
    built = find({"name": backbone}).build(classes, pretrained and backbone.startswith("toy_"), seed, size)
    return built.arrange(torch.channels_last)


def learner(
    folder: Path,
    strategy: Strategy,
    recipe: Recipe = RECIPE,
    backbone: str = "toy_cnn",
    dataset: Dataset = TOY,
    parents: dict[str, Network] | None = None,
    device: torch.device = CPU,
    **other: Any,
) -> Learner:
    """Return a learner whose artifacts are in `folder`; `parents` are trained networks by role."""
    clock = Clock(device)
    classes = len(dataset.facts().classes or ())
    network = network_of(backbone, classes, strategy.start == "pretrained")
    network = with_head(network, recipe.head, classes, seed=1).to(device)
    material = material_of(dataset, network.inputs, folder, clock)
    settings: dict[str, Any] = {
        "network": network,
        "strategy": strategy,
        "recipe": recipe,
        "cache": Cache(material, folder, device, clock),
        "identity": {"backbone": backbone, "start": strategy.start},
        "views": Views(recipe.augment, 0),
        "parents": {role: _parent(role, trained) for role, trained in (parents or {}).items()},
        "autotune": Autotune(folder, device, {}),
        "generator": torch.Generator().manual_seed(5),
        "device": device,
        "clock": clock,
        "watch": lambda point: None,
    }
    return Learner(**{**settings, **other})


def _parent(role: str, network: Network) -> Parent:
    return Parent(f"{role}-{id(network)}", lambda: network)


def state_of(network: Network) -> dict[str, torch.Tensor]:
    """Return a copy of a network's parameters and buffers."""
    return {name: tensor.clone() for name, tensor in network.model.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Return the names of the tensors that are not byte-identical."""
    assert before.keys() == after.keys()
    return {name for name, tensor in before.items() if tensor.numpy().tobytes() != after[name].numpy().tobytes()}


def trained(made: Learner, size: int = 24) -> set[str]:
    """Fit a round and return the names of the tensors that changed, the head's left out."""
    before = state_of(made.network)
    made.fit(round_of(size, made.recipe))
    head = f"{made.network.head_path}."
    return {name for name in changed(before, state_of(made.network)) if not name.startswith(head)}


def tensors_of(made: Learner, stages: set[str]) -> set[str]:
    """Return the parameters and buffers of some stages, by name."""
    modules = {name: stage.modules for name, stage in ((s.name, s) for s in made.network.stages) if name in stages}
    owned = {id(t) for ms in modules.values() for m in ms for t in (*m.parameters(), *m.buffers())}
    return {name for name, t in made.network.model.state_dict(keep_vars=True).items() if id(t) in owned}


TEACHER = {"backbone": "other", "strategy": "full_finetune"}
# What a strategy can't be made without.
OPTIONS: dict[str, dict[str, Any]] = {
    "consistent_distill": {"teacher": TEACHER},
    "decoupled_distill": {"teacher": TEACHER},
    "distill": {"teacher": TEACHER},
    "hint_distill": {"teacher": TEACHER},
    "soup": {"members": [{"recipe": {"lr": 1e-3}}, {"recipe": {"lr": 3e-3}}]},
    "surgical": {"first": 1},
}


def every_strategy() -> list[Strategy]:
    """Return each registered strategy as it is without options, but for those that it needs."""
    return [strategies.create({"name": name, **OPTIONS.get(name, {})}) for name in strategies.names()]

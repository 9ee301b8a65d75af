"""Which precision, memory layout and way of stepping is fastest for a network on a device: measured, and kept.

The best layout differs by network and machine (channels last is 1.6 times as fast as NCHW for EfficientNet-Lite0 on a
2-core CPU, and no faster for some others), so it is tried and not assumed. A verdict is kept with its measurements for
all later cells on the same network, resolution, batch and machine. Layout and stepping change numbers by rounding
alone; the precision is only chosen here where the recipe says `auto`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bench.backbones._inputs import Flow, each, tensors
from bench.backbones._network import Network
from bench.measure.clock import now
from bench.measure.kept import kept
from bench.recipe import Recipe
from bench.strategies import Phase, Strategy
from bench.tensors import id_of
from bench.training.feed import ActivationFeed
from bench.training.groups import choose, optimizer_for
from bench.training.passes import FORWARD_BATCH, infer
from bench.training.sources import Resident
from bench.training.step import EAGER_STEPS, Lesson, Stepping, stepper_for
from bench.training.views import PLAIN

Precision = Literal["fp32", "bf16"]
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
DEFAULT = "channels_last"
# Training of fewer steps is not worth the trial, which takes five to ten.
TUNE_STEPS = 150
# A compiler takes a minute or so for a network, and saves a tenth of the time: shorter trainings don't try it.
COMPILE_SECONDS = 900.0
# A mode that takes so many times as long as the fastest is out: after its first step, which finds its kernels and is
# compared within its stepping, and after each one more.
FIRST_LIMIT, LIMITS = 1.6, (1.25, 1.15, 1.15)
# Another way than the default has to be so much faster, so that noise does not choose.
MARGIN = 0.93
# Examples of a pass where there are no steps. On a CPU a head's own training is soon done, and its trial has to be
# sooner; on a GPU few examples would say what launches take, and not what a frozen pass does.
PASSED = {"cpu": 8, "cuda": FORWARD_BATCH["cuda"]}


@dataclass(frozen=True)
class Mode:
    """How a network is run: a precision, the memory layout of weights and examples, and how a step is taken."""

    precision: Precision = "fp32"
    layout: str = DEFAULT
    stepping: Stepping = "eager"

    @property
    def name(self) -> str:
        """For example "fp32/channels_last/eager"."""
        return "/".join(asdict(self).values())

    @property
    def memory_format(self) -> torch.memory_format:
        """Torch's name of the layout."""
        return LAYOUTS[self.layout]


@dataclass(frozen=True)
class Stretch:
    """What a strategy trains: so many steps of the stages from `cut` on and the head. A head alone has no steps to try.

    `passes` is the batches that go through the frozen stages before `cut` for each step: less than one where their
    activations are kept.
    """

    steps: int
    cut: int = 0
    passes: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """The mode that was chosen, the seconds of a step in each mode that was near it (None where it failed), and of
    the trial.
    """

    id: str
    mode: Mode
    step_seconds: Mapping[str, float | None]
    seconds: float


class Autotune:
    """Chooses modes for one device; verdicts are kept under `artifacts`.

    `machine` is everything about the machine that a verdict depends on. `spent_seconds` is what was measured here.
    """

    def __init__(self, artifacts: Path, device: torch.device, machine: Mapping[str, Any]) -> None:
        self.folder, self.device, self.machine = artifacts / "autotune", device, machine
        self.spent_seconds = 0.0

    def verdict(
        self, network: Network, recipe: Recipe, stretch: Stretch, identity: Mapping[str, Any]
    ) -> Verdict | None:
        """Return how to train a stretch of a network, or None when that is not worth finding out.

        `identity` names the network's architecture. Whether it is worth it depends on the cell alone, not on what was
        measured before it: always where a precision has to be chosen, for a head alone that in which its features are
        made. Nothing is chosen by the clock where numbers have to be the same every time.
        """
        if torch.are_deterministic_algorithms_enabled():
            return None
        if recipe.precision != "auto" and stretch.steps < TUNE_STEPS:
            return None
        made_of = {
            "network": dict(identity),
            "layers": network.layers_digest,
            "cut": stretch.cut,
            "passes": round(stretch.passes, 2),
            **network.inputs.extent,
            "batch": recipe.batch_size,
            "optimizer": recipe.optimizer,
            "precision": recipe.precision,
            "machine": dict(self.machine),
        }
        name = id_of("autotune", made_of)

        def measure() -> Verdict:
            verdict = self._measure(network, recipe, stretch, name)
            self.spent_seconds += verdict.seconds
            return verdict

        return kept(self.folder / f"{name}.json", _from_json, measure, made_of=made_of)

    def _measure(self, network: Network, recipe: Recipe, stretch: Stretch, name: str) -> Verdict:
        started = now(self.device)
        every = [mode for mode in modes(recipe.precision, self.device) if network.has_layout or mode.layout == DEFAULT]
        if stretch.steps == 0:
            every = [mode for mode in every if mode.layout == DEFAULT and mode.stepping == "eager"]
        trial = Trial(network, recipe, stretch, self.device)
        first = {mode: taken for mode in every if (taken := trial.first_seconds(mode)) is not None}
        near = [m for m, taken in first.items() if taken <= FIRST_LIMIT * _fastest(first, m.stepping)]
        seconds: dict[Mode, float | None] = dict.fromkeys(near, math.inf)
        for limit in LIMITS:  # turn by turn, so that a slow moment strikes all alike
            for mode in near:
                before, taken = seconds[mode], trial.seconds(mode)
                seconds[mode] = None if before is None or taken is None else min(before, taken)
            worked = {mode: taken for mode in near if (taken := seconds[mode]) is not None}
            near = [mode for mode, taken in worked.items() if taken <= limit * min(worked.values())]
            if len(near) < 2:
                break
        chosen = best_of(every[0], seconds)
        trying = now(self.device) - started
        before = seconds.get(chosen)
        if before is not None and chosen.stepping == "eager" and stretch.steps * before > COMPILE_SECONDS:
            compiled = replace(chosen, stepping="compiled")
            seconds[compiled] = None if trial.first_seconds(compiled) is None else trial.seconds(compiled)
            spent = now(self.device) - started - trying
            after = seconds[compiled]
            if after is not None and spent + stretch.steps * after < MARGIN * stretch.steps * before:
                chosen = compiled
        told = {mode.name: taken for mode, taken in seconds.items()}
        return Verdict(name, chosen, told, now(self.device) - started)


def modes(precision: Literal["fp32", "bf16", "auto"], device: torch.device) -> list[Mode]:
    """Return the modes that are tried for a recipe's precision on a device, the default first."""
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if precision == "auto" else (precision,)
    steppings: tuple[Stepping, ...] = ("eager", "graph") if device.type == "cuda" else ("eager",)
    return [Mode(p, layout, stepping) for p in precisions for stepping in steppings for layout in LAYOUTS]


def _fastest(seconds: Mapping[Mode, float], stepping: Stepping) -> float:
    return min(taken for mode, taken in seconds.items() if mode.stepping == stepping)


def best_of(default: Mode, seconds: Mapping[Mode, float | None]) -> Mode:
    """Return the fastest mode; the default, if it works at all, when none is faster by more than the margin."""
    worked = {mode: taken for mode, taken in seconds.items() if taken is not None}
    if not worked:
        return default
    fastest = min(worked, key=lambda mode: worked[mode])
    if default in worked and worked[fastest] > MARGIN * worked[default]:
        return default
    return fastest


def _from_json(data: Mapping[str, Any]) -> Verdict:
    return Verdict(data["id"], Mode(**data["mode"]), data["step_seconds"], float(data["seconds"]))


class Trial:
    """Trains a stretch of a copy of a network on examples of noise, a step at a time; a pass where there is none."""

    def __init__(self, network: Network, recipe: Recipe, stretch: Stretch, device: torch.device) -> None:
        self.network, self.recipe, self.stretch, self.device = network, recipe, stretch, device
        self.noise = network.noise(recipe.batch_size if stretch.steps else PASSED[device.type])
        self._steps: dict[Mode, Callable[[], object]] = {}
        self._prefixes: dict[Mode, float] = {}

    def first_seconds(self, mode: Mode) -> float | None:
        """Prepare a mode, and return what its first step takes; None when the mode does not work."""

        def first() -> None:
            self._steps[mode] = self._prepare(mode)
            for _ in range(EAGER_STEPS + 1 if mode.stepping == "graph" else 1):
                self._steps[mode]()

        return self._timed(first)

    def seconds(self, mode: Mode) -> float | None:
        """Return what one more step takes with its share of the frozen passes; None when the mode does not work."""
        taken = self._timed(lambda: self._steps[mode]())
        return None if taken is None else taken + self.stretch.passes * self._prefixes[mode]

    def _timed(self, step: Callable[[], object]) -> float | None:
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            try:
                before = now(self.device)
                step()
                return now(self.device) - before
            except Exception:  # noqa: BLE001 - a way that fails, for whatever reason, is not the way
                return None

    def _prepare(self, mode: Mode) -> Callable[[], object]:
        network = copy.deepcopy(self.network).arrange(mode.memory_format)
        cut, recipe = self.stretch.cut, replace(self.recipe, precision=mode.precision)
        if self.stretch.steps == 0:
            self._prefixes[mode] = 0.0
            return partial(infer, network, network.arranged(self.noise), 0, cut, mode.precision)
        phase = Phase(unfrozen=len(network.stages) - cut)
        x = network.arranged(self._passed(network, mode))
        weights = choose(network, phase)
        network.train()
        feed = ActivationFeed(Resident(tensors(x)[0]), 1, cut, network)
        with torch.no_grad():
            classes = network.suffix(torch.zeros(2, network.dim, device=self.device), len(network.stages)).shape[1]
        labels = torch.arange(recipe.batch_size, device=self.device) % classes
        lesson = Lesson(feed, labels, {}, PLAIN, weights, {})
        optimizer = optimizer_for(network, phase, recipe, capturable=mode.stepping == "graph")
        take = stepper_for(mode.stepping, network, Strategy(), recipe, lesson, optimizer)
        return lambda: take(x, labels, {})

    def _passed(self, network: Network, mode: Mode) -> Flow:
        """Return what the frozen stages make of the noise, and note what the second pass takes."""
        x = network.arranged(self.noise)
        self._prefixes[mode] = 0.0
        if self.stretch.cut == 0:
            return x
        for _ in range(2):
            before = now(self.device)
            found = infer(network, x, 0, self.stretch.cut, mode.precision)
            self._prefixes[mode] = now(self.device) - before
        return each(Tensor.clone, found)  # what is made under inference_mode can't take part in training

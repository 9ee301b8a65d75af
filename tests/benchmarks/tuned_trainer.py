"""The Trainer with what a careful author adds: texts of like length in a batch, and bf16 where that is faster.

Which precision is faster is found by a probe of a few steps, which counts as set-up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from benchmarks.task import Task
from benchmarks.trainer_peer import OneCycle, train
from torch.nn.functional import cross_entropy

from bench.backbones._network import Network

PROBE_STEPS = 3


@dataclass(frozen=True)
class Choice:
    """Whether a network is trained under bf16 autocast; `probe_seconds` is what it took to find out."""

    bf16: bool
    probe_seconds: float = 0.0

    def describe(self) -> str:
        """Return "bf16" or "fp32"."""
        return "bf16" if self.bf16 else "fp32"


def learn(task: Task) -> Network:
    """Train the task's network and return it."""
    return train(task, OneCycle, bf16=choose(task).bf16, train_sampling_strategy="group_by_length")


def prepare(task: Task) -> float:
    """Probe what the task will need; return the seconds, also where it was probed before."""
    return choose(task).probe_seconds


def choose(task: Task) -> Choice:
    """Return the faster precision for a task's network, probed once a process."""
    cell = task.cell
    key = (*sorted(map(str, cell.backbone.items())), cell.strategy["name"], cell.recipe["batch_size"])
    if key not in _chosen:
        began = time.perf_counter()
        auto = cell.recipe["precision"] == "auto"
        bf16 = auto and _step_seconds(task, True) < _step_seconds(task, False)
        _chosen[key] = Choice(bf16, time.perf_counter() - began)
    return _chosen[key]


_chosen: dict[object, Choice] = {}


def _step_seconds(task: Task, bf16: bool) -> float:
    """Return the shortest of a few passes there and back."""
    network = Task(task.cell, task.device).network().train()
    x = network.noise(task.recipe["batch_size"])
    labels = torch.zeros(task.recipe["batch_size"], dtype=torch.int64, device=task.device)
    seconds = []
    for _ in range(PROBE_STEPS):
        began = time.perf_counter()
        with torch.autocast(task.device.type, torch.bfloat16, enabled=bf16):
            logits = network(x)
        cross_entropy(logits.float(), labels).backward()
        seconds.append(time.perf_counter() - began)
    return min(seconds)

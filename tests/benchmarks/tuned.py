"""The textbook way with everything that a careful author adds, and the same method.

As many workers as cores, kept between epochs; pinned memory and fused optimiser; the faster of fp32 and bf16 autocast
(where the recipe leaves the precision open) and of the two memory layouts, found by a probe that counts as set-up; the
frozen part under no_grad; and no reading back from the device inside an epoch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import product

import torch
from benchmarks.task import Task, one_cycle, renormalised, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader

from bench.backbones._network import Network
from bench.machine import cores

PROBE_STEPS = 3


@dataclass(frozen=True)
class Choice:
    """How a network runs fastest on a device: the memory layout, and whether under bf16 autocast.

    `probe_seconds` is what it took to find out.
    """

    layout: torch.memory_format
    bf16: bool
    probe_seconds: float = 0.0

    def apply(self, x: Tensor) -> Tensor:
        """Return a batch in this layout."""
        return x.contiguous(memory_format=self.layout)

    def describe(self) -> str:
        """Return "channels_last, bf16" and the like."""
        return f"{str(self.layout).removeprefix('torch.')}, {'bf16' if self.bf16 else 'fp32'}"


def loader_for(task: Task, network: Network) -> DataLoader[tuple[Tensor, int]]:
    """Return the training batches."""
    return DataLoader(
        task.pictures("train", network),
        batch_size=task.recipe["batch_size"],
        sampler=task.draws(),
        num_workers=cores(),
        persistent_workers=True,
        pin_memory=task.device.type == "cuda",
    )


def learn(task: Task) -> Network:
    """Train the task's network and return it."""
    choice = choose(task)
    seed_everything(task)
    teacher = learn(task.teacher).eval() if task.teacher else None
    teacher_choice = choose(task.teacher) if task.teacher else choice
    network = task.network().to(memory_format=choice.layout)
    loader = loader_for(task, network)
    optimizer = torch.optim.AdamW(task.groups(network), lr=task.recipe["lr"], fused=True)
    steps = len(loader) * task.recipe["epochs"]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, steps))

    for _ in range(task.recipe["epochs"]):
        network.train()
        totals = torch.zeros(2, device=task.device)
        for x, y in loader:
            x, y = x.to(task.device, non_blocking=True), y.to(task.device, non_blocking=True)
            optimizer.zero_grad(set_to_none=True)
            logits = forward(network, choice.apply(x), choice)
            teacher_logits = None
            if teacher is not None:
                with torch.no_grad():
                    theirs = renormalised(x, network, teacher)
                    teacher_logits = forward(teacher, teacher_choice.apply(theirs), teacher_choice)
            loss = task.loss(logits, y, teacher_logits)
            loss.backward()
            optimizer.step()
            scheduler.step()
            totals += torch.stack([loss.detach() * len(y), (logits.detach().argmax(1) == y).sum()])
    return network


def forward(network: Network, x: Tensor, choice: Choice) -> Tensor:
    """Return fp32 logits; nothing is kept for the gradient of the frozen part."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=choice.bf16):
        with torch.no_grad():
            x = network.prefix(x, network.frozen)
        return network.suffix(x, network.frozen).float()


def prepare(task: Task) -> float:
    """Probe what the task will need; return the seconds, also where it was probed before."""
    return sum(choose(part).probe_seconds for part in (task, task.teacher) if part is not None)


def choose(task: Task) -> Choice:
    """Return the fastest way to run a task's network: a few steps of each are timed once a process."""
    precisions = {"fp32": (False,), "bf16": (True,), "auto": (False, True)}[task.recipe["precision"]]
    if task.device.type == "cuda":
        return Choice(torch.channels_last, bf16=precisions[-1])
    cell = task.cell
    key = (*sorted(cell.backbone.items()), cell.dataset["resolution"], cell.strategy["name"], cell.recipe["batch_size"])
    if key not in _chosen:
        layouts = (torch.channels_last, torch.contiguous_format)
        choices = [Choice(layout, bf16) for layout, bf16 in product(layouts, precisions)]
        began = time.perf_counter()
        fastest = min(choices, key=lambda choice: _step_seconds(task, choice))
        _chosen[key] = replace(fastest, probe_seconds=time.perf_counter() - began)
    return _chosen[key]


_chosen: dict[object, Choice] = {}


def _step_seconds(task: Task, choice: Choice) -> float:
    """Return the shortest of a few training steps."""
    network = Task(task.cell, task.device).network().to(memory_format=choice.layout).train()
    optimizer = torch.optim.AdamW(task.groups(network), lr=task.recipe["lr"], fused=True)
    edge, size = task.cell.dataset["resolution"], task.recipe["batch_size"]
    x, y = choice.apply(torch.randn(size, 3, edge, edge)), torch.zeros(size, dtype=torch.int64)
    seconds = []
    for _ in range(PROBE_STEPS):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(forward(network, x, choice), y).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return min(seconds)

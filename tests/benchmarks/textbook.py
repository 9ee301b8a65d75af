"""The textbook way: a DataLoader with PIL transforms and four workers, fp32, and a loop that reads its loss each step.

The frozen part runs forward for every batch of every epoch; the teacher is trained for this student, and runs forward
in every step.
"""

from __future__ import annotations

import torch
from benchmarks.task import Task, one_cycle, renormalised, seed_everything
from torch.utils.data import DataLoader

from bench.backbones._network import Network


def learn(task: Task) -> Network:
    """Train the task's network and return it."""
    seed_everything(task)
    teacher = learn(task.teacher).eval() if task.teacher else None
    network = task.network()
    pictures = task.pictures("train", network)
    loader = DataLoader(pictures, batch_size=task.recipe["batch_size"], sampler=task.draws(), num_workers=4)
    optimizer = torch.optim.AdamW(task.groups(network), lr=task.recipe["lr"])
    steps = len(loader) * task.recipe["epochs"]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, steps))

    for _ in range(task.recipe["epochs"]):
        network.train()
        total_loss, correct = 0.0, 0
        for x, y in loader:
            x, y = x.to(task.device), y.to(task.device)
            optimizer.zero_grad()
            logits = network(x)
            teacher_logits = None
            if teacher is not None:
                with torch.no_grad():
                    teacher_logits = teacher(renormalised(x, network, teacher))
            loss = task.loss(logits, y, teacher_logits)
            loss.backward()
            optimizer.step()
            scheduler.step()
            total_loss += loss.item() * len(y)
            correct += (logits.argmax(1) == y).sum().item()
    return network

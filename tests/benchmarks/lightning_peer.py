"""Full fine-tuning with Lightning: a LightningModule, the loaders of the tuned script, logging and checkpoints off."""

from __future__ import annotations

import logging

import lightning
import torch
from benchmarks.task import Task, one_cycle, seed_everything
from benchmarks.tuned import choose, loader_for, prepare
from torch import Tensor

from bench.backbones._network import Network

__all__ = ["learn", "prepare"]

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Module(lightning.LightningModule):
    """A network with its loss, optimiser and schedule."""

    def __init__(self, task: Task, network: Network, steps: int) -> None:
        super().__init__()
        self.task, self.network, self.steps, self.layout = task, network, steps, choose(task).layout

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        x, y = batch
        return self.task.loss(self.network(x.contiguous(memory_format=self.layout)), y)

    def configure_optimizers(self) -> dict[str, object]:
        """Return the optimiser and a schedule that moves each step."""
        optimizer = torch.optim.AdamW(self.task.groups(self.network), lr=self.task.recipe["lr"], fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def learn(task: Task) -> Network:
    """Train every stage of the task's network and return it."""
    seed_everything(task)
    choice = choose(task)
    network = task.network().to(memory_format=choice.layout)
    loader = loader_for(task, network)
    trainer = lightning.Trainer(
        max_epochs=task.recipe["epochs"],
        accelerator="gpu" if task.device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if choice.bf16 else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(task, network, len(loader) * task.recipe["epochs"]), loader)
    return network.to(task.device)

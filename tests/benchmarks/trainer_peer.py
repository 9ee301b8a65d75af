"""Fine-tuning of a text model by the Trainer of the transformers library, with its own defaults.

What is not a default makes the methods equal: the recipe's epochs, batch, rates and weight decay, no clipping of
gradients, and the schedule. Batches are padded to the longest of their texts, as the library's examples do it; nothing
is saved, reported or evaluated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import torch
from benchmarks.task import Task, one_cycle
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from bench.backbones._attention import give_back
from bench.backbones._dropout import QuickDropout
from bench.backbones._inputs import Tokens
from bench.backbones._network import Network


class Classifier(nn.Module):
    """The cell's network as the library's models are: named inputs, and loss and logits out."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.config = network, network.model.encoder.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return logits, float [batch, classes], and with labels their loss."""
        logits = self.network(Tokens(input_ids, attention_mask.bool()))
        return {"logits": logits} | ({} if labels is None else {"loss": cross_entropy(logits, labels)})


class OneCycle(Trainer):
    """The Trainer with the recipe's schedule, which the library lacks."""

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return a schedule that moves each step."""
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer, lambda step: one_cycle(step, num_training_steps)
        )
        return self.lr_scheduler


class Drawn(OneCycle):
    """It also takes the examples in the order that the harness draws, where the library would draw another."""

    def __init__(self, task: Task, **options: Any) -> None:
        self.draws = task.draws()
        super().__init__(**options)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return Order(self.draws)


class Order(torch.utils.data.Sampler[int]):
    """The numbers of drawn examples."""

    def __init__(self, draws: Any) -> None:
        self.draws = draws

    def __len__(self) -> int:
        return len(self.draws)

    def __iter__(self) -> Iterator[int]:
        return (number for number, _ in self.draws)


def learn(task: Task) -> Network:
    """Train the task's network and return it."""
    return train(task, lambda **options: Drawn(task, **options))


def as_the_library_has_it(network: Network) -> Network:
    """Return a network with torch's own dropout and the library's own attention."""
    give_back(network.model.encoder)
    for module in network.modules():
        if isinstance(module, QuickDropout):
            module.__class__ = nn.Dropout
    return network


def train(task: Task, make: Any, **chosen: Any) -> Network:
    """Train the task's network by the Trainer that `make` makes; `chosen` are more of its arguments."""
    network = as_the_library_has_it(task.network())
    recipe = task.recipe
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=recipe["epochs"],
            per_device_train_batch_size=recipe["batch_size"],
            learning_rate=recipe["lr"],
            weight_decay=recipe["weight_decay"],
            label_smoothing_factor=recipe["label_smoothing"],
            max_grad_norm=recipe.get("clip_norm") or 0.0,
            seed=task.cell.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=task.device.type == "cpu",
            **chosen,
        )
        trainer = make(
            model=Classifier(network),
            args=arguments,
            train_dataset=task.texts("train", network),
            data_collator=DataCollatorWithPadding(network.inputs.tokenizer._tokenizer),
        )
        trainer.train()
    return network.to(task.device)

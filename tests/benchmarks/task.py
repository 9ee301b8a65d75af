"""What all sides are given: the same cell of the harness, as a textbook script would read it.

The weights, the labelled subset, the test pictures, the recipe: everything that must be equal on all sides is here, so
that each script is only about how it trains. Nothing here is timed but `network`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import cos, pi
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torch.nn.utils.rnn import pad_sequence
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import hflip

from bench.backbones import find
from bench.backbones._inputs import Flow, TextInputs, Tokens
from bench.backbones._network import Network
from bench.cell import Cell
from bench.datasets import Examples, datasets, extent
from bench.tasks import Problem, Round, Selection, tasks


@cache
def examples(dataset: str, split: str) -> Examples:
    """Return a split of a data set, named by JSON and read once a process: all sides have the raw data in memory."""
    return datasets.create(json.loads(dataset)).examples(split)


class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The plain data set of a script: open one picture, transform it, return it with its label.

    An item is asked for as (number, whether it is flipped): see `Draws`.
    """

    def __init__(self, examples: Examples, selection: Selection, transform: Callable[[Any], Tensor]) -> None:
        self.examples, self.selection, self.transform = examples, selection, transform

    def __len__(self) -> int:
        return len(self.selection)

    def __getitem__(self, item: tuple[int, bool]) -> tuple[Tensor, int]:
        i, flipped = item
        picture = Image.fromarray(self.examples.read(int(self.selection.index[i])))
        if flipped:
            picture = hflip(picture)
        return self.transform(picture), int(self.selection.labels[i])


class Draws(torch.utils.data.Sampler[tuple[int, bool]]):
    """The order and the flips of each epoch, the very ones that the harness draws for the same cell.

    It stands where a script says `shuffle=True` and RandomHorizontalFlip, and costs the same. With the same draws two
    right implementations reach nearly the same accuracy, so that a wrong one is found out by a few seeds.
    """

    def __init__(self, count: int, seed: int, views: int) -> None:
        self.count, self.views = count, views
        self.generator = torch.Generator().manual_seed(seed)
        torch.randint(2**62, (), generator=self.generator)  # the harness's first draw is for dropout

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, bool]]:
        order = torch.randperm(self.count, generator=self.generator)
        flipped = torch.randint(self.views, (self.count,), generator=self.generator)
        return iter([(int(i), bool(f)) for i, f in zip(order, flipped, strict=True)])


@dataclass
class Task:
    """One cell to be trained, on one device; `teacher` is the cell that it learns from, if it does.

    `setup_seconds` counts what building the network took.
    """

    cell: Cell
    device: torch.device
    teacher: Task | None = None
    setup_seconds: float = field(default=0.0, init=False)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        """Read `{"device", "cell", "teacher": cell or None}`."""
        device = torch.device(data["device"])
        teacher = cls(Cell.from_json(data["teacher"]), device) if data["teacher"] else None
        return cls(Cell.from_json(data["cell"]), device, teacher)

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe: epochs, batch size, rate, weight decay, label smoothing."""
        return self.cell.recipe

    def examples(self, split: str) -> Examples:
        """Return a split of the data set."""
        return examples(json.dumps(self.cell.plugin("dataset"), sort_keys=True), split)

    @cached_property
    def round(self) -> Round:
        """The labelled examples and the test examples, as the harness draws them."""
        labels = {split: self.examples(split).labels for split in ("train", "test")}
        classes = tuple(str(c) for c in range(int(labels["train"].max()) + 1))
        problem = Problem(labels, classes, self.cell.size, self.cell.seed, None)
        return next(iter(tasks.create(self.cell.plugin("task")).rounds(problem)))

    def network(self) -> Network:
        """Return the network with the cell's own first weights, what the strategy freezes frozen, on the device.

        Frozen means no gradient and eval mode, also after `train()`.
        """
        began = time.perf_counter()
        backbone = find(self.cell.plugin("backbone"))
        pretrained = self.cell.backbone["weights"] != "random"
        seed = self.cell.entropy("init")
        size = extent(datasets.create(self.cell.plugin("dataset")))
        network = backbone.build(len(self.round.classes), pretrained, seed, size)
        strategy = self.cell.strategy
        trained = {"feature_extract": 0, "partial_finetune": strategy.get("unfreeze")}.get(strategy["name"])
        network.freeze(0 if trained is None else len(network.stages) - trained)
        network.to(self.device)
        self.setup_seconds += time.perf_counter() - began
        return network

    def draws(self) -> Draws:
        """Return the order and the flips of the training examples, epoch after epoch."""
        return Draws(len(self.round.train), self.cell.entropy("order"), 2 if self.recipe["augment"]["flip"] else 1)

    def pictures(self, split: str, network: Network) -> Pictures:
        """Return the training or the test examples with the usual PIL transforms."""
        inputs, edge = network.inputs, self.cell.dataset["resolution"]
        steps = [
            transforms.Grayscale(3),
            transforms.Resize(edge, InterpolationMode(inputs.interpolation)),
            transforms.CenterCrop(edge),
            transforms.ToTensor(),
            transforms.Normalize(inputs.mean, inputs.std),
        ]
        return Pictures(self.examples(split), self._chosen(split), transforms.Compose(steps))

    def texts(self, split: str, network: Network) -> list[dict[str, Any]]:
        """Return the training or the test examples as a script's tokens: `input_ids` as long as they are, `labels`."""
        chosen, read = self._chosen(split), self.examples(split).read
        ids = network.inputs.tokenizer.encode([read(int(i)) for i in chosen.index], network.inputs.length)
        return [{"input_ids": row, "labels": int(label)} for row, label in zip(ids, chosen.labels, strict=True)]

    def _chosen(self, split: str) -> Selection:
        return self.round.train if split == "train" else self.round.test

    def groups(self, network: nn.Module) -> list[dict[str, Any]]:
        """Return the parameters that learn: weight decay on weights, none on biases and norms."""
        learning = [p for p in network.parameters() if p.requires_grad]
        return [
            {"params": [p for p in learning if p.dim() > 1], "weight_decay": self.recipe["weight_decay"]},
            {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
        ]

    def loss(self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None) -> Tensor:
        """Return the loss of a batch: cross-entropy, mixed with the teacher's softened outputs when there are any."""
        hard = cross_entropy(logits, labels, label_smoothing=self.recipe["label_smoothing"])
        if teacher_logits is None:
            return hard
        t, alpha = self.cell.strategy["temperature"], self.cell.strategy["alpha"]
        student, teacher = log_softmax(logits / t, dim=1), log_softmax(teacher_logits / t, dim=1)
        return alpha * hard + (1 - alpha) * t**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)

    def accuracy(self, predict: nn.Module | Callable[[Tensor], Tensor], network: Network) -> float:
        """Return the accuracy on the test examples; this is on no clock."""
        if isinstance(predict, nn.Module):
            predict.eval()
        correct = 0
        with torch.inference_mode():
            for x, y in self._scored(network):
                correct += int((predict(network.placed(x)).argmax(1).cpu() == y).sum())
        return correct / len(self.round.test)

    def _scored(self, network: Network) -> Iterable[tuple[Flow, Tensor]]:
        """Return the test examples in batches, as they are."""
        if isinstance(network.inputs, TextInputs):
            return map(padded, batched(self.texts("test", network), 64))
        pictures = self.pictures("test", network)
        return torch.utils.data.DataLoader(pictures, batch_size=64, sampler=in_order(pictures))


def padded(rows: Sequence[Mapping[str, Any]]) -> tuple[Tokens, Tensor]:
    """Return texts as a batch, and their labels: int64 [batch, length of the longest] and [batch]."""
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    mask = pad_sequence([torch.ones_like(row, dtype=torch.bool) for row in ids], batch_first=True)
    return Tokens(pad_sequence(ids, batch_first=True), mask), torch.tensor([row["labels"] for row in rows])


def batched(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut what there is into batches."""
    return (rows[begin : begin + size] for begin in range(0, len(rows), size))


def in_order(pictures: Pictures) -> list[tuple[int, bool]]:
    """Return what asks for every picture once, as it is."""
    return [(i, False) for i in range(len(pictures))]


def one_cycle(step: int, steps: int) -> float:
    """Return the learning rate of a step as a part of its peak: a cosine up for 30 % of the steps, a cosine down."""
    done = (step + 0.5) / steps
    start, end, part = (1 / 25, 1.0, done / 0.3) if done < 0.3 else (1.0, 1e-5, (done - 0.3) / 0.7)
    return end + (start - end) * 0.5 * (1 + cos(pi * part))


def renormalised(x: Tensor, seen: Network, wanted: Network) -> Tensor:
    """Return pictures normalised for one network as another wants them."""
    if (seen.inputs.mean, seen.inputs.std) == (wanted.inputs.mean, wanted.inputs.std):
        return x
    have_mean, have_std, mean, std = (
        torch.tensor(v, device=x.device)[:, None, None]
        for v in (seen.inputs.mean, seen.inputs.std, wanted.inputs.mean, wanted.inputs.std)
    )
    return (x * have_std + have_mean - mean) / std


def seed_everything(task: Task) -> None:
    """Seed the global generators, as a script does in its first lines."""
    torch.manual_seed(task.cell.seed)
    np.random.seed(task.cell.seed)  # noqa: NPY002 - what scripts do

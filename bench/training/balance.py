"""What is done about classes of unequal size: what an example counts, and how often it is drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.recipe import CLASS_WEIGHTS, Recipe
from bench.registry import choice


def class_weights(recipe: Recipe, labels: Tensor, classes: int) -> Tensor | None:
    """Return what an example of each class counts, float [classes] on the labels' device, or None where all are alike.

    `labels` are those of the training examples, int64 [n]. The mean over these is 1, so that the loss of a batch is the
    mean of weight times cross-entropy over its examples: whatever else is in a batch, and into however many pieces it
    is cut, an example counts the same. (torch's own weighted mean divides by the weights in the batch.) A class without
    examples counts 0.
    """
    if recipe.class_weights == "none":
        return None
    kind = choice("class_weights", recipe.class_weights, CLASS_WEIGHTS)
    counts = torch.bincount(labels, minlength=classes).tolist()
    raw = torch.tensor([kind.of(count) if count else 0.0 for count in counts], dtype=torch.float64)
    share = torch.tensor(counts, dtype=torch.float64) / len(labels)
    return (raw / (share @ raw)).float().to(labels.device)


class Draws:
    """The order of examples in each epoch: `labels`, int64 [n], are read once."""

    def __init__(self, sampling: str, labels: Tensor) -> None:
        self._count = len(labels)
        self._members: list[Tensor] = []
        if sampling == "balanced":
            here = labels.cpu()
            self._members = [torch.nonzero(here == c).flatten() for c in here.unique()]

    def order(self, generator: torch.Generator) -> Tensor:
        """Return the examples of an epoch in their order, int64 [n] on the CPU.

        Each once, or balanced: each class n / classes times, up to one that are drawn to be more, and within a class
        each example as often as the others, up to one.
        """
        if not self._members:
            return torch.randperm(self._count, generator=generator)
        each, over = divmod(self._count, len(self._members))
        more = set(torch.randperm(len(self._members), generator=generator)[:over].tolist())
        drawn = []
        for number, members in enumerate(self._members):
            times, rest = divmod(each + (number in more), len(members))
            some = torch.randperm(len(members), generator=generator)[:rest]
            drawn += [members.repeat(times), members[some]]
        return torch.cat(drawn)[torch.randperm(self._count, generator=generator)]

"""The head that a recipe asks for, in the place of the one that a backbone's library makes. Device half."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.functional import batch_norm

from bench.backbones import find
from bench.backbones._build import seeded
from bench.backbones._network import Network
from bench.cell import Cell
from bench.recipe import Head, Recipe
from bench.registry import build


class Norm(nn.BatchNorm1d):
    """BatchNorm that normalises one example, which has no variance, by the running statistics, in training too."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1 or not self.training:
            return super().forward(x)
        return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def network_of(cell: Cell, classes: int, pretrained: bool, size: int | None) -> Network:
    """Return the network of a cell before anything is learnt: its backbone with the head of its recipe, on the CPU.

    Raises WeightsError and Skip as `Backbone.build` does.
    """
    seed = cell.entropy("init")
    network = find(cell.plugin("backbone")).build(classes, pretrained, seed, size)
    return with_head(network, build(Recipe, cell.recipe, "the recipe").head, classes, seed)


def with_head(network: Network, head: Head, classes: int, seed: int) -> Network:
    """Give a network a recipe's head, drawn from `seed`, and return it: the library's own head where nothing is said.

    Dropout of features stays outside of the head, where the library has its own, so that a linear head is linear.
    """
    if head == Head():
        return network
    network.before_head = nn.Identity()
    if head.hidden is None:
        network.before_head = nn.Dropout(head.dropout or 0.0)
        return network
    norm = {"none": [], "batch": [("norm", Norm(head.hidden))]}[head.norm]
    dropout = [("dropout", nn.Dropout(head.dropout))] if head.dropout else []
    with seeded(seed, "head"):
        first, last = nn.Linear(network.dim, head.hidden), nn.Linear(head.hidden, classes)
    layers: list[tuple[str, nn.Module]] = [("hidden", first), ("relu", nn.ReLU()), *norm, *dropout, ("output", last)]
    network.replace_head(nn.Sequential(OrderedDict(layers)))
    return network


def ends_of(head: nn.Module) -> tuple[nn.Linear, nn.Linear] | None:
    """Return the first and the last layer of a head: the same one where it is linear; None for any other head."""
    if isinstance(head, nn.Linear):
        return head, head
    if isinstance(head, nn.Sequential) and isinstance(head[0], nn.Linear) and isinstance(head[-1], nn.Linear):
        return head[0], head[-1]
    return None

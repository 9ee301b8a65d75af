"""Parameters, FLOPs and stored bytes of a trained cell, from what the learner really did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from torch import Tensor, nn

from bench.backbones._network import Network
from bench.measure.flops import count_macs
from bench.record import Cost

if TYPE_CHECKING:
    from bench.training.learner import Learner


def cost_of(learner: Learner, parent_flops: Iterable[int | None], peak_memory_bytes: int | None) -> Cost:
    """Return the cost of a learner's network and of its whole training.

    FLOPs are 2 x MACs. A training step counts its forward pass, and twice the forward pass of the part that gradients
    reach for the backward one. `flops_train` adds one pass of the frozen prefix over each view of this cell's own
    examples, the parents' forward passes over them, and the parents' own training; it is None when a parent's is.
    Raises Uncountable when an operation of the network has no formula.
    """
    network = learner.network
    counted = cache(macs_from)
    macs = counted(network)
    total = macs(0)
    flops = 0
    for work in learner.work:
        flops += 2 * work.examples * macs(work.forward)
        if work.backward is not None:
            flops += 4 * work.examples * macs(work.backward)
    for forward, _, examples, views in learner.used:
        passed = counted(forward.network)
        whole = passed(0)
        flops += 2 * examples * views * (whole if forward.cut is None else whole - passed(forward.cut))
    trained: int | None = flops
    for of_parent in parent_flops:
        trained = None if trained is None or of_parent is None else trained + of_parent
    sizes = sizes_of(learner, peak_memory_bytes)
    return replace(sizes, macs_forward=total, flops_forward=2 * total, flops_train=trained)


def sizes_of(learner: Learner, peak_memory_bytes: int | None) -> Cost:
    """Return the part of the cost that is parameters and bytes, without FLOPs."""
    model = learner.network.model
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    return Cost(
        params_total=sum(sizes.values()),
        params_trained=sum(sizes[name] for name in learner.trained),
        peak_memory_bytes=peak_memory_bytes,
        weights_bytes=sum(t.numel() * t.element_size() for t in model.state_dict().values()),
    )


def macs_from(network: Network) -> Callable[[int], int]:
    """Return a function that gives the MACs for one picture from stage k on, the head included."""
    edge = network.inputs.resolution
    shape: tuple[int, ...] = (3, edge, edge)

    @cache
    def macs(start: int) -> int:
        if start == 0:
            return count_macs(network.model, shape)
        return macs(0) - count_macs(_Prefix(network, start), shape)

    return macs


class _Prefix(nn.Module):
    """The first stages of a network, as a module whose work can be counted."""

    def __init__(self, network: Network, count: int) -> None:
        super().__init__()
        self.network, self.count = network, count

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the prefix."""
        return self.network.prefix(x, self.count)

"""Parameters, FLOPs and stored bytes of a trained cell, from what the learner really did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    examples, the parents' forward passes over them, and the parents' own training.
    """
    network = learner.network
    macs = macs_from(network)
    total = macs(0)
    flops = 0
    for work in learner.work:
        flops += 2 * work.examples * macs(work.forward)
        if work.backward is not None:
            flops += 4 * work.examples * macs(work.backward)
    for forward, _, examples, views in learner.used:
        passed = macs_from(forward.network)
        whole = passed(0)
        flops += 2 * examples * views * (whole if forward.cut is None else whole - passed(forward.cut))
    known = [f for f in parent_flops if f is not None]
    trained = {name for phase in learner.phases for name in _trained(network, phase.unfrozen)}
    sizes = {name: p.numel() for name, p in network.model.named_parameters()}
    return Cost(
        params_total=sum(sizes.values()),
        params_trained=sum(sizes[name] for name in trained),
        macs_forward=total,
        flops_forward=2 * total,
        flops_train=flops + sum(known),
        peak_memory_bytes=peak_memory_bytes,
        weights_bytes=sum(t.numel() * t.element_size() for t in network.model.state_dict().values()),
    )


def _trained(network: Network, unfrozen: int | None) -> set[str]:
    """Return the names of the parameters that a phase trains."""
    depth = len(network.stages)
    first = 0 if unfrozen is None else max(depth - unfrozen, 0)
    stages = [named for i in range(first, depth) for named in network.stage_parameters(i)]
    return {name for name, _ in [*stages, *network.head_parameters()]}


def macs_from(network: Network) -> Callable[[int], int]:
    """Return a function that gives the MACs for one picture from stage k on, the head included."""
    edge = network.inputs.resolution
    shape: tuple[int, ...] = (3, edge, edge)

    @cache
    def macs(start: int) -> int:
        if start == 0:
            return count_macs(network, shape)
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

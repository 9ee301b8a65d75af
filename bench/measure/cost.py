"""Parameters, FLOPs and stored bytes of a trained cell, from what the learner really did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from bench.backbones._inputs import Flow
from bench.backbones._network import Network
from bench.measure.flops import Operation, operations
from bench.record import Cost

if TYPE_CHECKING:
    from bench.training.learner import Learner

Stages = tuple[tuple[Operation, ...], ...]
# Counts a network at a size of its examples, or at the largest.
Counted = Callable[[Network, int | None], Stages]


def cost_of(
    learner: Learner, parent_flops: Iterable[int | None], peak_memory_bytes: int | None, counted: Counted
) -> Cost:
    """Return the cost of a learner's network and of its whole training.

    FLOPs are 2 x MACs. A training step counts its forward pass, and twice the forward pass of the part that gradients
    reach for the backward one. `flops_train` adds the passes of the frozen prefix over this cell's own examples, one
    for each view where they are kept, the parents' forward passes over the same, and the parents' own training; it is
    None when a parent's is.
    `counted` is `counted_for` this learner. Raises Uncountable when an operation of the network has no formula.
    """
    total = _macs(counted(learner.network, None))
    flops = 0
    for work in learner.spent.work:
        for size, examples in work.sizes:
            stages = counted(learner.network, size)
            flops += 2 * examples * _macs(stages[work.forward :])
            if work.backward is not None:
                flops += 4 * examples * _macs(stages[work.backward :])
    for forward, size, examples in learner.spent.passes():
        flops += 2 * examples * _macs(counted(forward.network, size)[: forward.cut])
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
        params_trained=sum(sizes[name] for name in learner.trained) + learner.params_beside,
        peak_memory_bytes=peak_memory_bytes,
        weights_bytes=sum(t.numel() * t.element_size() for t in model.state_dict().values()),
    )


def trained_shares(learner: Learner) -> dict[str, float]:
    """Return which part of each stage's parameters learnt, an adapter by its own; stages without any are left out."""
    network, shares = learner.network, {}
    for i, stage in enumerate(network.stages):
        sizes = {name: p.numel() for name, p in network.stage_parameters(i) if name not in network.fixed}
        learnt = sum(n if name in learner.trained else learner.adapted.get(name, 0) for name, n in sizes.items())
        if sizes:
            shares[stage.name] = round(learnt / sum(sizes.values()), 6)
    return shares


def counted_for(learner: Learner) -> Counted:
    """Return a function that gives the operations of a network by stage, and counts each network once a size."""
    trained = frozenset(learner.trained)
    return cache(lambda network, size: operations_of(network, trained, size))


def operations_of(network: Network, trained: Collection[str] = (), size: int | None = None) -> Stages:
    """Return the products for one example of each stage and, last, of the head; `trained` names what learns.

    The example is as large as the network's inputs say, or of another size.
    """
    stages = network.stages
    learns = [parameter for name, parameter in network.model.named_parameters() if name in trained]
    parts: list[Callable[[Any], Flow]] = [
        *(stage.run for stage in stages),
        partial(network.suffix, start=len(stages)),
    ]
    return operations(network, parts, network.placed(network.inputs.blank(1, size)), learns)


def _macs(stages: Stages) -> int:
    return sum(operation.macs for stage in stages for operation in stage)

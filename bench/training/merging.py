"""Putting merged weights into a network, and not merged statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bench.backbones._network import Network
from bench.errors import Skip
from bench.strategies import Strategy

State = Mapping[str, Tensor]


def merge(network: Network, strategy: Strategy, path: Sequence[State], parents: Mapping[str, State]) -> bool:
    """Put the weights that a strategy merges from states of the model into it.

    Return whether its statistics belong to them already: so they do where the result is one of the states, which is
    then put back whole, and where all states have the same. Raises Skip for a parent that has other weights than the
    network.
    """
    shapes = {name: parameter.shape for name, parameter in network.model.named_parameters()}
    for role, state in parents.items():
        if any(name not in state or state[name].shape != shape for name, shape in shapes.items()):
            raise Skip(f"the weights of the {role} are not those of this backbone")
    states = [*path, *parents.values()]
    path_of, parents_of = [_picked(s, shapes) for s in path], {r: _picked(s, shapes) for r, s in parents.items()}
    found = strategy.merge(path_of, parents_of)
    for state in reversed(states):
        if all(torch.equal(found[name], state[name]) for name in shapes):
            network.load(state)
            return True
    with torch.no_grad():
        for name, parameter in network.model.named_parameters():
            parameter.copy_(found[name])
    kept = states[0].keys() - shapes.keys()
    return all(torch.equal(state[name], states[0][name]) for state in states[1:] for name in kept)


def _picked(state: State, names: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    return {name: state[name] for name in names}

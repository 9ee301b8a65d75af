"""Adapters: what is added to a layer's weight and learns in its place, until it becomes a part of it.

An adapter is a parametrisation of the weight, so that it counts wherever the weight is read, however a layer uses it:
with padding of its own, in an attention's fused call, by a bare product. Outside of a phase that adapts, the model is
the library's own.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.backbones._network import Network
from bench.errors import Skip
from bench.strategies import Phase

_ORIGINAL, _ADAPTED = ".parametrizations.weight.original", ".parametrizations.weight."


def attach(network: Network, phase: Phase) -> dict[str, nn.Module]:
    """Give the layers of a phase's stages the adapters that it makes for them; return these by the weights' names.

    Raises Skip when it makes none.
    """
    if phase.adapt is None:
        return {}
    kept = {id(m) for i in network.still for module in network.stages[i].modules for m in module.modules()}
    owned = {id(m) for stage in network.stages for module in stage.modules for m in module.modules()} - kept
    attached: dict[str, nn.Module] = {}
    for path, module in list(network.model.named_modules()):
        if id(module) not in owned or not isinstance(module._parameters.get("weight"), nn.Parameter):
            continue
        adapter = phase.adapt(module)
        if adapter is not None:
            # Whatever it holds learns; whether it may be used is not tried, since its own form says so.
            parametrize.register_parametrization(module, "weight", adapter, unsafe=True)
            attached[f"{path}.weight"] = adapter.to(next(network.parameters()).device)
    if not attached:
        raise Skip("this backbone has none of the layers that would be adapted")
    return attached


def detach(network: Network) -> None:
    """Make every adapter a part of the weight that it was added to, and take it away."""
    adapted = [module for module in network.model.modules() if parametrize.is_parametrized(module, "weight")]
    if not adapted:
        return
    state = merged_state(network.model)
    for module in adapted:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
    network.load(state)


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a model's state as it would be without adapters, each a part of its weight."""
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name.endswith(_ORIGINAL):
            path = name.removesuffix(_ORIGINAL)
            state[f"{path}.weight"] = model.get_submodule(path).weight.detach().clone()  # type: ignore[operator]
        elif _ADAPTED not in name:
            state[name] = tensor.clone()
    return state

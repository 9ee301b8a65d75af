"""What every source of models needs to build a network and to count its facts. Device half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bench.backbones._checkpoint import first_line
from bench.backbones._network import Inputs, Network
from bench.backbones._stages import split
from bench.cell import entropy
from bench.errors import Skip
from bench.measure.flops import Uncountable, count_macs


@contextmanager
def seeded(seed: int, part: str) -> Iterator[None]:
    """Draw from `seed` for one part of a model ("trunk", "head"), and leave the global generators as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(entropy(seed, part))
        yield


def network(model: nn.Module, inputs: Inputs, resolution: int | None = None, head_path: str | None = None) -> Network:
    """Return a model that has its new head already as a Network, for pictures of `resolution` pixels or its own.

    Raises Skip when it has no linear head on pooled features, or takes no pictures of that size.
    """
    if resolution in (None, inputs.resolution):
        return _network(model, inputs, head_path)
    assert resolution is not None
    try:
        built = _network(model, replace(inputs, resolution=resolution), head_path)
        _try(built)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise Skip(f"{_name(model)} takes no pictures of {resolution} pixels: {first_line(error)}") from None
    return built


def _network(model: nn.Module, inputs: Inputs, head_path: str | None) -> Network:
    layout = split(model, inputs.resolution, head_path)
    head = model.get_submodule(layout.head_path)
    if not isinstance(head, nn.Linear):
        raise Skip(f"{_name(model)} has no linear head on pooled features")
    return Network(model, layout.stages, layout.head_path, head.in_features, inputs, layout.before_head)


def _name(model: nn.Module) -> str:
    return type(model).__name__


def _try(built: Network) -> None:
    """Run one picture through a network in eval mode, where its numbers don't matter."""
    edge, parameter = built.inputs.resolution, next(built.model.parameters())
    built.eval()
    with torch.no_grad():
        built(torch.zeros(1, 3, edge, edge).to(parameter))
    built.train()


class _Hollow(TorchFunctionMode):
    """Has modules make their tensors on the meta device, while whatever is computed on the way has values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def hollow(make: Callable[[], Any]) -> Any:
    """Return a model on the meta device: names and shapes without numbers, for the price of neither."""
    try:
        with torch.device("meta"):
            return make()
    except (NotImplementedError, RuntimeError):
        # Some architectures compute their widths with tensors (RegNet).
        with _Hollow():
            model = make()
        return model.to("meta")


def count(model: nn.Module, real: Callable[[], nn.Module], resolution: int) -> tuple[int, int | None]:
    """Return a model's parameters and MACs, the latter None when they can't be counted.

    `model` is on the meta device; `real` makes it anew for the few that compute with values while they run.
    """
    params = sum(parameter.numel() for parameter in model.parameters())
    shape = (3, resolution, resolution)
    try:
        return params, count_macs(model, shape)
    except Uncountable:
        return params, None
    except (RuntimeError, NotImplementedError):
        pass
    try:
        return params, count_macs(real(), shape)
    except (Uncountable, RuntimeError):
        return params, None

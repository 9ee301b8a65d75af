"""What every source of models needs to build a network and to count its facts. Device half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bench.backbones._checkpoint import State, first_line, source_head
from bench.backbones._inputs import PictureInputs
from bench.backbones._network import Network
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


def network(
    model: nn.Module,
    inputs: PictureInputs,
    resolution: int | None = None,
    head_path: str | None = None,
    pretrained: State | None = None,
) -> Network:
    """Return a model that has its new head already as a Network, for pictures of `resolution` pixels or its own.

    `pretrained` is the state dict that its weights are from, which may have the classifier that was there before.
    Raises Skip when it has no linear head on pooled features, or takes no pictures of that size.
    """
    if resolution in (None, inputs.resolution):
        return _network(model, inputs, head_path, pretrained)
    assert resolution is not None
    with fitting(type(model).__name__, resolution):
        built = _network(model, replace(inputs, resolution=resolution), head_path, pretrained)
        _try(built)
    return built


@contextmanager
def fitting(model: str, resolution: int | None) -> Iterator[None]:
    """Turn what a library says of pictures of another size than a model's own into a Skip."""
    try:
        yield
    except (AssertionError, RuntimeError, ValueError) as error:
        if resolution is None:
            raise
        raise Skip(f"{model} takes no pictures of {resolution} pixels: {first_line(error)}") from None


def _network(model: nn.Module, inputs: PictureInputs, head_path: str | None, pretrained: State | None) -> Network:
    layout = split(model, inputs.resolution, head_path)
    head = model.get_submodule(layout.head_path)
    if not isinstance(head, nn.Linear):
        raise Skip(f"{type(model).__name__} has no linear head on pooled features")
    source = source_head(pretrained or {}, layout.head_path, head.in_features)
    return Network(
        model, layout.stages, layout.head_path, head.in_features, inputs, layout.before_head, source, layout.places
    )


def _try(built: Network) -> None:
    """Run one picture through a network in eval mode, where its numbers don't matter."""
    built.eval()
    with torch.no_grad():
        built(built.placed(built.inputs.blank(1)))
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
    except RuntimeError:
        # Some architectures compute their widths with tensors (RegNet).
        with _Hollow():
            model = make()
        return model.to("meta")


def count(model: nn.Module, resolution: int) -> tuple[int, int | None]:
    """Return the parameters and the MACs of a hollow model, the latter None when they can't be counted."""
    params = sum(parameter.numel() for parameter in model.parameters())
    try:
        return params, count_macs(model, (3, resolution, resolution))
    except (Uncountable, RuntimeError):
        return params, None

"""What every source of models needs to build a network and to state its facts. Device half."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import torch
from torch import nn

from bench.backbones._network import Inputs, Network
from bench.backbones._stages import split
from bench.cell import entropy
from bench.measure.flops import Uncountable, count_macs


@contextmanager
def seeded(seed: int, part: str) -> Iterator[None]:
    """Draw from `seed` for one part of a model ("trunk", "head"), and leave the global generators as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(entropy(seed, part))
        yield


def network(model: nn.Module, inputs: Inputs, head_path: str | None = None) -> Network:
    """Return a model that has its new head already as a Network. Raises Skip when it has no head on pooled features."""
    layout = split(model, inputs.resolution, head_path)
    head = model.get_submodule(layout.head_path)
    assert isinstance(head, nn.Linear)
    return Network(model, layout.stages, layout.head_path, head.in_features, inputs, layout.before_head)


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


def unreachable(url: str) -> str | None:
    """Return why the host of `url` can't be reached within five seconds, or None when it answers at all."""
    parts = urlsplit(url)
    request = urllib.request.Request(f"{parts.scheme}://{parts.netloc}/", method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError:
        return None
    except OSError:
        return f"no connection to {parts.netloc}"
    return None

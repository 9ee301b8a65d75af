"""Multiply-accumulates of a forward pass, counted from the operations that really run."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry


class Uncountable(ValueError):
    """A count that would be silently wrong; the message names the operation that has no formula."""


# Operations that multiply and add but have no formula in torch's counter would be left out of the sum in silence.
_PRODUCTS = re.compile(
    r"attention|transformer|(^|_)mm$|matmul|(^|_)mv$|^addr$|^dot$|^vdot$|conv|linear|lstm|gru|rnn|cdist|einsum|fft"
)


class _Watch(TorchDispatchMode):
    """Notes the operations that the counter has no formula for."""

    def __init__(self) -> None:
        super().__init__()
        self.uncounted: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        name = packet.__name__
        foreign = func.namespace not in ("aten", "prim", "prims")
        if packet not in flop_registry and (foreign or _PRODUCTS.search(name)):
            self.uncounted.add(f"{func.namespace}.{name}")
        return func(*args, **(kwargs or {}))


def count_macs(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the multiply-accumulates of one forward pass for one input of `shape` (without the batch), in eval mode.

    Counts matrix products, convolutions and attention, as published counts do. The model may be on the meta device,
    where nothing is computed. Raises Uncountable when an operation would be missed.
    """
    parameter = next(model.parameters())
    x = torch.zeros((1, *shape), device=parameter.device, dtype=parameter.dtype)
    modes = [(module, module.training) for module in model.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    watch, counter = _Watch(), FlopCounterMode(display=False)
    try:
        for module, _ in modes:
            module.training = False
        # The fused attention paths hide their products from the counter.
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), watch, counter:
            model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, training in modes:
            module.training = training
    if watch.uncounted:
        raise Uncountable(f"no formula for {', '.join(sorted(watch.uncounted))}")
    return int(counter.get_total_flops()) // 2

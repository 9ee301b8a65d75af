"""Multiply-accumulates of a forward pass, counted from the operations that really run."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
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
        super().__init__()  # type: ignore[no-untyped-call]
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
    x = _input(model, shape)
    watch, counter = _Watch(), FlopCounterMode(display=False)
    # The fused attention paths hide their products from the counter.
    with _plain_attention(), _evaluating(model), torch.no_grad(), watch, counter:
        model(x)
    if watch.uncounted:
        raise Uncountable(f"no formula for {', '.join(sorted(watch.uncounted))}")
    return int(counter.get_total_flops()) // 2


def macs_by_fvcore(model: nn.Module, shape: tuple[int, ...]) -> int | None:
    """Return what fvcore counts for the same pass, or None when it cannot trace the model.

    It is there to check `count_macs`. fvcore counts less where an operation has no handler (attention products of some
    models), and adds norms and pooling, which published counts leave out; those are taken off here.
    """
    from fvcore.nn import FlopCountAnalysis

    try:
        with _plain_attention(), _evaluating(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counted = FlopCountAnalysis(model, _input(model, shape))
            counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            counted.tracer_warnings("none")
            by_operator = counted.by_operator()
    except (RuntimeError, TypeError, NotImplementedError):
        return None
    return int(sum(by_operator[name] for name in _FVCORE_PRODUCTS if name in by_operator))


_FVCORE_PRODUCTS = ("conv", "linear", "matmul", "addmm", "bmm", "einsum", "mm", "baddbmm")


def _input(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    parameter = next(model.parameters())
    return torch.zeros((1, *shape), device=parameter.device, dtype=parameter.dtype)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Have attention run as the matrix products that it is."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in eval mode, and each back into its own mode."""
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training

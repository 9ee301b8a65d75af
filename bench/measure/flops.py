"""Multiply-accumulates of a forward pass, counted from the operations that really run."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Uncountable(ValueError):
    """A count that would be silently wrong; the message names the operation that has no formula."""


# Operations that multiply and add but have no formula would be left out of the sum in silence.
_PRODUCTS = re.compile(
    r"^(?!_?upsample).*(attention|transformer|mm$|mv$|matmul|addr$|dot$|conv|linear|lstm|gru|rnn|cdist|einsum|fft)"
)


class _Counter(TorchDispatchMode):
    """Adds up FLOPs by torch's own formulas, and notes the operations that have none.

    torch's FlopCounterMode uses the same formulas, but it also tracks modules, and fails on those that are called with
    a bare parameter where no gradient is recorded (CaiT).
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.uncounted: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        name = packet.__name__
        out = func(*args, **kwargs)
        if packet in flop_registry:
            self.flops += int(flop_registry[packet](*args, **kwargs, out_val=out))
        elif func.namespace not in ("aten", "prim", "prims") or _PRODUCTS.search(name):
            self.uncounted.add(f"{func.namespace}.{name}")
        return out


def count_macs(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the multiply-accumulates of one forward pass for one input of `shape` (without the batch), in eval mode.

    Counts matrix products, convolutions and attention, as published counts do. The model may be on the meta device,
    where nothing is computed. Raises Uncountable when an operation would be missed.
    """
    counter = _Counter()
    # The fused attention paths hide their products from the counter.
    with _plain_attention(), _evaluating(model), torch.no_grad(), counter:
        model(_input(model, shape))
    if counter.uncounted:
        raise Uncountable(f"no formula for {', '.join(sorted(counter.uncounted))}")
    return counter.flops // 2


def macs_by_fvcore(model: nn.Module, shape: tuple[int, ...]) -> int | None:
    """Return what fvcore counts for the same pass, or None when it cannot trace the model.

    It is there to check `count_macs`: the two agree on convolutional networks and on transformers. Of what fvcore
    counts, norms and pooling are left out, as published counts do; the products inside of attention, which it knows
    only when they are written out (it finds 14 % less in a ViT-Ti/16), are added.
    """
    try:
        with _plain_attention(), _evaluating(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from fvcore.nn import FlopCountAnalysis

            counted = FlopCountAnalysis(model, _input(model, shape))
            counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            counted.tracer_warnings("none").set_op_handle(f"aten::{_ATTENTION}", _attention_macs)
            by_operator = counted.by_operator()
    except (RuntimeError, TypeError):
        return None
    return int(sum(by_operator[name] for name in _FVCORE_PRODUCTS if name in by_operator))


_ATTENTION = "scaled_dot_product_attention"
_FVCORE_PRODUCTS = ("conv", "linear", "matmul", "addmm", "bmm", "einsum", "mm", "baddbmm", _ATTENTION)


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Return the products of queries [..., L, E] with keys [..., S, E], and of weights [..., L, S] with values."""
    queries, keys, values = (value.type().sizes() for value in inputs[:3])
    pairs = prod(queries[:-1]) * keys[-2]
    return Counter({_ATTENTION: pairs * (queries[-1] + values[-1])})


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

"""Multiply-accumulates and elements moved in a forward pass, counted from the operations that really run."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from bench.backbones._inputs import Flow, Tokens, tensors


class Uncountable(ValueError):
    """A count that would be silently wrong; the message names the operation that has no formula."""


# Operations that multiply and add but have no formula would be left out of the sum in silence.
_PRODUCTS = re.compile(
    r"^(?!_?upsample).*(attention|transformer|mm$|mv$|matmul|addr$|dot$|conv|linear|lstm|gru|rnn|cdist|einsum|fft)"
)


# Their first operand is added, not multiplied.
_ADDED = ("addmm", "baddbmm", "addmv", "addbmm")

# What a tensor depends on: the model's input, or a parameter that learns.
_INPUT, _LEARNT = "input", "learnt"


@dataclass(frozen=True)
class Operation:
    """One matrix product or convolution of a forward pass for one input.

    macs       multiply-accumulates as published counts have them, with those on the zeros of a padding
    needed     multiply-accumulates without those zeros
    moved      elements read and written that there are once for each input
    weights    elements read and written once a batch: what does not depend on the input
    gradients  the products of its backward pass: (where no earlier stage learns, where one does)
    """

    macs: int
    needed: int
    moved: int
    weights: int
    gradients: tuple[int, int]


class _Counter(TorchDispatchMode):
    """Lists the products that run, by torch's own formulas, and notes the operations that have none.

    torch's FlopCounterMode uses the same formulas, but it also tracks modules, and fails on those that are called with
    a bare parameter where no gradient is recorded (CaiT).
    """

    def __init__(self, learns: Collection[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.uncounted: set[str] = set()
        # By storage, so that a view is what it is a view of. An address that is used again is set again.
        self._on: dict[int, frozenset[str]] = {_storage(t): frozenset({_LEARNT}) for t in learns}

    def enter(self, x: Flow) -> None:
        """Begin a stage that is fed with `x`."""
        self._on |= {_storage(t): frozenset({_INPUT}) for t in tensors(x)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        name = packet.__name__
        given = _tensors((args, kwargs))
        on = [self._on.get(_storage(t), frozenset()) for t in given]
        out = func(*args, **kwargs)
        made = _tensors(out)
        if packet in flop_registry:
            macs = int(flop_registry[packet](*args, **kwargs, out_val=out)) // 2
            taps = _taps(args, made[0]) if name == "convolution" else []
            first = 1 if name in _ADDED else 0
            self.operations.append(_operation(macs, taps, list(zip(given, on, strict=True)), first, made))
        elif func.namespace not in ("aten", "prim", "prims") or _PRODUCTS.search(name):
            self.uncounted.add(f"{func.namespace}.{name}")
        for tensor in made:
            self._on[_storage(tensor)] = frozenset().union(*on)
        return out


def _operation(
    macs: int,
    taps: Sequence[tuple[int, int, int]],
    given: Sequence[tuple[Tensor, frozenset[str]]],
    first: int,
    made: Sequence[Tensor],
) -> Operation:
    """Return an operation from its MACs, `_taps`, its operands with what they depend on, and its first factor."""
    sizes = [_elements(tensor) for tensor, _ in given]
    # A convolution with a stride longer than its kernel passes by a part of its input.
    sizes[0] = sizes[0] * prod(min(n, inside) for n, inside, _ in taps) // prod(n for n, _, _ in taps)
    moved = sum(size for size, (_, on) in zip(sizes, given, strict=True) if _INPUT in on)
    weights, written = sum(sizes) - moved, sum(_elements(tensor) for tensor in made)
    moved, weights = (moved + written, weights) if moved else (0, weights + written)
    needed = macs * prod(inside for _, inside, _ in taps) // prod(padded for _, _, padded in taps)
    factors = [on for _, on in given[first : first + 2]]
    gradients = sum(_LEARNT in on for on in factors), sum(bool(on) for on in factors)
    return Operation(macs, needed, moved, weights, gradients)


def _taps(args: Sequence[Any], out: Tensor) -> list[tuple[int, int, int]]:
    """Return, for each dimension of a convolution's picture, (length, products inside of it, products with padding)."""
    x, weight, _, stride, padding, dilation, transposed = args[:7]
    if transposed:
        return []
    found = []
    for i, (n, k, made) in enumerate(zip(x.shape[2:], weight.shape[2:], out.shape[2:], strict=True)):
        step, before, apart = (v[i] if len(v) > 1 else v[0] for v in (stride, padding, dilation))
        inside = 0
        for j in range(k):
            shift = before - j * apart  # output o reads position o * step - shift
            inside += max(0, min(made - 1, (n - 1 + shift) // step) - max(0, -(-shift // step)) + 1)
        found.append((n, inside, made * k))
    return found


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _elements(tensor: Tensor) -> int:
    """Return how many elements a tensor really has: one that was expanded is read once."""
    return min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())


def count_macs(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the multiply-accumulates of one forward pass for one input of `shape` (without the batch), in eval mode.

    Counts matrix products, convolutions and attention, as published counts do. The model may be on the meta device,
    where nothing is computed. Raises Uncountable when an operation would be missed.
    """
    return sum(operation.macs for operation in chain(*operations(model, [model], shape)))


def operations(
    model: nn.Module,
    stages: Sequence[Callable[[Any], Flow]],
    given: Flow | tuple[int, ...],
    learns: Collection[Tensor] = (),
) -> tuple[tuple[Operation, ...], ...]:
    """Return the products of each stage of a model in one forward pass for one input, in eval mode.

    The input is `given`, a batch of one where the model is, or the shape of a picture. The stages are run one after the
    other; `learns` are the parameters that training changes. Raises Uncountable when an operation would be missed.
    """
    x = given if isinstance(given, Tensor | Tokens) else _input(model, given)
    counter = _Counter(learns)
    ends = [0]
    # The fused attention paths hide their products from the counter.
    with _plain_attention(), _evaluating(model), torch.no_grad():
        for stage in stages:
            counter.enter(x)
            with counter:
                x = stage(x)
            ends.append(len(counter.operations))
    if counter.uncounted:
        raise Uncountable(f"no formula for {', '.join(sorted(counter.uncounted))}")
    return tuple(tuple(counter.operations[begin:end]) for begin, end in pairwise(ends))


def macs_by_fvcore(model: nn.Module, given: Flow | tuple[int, ...]) -> int | None:
    """Return what fvcore counts for the pass of one input, or None when it cannot trace the model.

    It is there to check `count_macs`: the two agree on convolutional networks and on transformers. Of what fvcore
    counts, norms and pooling are left out, as published counts do; the products inside of attention, which it knows
    only when they are written out (it finds 14 % less in a ViT-Ti/16), are added.
    """
    try:
        with _plain_attention(), _evaluating(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from fvcore.nn import FlopCountAnalysis

            x = given if isinstance(given, Tensor | Tokens) else _input(model, given)
            counted = FlopCountAnalysis(model, tensors(x))
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

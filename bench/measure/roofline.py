"""How near a training came to the limit of its machine: the floor of its seconds beside those that were measured.

The roofline model (Williams, Waterman and Patterson, 2009): an operation takes at least FLOPs / peak, and at least
bytes / bandwidth. Peak and bandwidth are measured on the machine itself, once, and kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.backbones._network import Network
from bench.measure.clock import now
from bench.measure.contention import Contention
from bench.measure.cost import Counted
from bench.measure.environment import environment
from bench.measure.flops import Operation
from bench.measure.kept import kept
from bench.training.passes import FORWARD_BATCH

if TYPE_CHECKING:
    from bench.training.learner import Learner

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Edges of the matrices, of which the faster counts, and bytes of the buffers that are copied: up to one far larger than
# the last cache.
PRODUCTS = {"cpu": (512, 1024), "cuda": (4096, 8192)}
COPIES = tuple(2**k for k in (18, 20, 22, 24))
LARGEST_COPY = 2**26
PER_SIZE_SECONDS = 0.03
TRIES = 3

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_measured: dict[str, Limits] = {}
_disturbed: Counter[str] = Counter()


class NoRoofline(ValueError):
    """There is no floor: nothing to count, or limits of the machine that are not known or were measured too low."""


@dataclass(frozen=True)
class Limits:
    """What a machine can do with the threads it has, measured.

    `peak_flops` is FLOPs a second by precision. `copies` are (bytes touched, bytes read and written a second) of
    buffers from small to far larger than the cache.
    """

    peak_flops: Mapping[str, float]
    copies: tuple[tuple[int, float], ...]

    @property
    def bandwidth_bytes(self) -> float:
        """Bytes a second to and from memory, beyond every cache."""
        return self.copies[-1][1]

    def bandwidth_for(self, touched_bytes: float) -> float:
        """Return the highest bandwidth of a copy that touched as much or more; less than all of them stays in a cache.

        Without it an operation whose tensors fit a cache would be faster than its floor: of 2 cores of a Zen 4 the
        cache gives 180 GB/s and the memory 30.
        """
        fitting = [rate for touched, rate in self.copies if touched <= touched_bytes]
        return max(rate for _, rate in self.copies[max(len(fitting) - 1, 0) :])


@dataclass(frozen=True)
class Roofline:
    """The floor of a training beside what it took.

    `compute_share` is the part of the floor that comes from operations bound by arithmetic, and `bound` what binds the
    larger part.
    """

    peak_flops: float
    bandwidth_bytes: float
    precision: str
    floor_seconds: float
    measured_seconds: float
    fraction: float
    bound: str
    compute_share: float


def roofline(learner: Learner, counted: Counted, limits: Limits, measured_seconds: float) -> Roofline:
    """Return the floor of what a learner did, beside what it took: its training and the feature passes it used.

    It is a floor: only matrix products and convolutions count, as if norms, activations, the loss and the optimiser
    were fused into them, and each reads its operands and writes its result once. An algorithm with fewer products than
    the direct one (Winograd) may pass it. The backward pass has one product for each gradient that is needed, as large
    as the forward one. Weights are read once a batch. Raises Uncountable and NoRoofline.
    """
    precision = learner.recipe.precision
    times = list(_times(learner, counted, limits))
    floor = sum(seconds for seconds, _ in times)
    if floor == 0:
        raise NoRoofline("nothing was trained that can be counted")
    if floor > measured_seconds:
        raise NoRoofline(
            f"it took {measured_seconds:.3g} s, less than the floor of {floor:.3g} s: "
            "the machine's peak or bandwidth was measured too low, beside other work"
        )
    compute_share = sum(seconds for seconds, by_compute in times if by_compute) / floor
    return Roofline(
        peak_flops=limits.peak_flops[precision],
        bandwidth_bytes=limits.bandwidth_bytes,
        precision=precision,
        floor_seconds=floor,
        measured_seconds=measured_seconds,
        fraction=floor / measured_seconds,
        bound="compute" if compute_share >= 0.5 else "memory",
        compute_share=compute_share,
    )


def _times(learner: Learner, counted: Counted, limits: Limits) -> Iterable[tuple[float, bool]]:
    """Yield the seconds of each operation over the whole training, and whether arithmetic binds it."""
    recipe, without_gradients = learner.recipe, FORWARD_BATCH[learner.device.type]
    # Hundreds of rounds do the same: each kind of pass is priced once.
    worked: Counter[tuple[int, int | None, int | None]] = Counter()
    for work in learner.spent.work:
        for size, examples in work.sizes:
            worked[work.forward, work.backward, size] += examples
    for (start, backward, size), examples in worked.items():
        batch = without_gradients if backward is None else recipe.batch_size
        for number, stage in enumerate(counted(learner.network, size)[start:], start):
            for operation in stage:
                passes = 1
                if backward is not None and number >= backward:
                    passes += operation.gradients[number > backward]
                yield _time(operation, limits, recipe.precision, batch, passes * examples)
    passed: Counter[tuple[Network, int | None, str, int | None]] = Counter()
    for forward, size, examples in learner.spent.passes():
        passed[forward.network, forward.cut, forward.precision, size] += examples
    for (network, cut, precision, size), examples in passed.items():
        for operation in chain(*counted(network, size)[:cut]):
            yield _time(operation, limits, precision, without_gradients, examples)


def _time(operation: Operation, limits: Limits, precision: str, batch: int, examples: int) -> tuple[float, bool]:
    """Return the least seconds of an operation over so many examples, and whether arithmetic binds it."""
    inputs = batch if operation.moved else 1  # what depends on no input is computed once a batch
    moved_bytes = (operation.moved * batch + operation.weights) * DTYPES[precision].itemsize
    compute = 2 * operation.needed * inputs / limits.peak_flops[precision]
    memory = moved_bytes / limits.bandwidth_for(moved_bytes)
    return max(compute, memory) * examples / batch, compute >= memory


def limits_of(device: torch.device, artifacts: Path) -> Limits:
    """Return what this machine can do with this process's threads: kept from an earlier measurement, or measured.

    Raises NoRoofline when other work held the processor meanwhile: with two threads that share one core a copy took a
    thousand times as long. A process tries a few times, once a cell.
    """
    name = environment(device.type)["fingerprint"]
    if name in _measured:
        return _measured[name]
    path = artifacts / "machine" / f"{name}.json"
    _measured[name] = kept(path, _from_json, lambda: _undisturbed(name, device), environment=environment(device.type))
    return _measured[name]


def _undisturbed(name: str, device: torch.device) -> Limits:
    """Measure the limits, unless other work holds the processor meanwhile."""
    if _disturbed[name] >= TRIES:
        raise NoRoofline("the machine's limits could not be measured: other work held the processor each time")
    contention = Contention()
    limits = measure_limits(device)
    why = contention.explain()
    if why is not None:
        _disturbed[name] += 1
        raise NoRoofline(f"the machine's limits could not be measured: {why}")
    return limits


def measure_limits(device: torch.device) -> Limits:
    """Measure peak and bandwidth; about half a second."""
    peaks = {precision: _peak(device, dtype) for precision, dtype in DTYPES.items()}
    return Limits(peaks, tuple(_copies(device)))


def _peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOPs a second of a large matrix product; on a GPU in TF32, which its convolutions use for fp32."""
    rates = []
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else allowed)
    try:
        for edge in PRODUCTS[device.type]:
            a, b, out = (torch.full((edge, edge), 0.5, dtype=dtype, device=device) for _ in range(3))
            rates.append(2 * edge**3 / _best_seconds(partial(torch.mm, a, b, out=out), device))
    finally:
        torch.set_float32_matmul_precision(allowed)
    return max(rates)


def _copies(device: torch.device) -> Iterable[tuple[int, float]]:
    """Yield (bytes touched, bytes a second) of copies, small to large: one byte is read for each that is written."""
    largest = max(LARGEST_COPY, 2 * _cache_bytes(device))
    source, target = (torch.zeros(largest, dtype=torch.uint8, device=device) for _ in range(2))
    for size in (*COPIES, largest):
        yield 2 * size, 2 * size / _best_seconds(partial(target[:size].copy_, source[:size]), device)


def _cache_bytes(device: torch.device) -> int:
    """Return the size of the last cache, 0 where the system does not say."""
    if device.type == "cuda":
        return int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0))
    sizes = [0]
    for path in _CACHES.glob("index*/size"):
        with suppress(OSError, ValueError):
            sizes.append(int(path.read_text(encoding="utf-8").strip().removesuffix("K")) * 1024)
    return max(sizes)


def _best_seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Return the least seconds of some work, warm; on a GPU of ten in a row, so that their launches overlap."""
    many = 10 if device.type == "cuda" else 1
    work()
    best, began = float("inf"), now(device)
    for repeat in range(1000):
        start = now(device)
        if repeat > 2 and start - began > PER_SIZE_SECONDS:
            break
        for _ in range(many):
            work()
        best = min(best, (now(device) - start) / many)
    return best


def _from_json(data: Mapping[str, Any]) -> Limits:
    copies = tuple((int(touched), float(rate)) for touched, rate in data["copies"])
    return Limits(data["peak_flops"], copies)

"""A fixed piece of work before and after a cell: its drift marks a noisy cell, its time makes machines comparable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bench.measure.clock import now

# Edge of the matrices and bytes of the buffers. On a CPU the buffers are past the cores' own caches.
EDGE = {"cpu": 512, "cuda": 4096}
COPY_BYTES = {"cpu": 4 * 2**20, "cuda": 256 * 2**20}
KERNEL_SECONDS = 0.025
REPEATS = 40
# Timings of a cell whose fixed work drifted more than this are not valid. Measured on 2 virtual cores of a shared Zen 4
# host with two threads and nothing else running, 120 pairs: one run right after the other drifts by 2 % in the median,
# 14 % in one pair of 20 and 20 % in one of 100; with 0.2 s of idling in between by 7 %, 32 % and 63 %. The limit has to
# pass the first. With five busy processes on the two cores three pairs in four are beyond 15 %.
DRIFT_LIMIT = 0.25


@dataclass(frozen=True)
class Kernels:
    """What the fixed work took: a product of fp32 matrices and a copy, milliseconds."""

    matmul_ms: float
    copy_ms: float


def calibrate(device: torch.device) -> Kernels:
    """Run the fixed work: at most 25 ms for each of the two, and one repeat when that takes longer.

    Each number is the fastest of up to 40 repeats after one that is not counted, so that a single hiccup changes
    nothing. The work depends on the kind of device and on nothing else.
    """
    edge, size = EDGE[device.type], COPY_BYTES[device.type]
    a, b, product = (torch.full((edge, edge), 0.5, device=device) for _ in range(3))
    matmul = _fastest(lambda: torch.mm(a, b, out=product), device)
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    return Kernels(matmul, _fastest(lambda: target.copy_(source), device))


def drift(before: Kernels, after: Kernels) -> float:
    """Return by how much the slower of two runs took longer than the faster one: the larger of both kernels."""
    pairs = (before.matmul_ms, after.matmul_ms), (before.copy_ms, after.copy_ms)
    return max(max(pair) / min(pair) for pair in pairs) - 1


def explain_drift(drifted: float) -> str | None:
    """Return why timings between two runs are not valid, or None when nothing speaks against them."""
    if drifted <= DRIFT_LIMIT:
        return None
    return (
        f"the machine's speed changed while the cell ran: the same work before and after it differed by {drifted:.0%} "
        f"(at most {DRIFT_LIMIT:.0%} passes as noise)"
    )


def _fastest(work: Callable[[], Any], device: torch.device) -> float:
    """Return the milliseconds of the fastest repeat, of fewer repeats the slower they are."""
    begun = now(device)
    work()
    times: list[float] = []
    while not times or (len(times) < REPEATS and now(device) - begun < KERNEL_SECONDS):
        start = now(device)
        work()
        times.append((now(device) - start) * 1000)
    return round(min(times), 4)

"""Latency of the full deployed model: warm, in eval mode, on rotated random inputs, raw samples kept."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from bench.backbones._network import Network
from bench.record import Latency
from bench.training.feed import infer

WARM_LIMIT_SECONDS = 2.0
MIN_SAMPLES, MIN_SECONDS, MAX_SAMPLES = 50, 1.0, 500
ROTATED = 4


def latency(network: Network, batch: int, precision: str, device: torch.device) -> Latency:
    """Measure one forward pass of `batch` random pictures.

    Warm-up lasts until three medians of five agree within 2 %; then at least 50 samples and 1 second are taken. On a
    GPU each sample ends when the device has finished.
    """
    edge = network.inputs.resolution
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(batch, 3, edge, edge, generator=generator).to(device, memory_format=torch.channels_last)
        for _ in range(ROTATED)
    ]
    _warm_up(network, inputs, precision)
    samples: list[float] = []
    started = time.perf_counter()
    while len(samples) < MIN_SAMPLES or time.perf_counter() - started < MIN_SECONDS:
        samples.append(_once(network, inputs[len(samples) % ROTATED], precision))
        if len(samples) >= MAX_SAMPLES:
            break
    p50, p90, p99 = (float(x) for x in np.percentile(samples, [50, 90, 99]))
    return Latency(
        device=device.type,
        threads=torch.get_num_threads(),
        batch=batch,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        samples_ms=tuple(round(s, 4) for s in samples),
        throughput_per_second=batch * 1000 / p50,
    )


def _warm_up(network: Network, inputs: list[Tensor], precision: str) -> None:
    medians: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < WARM_LIMIT_SECONDS:
        medians.append(float(np.median([_once(network, inputs[i % ROTATED], precision) for i in range(5)])))
        recent = medians[-3:]
        if len(recent) == 3 and max(recent) <= 1.02 * min(recent):
            return


def _once(network: Network, x: Tensor, precision: str) -> float:
    """Return the milliseconds of one pass."""
    started = time.perf_counter()
    infer(network, x, 0, None, precision)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return (time.perf_counter() - started) * 1000

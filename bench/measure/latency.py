"""Latency of the full deployed model: warm, in eval mode, on rotated random inputs, raw samples kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from bench.backbones._inputs import tensors
from bench.backbones._network import Network
from bench.record import Latency
from bench.training.passes import autocast

WARM_LIMIT_SECONDS = 2.0
MIN_SAMPLES, MIN_SECONDS = 50, 1.0
# A model of a tenth of a millisecond gives ten thousand samples a second; a record keeps each so many-th.
KEPT_SAMPLES = 1000
ROTATED = 4


def latency(network: Network, batch: int, precision: str, device: torch.device) -> Latency:
    """Measure one forward pass of `batch` random examples, as large as there may be, that are on the device already.

    Warm-up lasts until three medians of five agree within 2 %, for two seconds at most; then passes are timed one by
    one for at least 50 samples and 1 second. On a GPU each sample ends when the device has finished, and the device's
    own clock is read beside the host's. The percentiles are of the samples that are kept. Whatever layout training
    chose, the network runs channels last, so that cells of one architecture share one measurement.
    """
    with passes(network, batch, precision, device) as measure:
        samples = _samples(measure)
        on_device = measure.on_device
    every = -(-len(samples) // KEPT_SAMPLES)
    kept = samples[::every]
    p25, p50, p75, p90, p99 = (float(x) for x in np.percentile(kept, [25, 50, 75, 90, 99]))
    return Latency(
        device=device.type,
        threads=torch.get_num_threads(),
        batch=batch,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        samples_ms=tuple(kept),
        throughput_per_second=batch * 1000 / p50,
        iqr_ms=p75 - p25,
        device_p50_ms=float(np.median(on_device[-len(samples) :: every])) if on_device else None,
    )


class Passes:
    """Times pass after pass, in milliseconds by the host's clock; `on_device` is by the device's, where it has one."""

    def __init__(self, model: nn.Module, inputs: list[tuple[Tensor, ...]]) -> None:
        self._model, self._inputs = model, inputs
        self._count = 0
        self.on_device: list[float] = []

    def __call__(self) -> float:
        """Run one pass on the next of the inputs."""
        host_ms, device_ms = _once(self._model, self._inputs[self._count % len(self._inputs)])
        self._count += 1
        self.on_device += () if device_ms is None else (device_ms,)
        return host_ms


@contextmanager
def passes(network: Network, batch: int, precision: str, device: torch.device) -> Iterator[Passes]:
    """Give forward passes of `batch` random examples through a network in eval mode and channels last."""
    layout, generator = network.layout, torch.Generator().manual_seed(0)
    was_training = network.training
    network.arrange(torch.channels_last).eval()
    given = [network.placed(network.inputs.noise(batch, generator)) for _ in range(ROTATED)]
    inputs = [tensors(network.arranged(x)) for x in given]
    with torch.inference_mode(), autocast(device, precision):
        yield Passes(network.model, inputs)
    network.arrange(layout).train(was_training)


def _samples(measure: Callable[[], float]) -> list[float]:
    """Return what `measure` gives, in milliseconds, once it is warm."""
    warm_up(measure)
    samples: list[float] = []
    started = time.perf_counter()
    while len(samples) < MIN_SAMPLES or time.perf_counter() - started < MIN_SECONDS:
        samples.append(round(measure(), 4))
    return samples


def warm_up(measure: Callable[[], float]) -> None:
    """Measure until three medians of five agree."""
    medians: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < WARM_LIMIT_SECONDS and not _agree(medians[-3:]):
        medians.append(float(np.median([measure() for _ in range(5)])))


def _agree(medians: list[float]) -> bool:
    """Say whether three medians lie within 2 % of one another."""
    return len(medians) == 3 and max(medians) <= 1.02 * min(medians)


def _once(model: nn.Module, x: tuple[Tensor, ...]) -> tuple[float, float | None]:
    """Return the milliseconds of one pass by the host's clock, and by the device's where it has one."""
    if x[0].device.type != "cuda":
        started = time.perf_counter()
        model(*x)
        return (time.perf_counter() - started) * 1000, None
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    started = time.perf_counter()
    begin.record()
    model(*x)
    end.record()
    torch.cuda.synchronize(x[0].device)
    return (time.perf_counter() - started) * 1000, begin.elapsed_time(end)

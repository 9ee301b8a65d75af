"""Wall time by phase, with the device's queue drained at both ends."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def now(device: torch.device) -> float:
    """Return wall seconds after everything queued on the device has ended."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Clock:
    """Adds up seconds by name. Phases may be nested: the time of an inner one is not the outer one's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack: list[tuple[str, float]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a block under `name`."""
        start = now(self.device)
        if self._stack:
            outer, since = self._stack.pop()
            self.seconds[outer] += start - since
            self._stack.append((outer, start))
        self._stack.append((name, start))
        try:
            yield
        finally:
            end = now(self.device)
            _, since = self._stack.pop()
            self.seconds[name] += end - since
            if self._stack:
                outer, _ = self._stack.pop()
                self._stack.append((outer, end))

    def elapsed(self, name: str) -> float:
        """Return the seconds of a phase so far, the running stretch included."""
        running = sum(now(self.device) - since for n, since in self._stack[-1:] if n == name)
        return self.seconds[name] + running

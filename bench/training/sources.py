"""Where rows come from, batch by batch: from the device's own memory, or streamed from the memory map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from bench.training.rows import Keys, Rows

# Rows of one selection up to this size are held on the device; larger ones are streamed.
RESIDENT_LIMIT_BYTES = 2 * 1024**3


class Source(Protocol):
    """Rows by their number in a selection."""

    def batches(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Tensor]:
        """Yield, for each part of `order`, int64 [n] on the CPU, the rows that it names, on the device."""
        ...


class Resident:
    """Rows held on the device."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def batches(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Tensor]:
        here = order.to(self.rows.device, non_blocking=True)
        for part in parts:
            yield self.rows[here[part]]


class Streamed:
    """Rows gathered from the memory map, one batch ahead of the device."""

    def __init__(self, rows: Rows, keys: Keys, device: torch.device) -> None:
        self.rows, self.keys, self.device = rows, keys, device

    def batches(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Tensor]:
        numbers = order.numpy()

        def gather(part: slice) -> Tensor:
            found = self.rows.take(self.keys[numbers[part]])
            return found.pin_memory() if self.device.type == "cuda" else found

        with ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(gather, part) for part in parts[:1]]
            for following in [*parts[1:], None]:
                rows = waiting.pop().result()
                if following is not None:
                    waiting.append(pool.submit(gather, following))
                yield rows.to(self.device, non_blocking=True)


def source_of(rows: Rows, keys: Keys, device: torch.device) -> Source:
    """Return the source of rows that are there already, in the order of `keys`."""
    if len(keys) * rows.row_bytes > RESIDENT_LIMIT_BYTES:
        return Streamed(rows, keys, device)
    return Resident(rows.take(keys).to(device))

"""Where rows come from, batch by batch: from the device's own memory, or streamed from the memory map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.backbones._inputs import STEP, Flow, Tokens
from bench.training.rows import Keys, Rows

# Rows of one selection up to this size are held on the device; larger ones are streamed.
RESIDENT_LIMIT_BYTES = 2 * 1024**3
# Texts of so many batches are sorted by length together, and of no more than a third of an epoch.
SORTED_BATCHES = 16

# Pairs of a length and how many examples came in it; none where examples have no lengths.
Lengths = tuple[tuple[int, int], ...]
T = TypeVar("T")


class Source(Protocol):
    """Rows by their number in a selection.

    `regrouped` gives an order, int64 [n] on the CPU, that is as random as the random one given and whose `parts` are
    quick to learn from; `ranked` the one in which all rows go forward fastest. `alike` cuts an order into groups, as
    places in it, whose rows come in batches of one shape, whichever of them are together. `spent` says how many rows
    came in which length since it was last asked, where rows have lengths.
    """

    def batches(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Flow]:
        """Yield, for each part of `order`, int64 [n] on the CPU, the rows that it names, on the device."""
        ...

    def regrouped(self, order: Tensor, parts: Sequence[slice], generator: torch.Generator) -> Tensor: ...

    def ranked(self, count: int) -> Tensor: ...

    def alike(self, order: Tensor) -> list[Tensor]: ...

    def spent(self) -> Lengths: ...


class Even:
    """The orders of rows that are all of one shape."""

    def regrouped(self, order: Tensor, parts: Sequence[slice], generator: torch.Generator) -> Tensor:
        return order

    def ranked(self, count: int) -> Tensor:
        return torch.arange(count)

    def alike(self, order: Tensor) -> list[Tensor]:
        return [torch.arange(len(order))]

    def spent(self) -> Lengths:
        return ()


class Resident(Even):
    """Rows held on the device."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def batches(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Tensor]:
        here = order.to(self.rows.device, non_blocking=True)
        for part in parts:
            yield self.rows[here[part]]


class Streamed(Even):
    """Rows gathered from the memory map, one batch ahead of the device."""

    def __init__(self, rows: Rows, keys: Keys, device: torch.device) -> None:
        self.rows, self.keys, self.device = rows, keys, device

    def batches(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Tensor]:
        numbers = order.numpy()
        for rows in ahead(lambda part: self.rows.take(self.keys[numbers[part]]), parts, self.device):
            yield rows.to(self.device, non_blocking=True)


class Padded:
    """Ragged rows as texts, padded to the longest of a batch and on to a multiple of `STEP` tokens.

    `gather` gives the rows of `order[part]` on the device, [batch, width, ...], for each part and width.
    """

    def __init__(
        self,
        lengths: NDArray[np.int64],
        gather: Callable[[Tensor, Sequence[slice], Sequence[int]], Iterator[Tensor]],
        device: torch.device,
    ) -> None:
        self.lengths, self.gather, self.device = torch.from_numpy(lengths), gather, device
        self._spent: Counter[int] = Counter()

    def batches(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Tokens]:
        lengths = self.lengths[order]
        widths = [int(padded_lengths(lengths[part].max())) for part in parts]
        here, places = lengths.to(self.device, non_blocking=True), torch.arange(max(widths, default=0)).to(self.device)
        for part, width, rows in zip(parts, widths, self.gather(order, parts, widths), strict=True):
            self._spent[width] += len(rows)
            yield Tokens(rows, places[:width] < here[part, None])

    def regrouped(self, order: Tensor, parts: Sequence[slice], generator: torch.Generator) -> Tensor:
        """Sort each stretch of some batches of a random order by length, and draw in which order the batches come.

        Every example comes as often as before, and which others it comes with stays a matter of chance: a stretch is a
        third of the epoch at most. The last part, which may be shorter than the others, is not sorted.
        """
        whole = list(parts[:-1])
        together = min(SORTED_BATCHES, len(whole) // 3)
        if together < 2:
            return order
        order = order.clone()
        for begin in range(0, len(whole), together):
            stretch = slice(whole[begin].start, whole[min(begin + together, len(whole)) - 1].stop)
            order[stretch] = order[stretch][self.lengths[order[stretch]].argsort(stable=True)]
        mixed = torch.randperm(len(whole), generator=generator).tolist()
        return torch.cat([*(order[whole[i]] for i in mixed), order[parts[-1]]])

    def ranked(self, count: int) -> Tensor:
        return self.lengths[:count].argsort(stable=True)

    def alike(self, order: Tensor) -> list[Tensor]:
        widths = padded_lengths(self.lengths[order])
        return [torch.nonzero(widths == width).flatten() for width in widths.unique()]

    def spent(self) -> Lengths:
        found = tuple(sorted(self._spent.items()))
        self._spent.clear()
        return found


def padded_lengths(lengths: Tensor) -> Tensor:
    """Return the lengths that texts of these lengths are padded to."""
    return (lengths + STEP - 1) // STEP * STEP


def ahead(gather: Callable[[T], Tensor], parts: Sequence[T], device: torch.device) -> Iterator[Tensor]:
    """Yield what is gathered for each part, one part ahead of who asks; for a GPU in memory that it can read."""

    def pinned(part: T) -> Tensor:
        found = gather(part)
        return found.pin_memory() if device.type == "cuda" else found

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(pinned, part) for part in parts[:1]]
        for following in [*parts[1:], None]:
            rows = waiting.pop().result()
            if following is not None:
                waiting.append(pool.submit(pinned, following))
            yield rows


def source_of(rows: Rows, keys: Keys, device: torch.device) -> Source:
    """Return the source of rows that are there already, in the order of `keys`."""
    resident = len(keys) * rows.row_bytes <= RESIDENT_LIMIT_BYTES
    if not rows.ragged:
        return Resident(rows.take(keys).to(device)) if resident else Streamed(rows, keys, device)
    lengths = rows.lengths(keys)
    gather = _from_memory(rows.take(keys).to(device), lengths) if resident else _from_disk(rows, keys, device)
    return Padded(lengths, gather, device)


def _from_memory(
    values: Tensor, lengths: NDArray[np.int64]
) -> Callable[[Tensor, Sequence[slice], Sequence[int]], Iterator[Tensor]]:
    """Return how ragged rows that lie end to end on the device are gathered there."""
    every = torch.from_numpy(lengths)
    first = every.cumsum(0) - every

    def gather(order: Tensor, parts: Sequence[slice], widths: Sequence[int]) -> Iterator[Tensor]:
        begins, lasts = (t[order].to(values.device, non_blocking=True)[:, None] for t in (first, every - 1))
        steps = torch.arange(max(widths, default=0)).to(values.device)
        for part, width in zip(parts, widths, strict=True):
            yield values[begins[part] + torch.minimum(steps[:width], lasts[part])]

    return gather


def _from_disk(
    rows: Rows, keys: Keys, device: torch.device
) -> Callable[[Tensor, Sequence[slice], Sequence[int]], Iterator[Tensor]]:
    """Return how ragged rows are gathered from the memory map."""

    def gather(order: Tensor, parts: Sequence[slice], widths: Sequence[int]) -> Iterator[Tensor]:
        numbers = order.numpy()
        wanted = list(zip(parts, widths, strict=True))
        for found in ahead(lambda one: rows.padded(keys[numbers[one[0]]], one[1]), wanted, device):
            yield found.to(device, non_blocking=True)

    return gather

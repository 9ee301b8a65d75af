"""Forward passes without gradients, and the rows that they leave for others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.backbones._network import Network
from bench.measure.clock import Clock
from bench.tasks import Selection
from bench.tensors import id_of
from bench.training.feed import PictureFeed
from bench.training.folded import folded
from bench.training.mixing import Mixing
from bench.training.pictures import Pictures
from bench.training.rows import Keys, Rows
from bench.training.sources import Source, source_of
from bench.training.views import Views

# Examples that go forward at a time without gradients. On a CPU each core takes its own part of them: the threads of an
# operation would wait for each other after every layer. On 2 cores at 64 pixels tf_efficientnet_lite0 does 1,550
# pictures a second in two batches of 32, 1,280 in one of 64 and 1,030 in one of 128. A GPU has to be kept busy.
FORWARD_BATCH = {"cpu": 64, "cuda": 256}
LEAST_OF_A_CORE = 8


@dataclass(frozen=True)
class Forward:
    """A pass of a network up to stage `cut`, or to the logits when `cut` is None, whose rows are kept.

    `identity` is everything that can change the network's numbers there, which don't change while this is in use.
    """

    network: Network
    cut: int | None
    kind: str
    identity: Mapping[str, Any]
    precision: str

    def __call__(self, x: Tensor) -> Tensor:
        return infer(self._folded, x, 0, self.cut, self.precision)

    @cached_property
    def _folded(self) -> Network:
        return folded(self.network)


class PassedFeed:
    """Pictures that go through a frozen network each time they are shown: its rows would be too many, or of no use."""

    start = 0

    def __init__(self, pictures: PictureFeed, forward: Forward) -> None:
        self.pictures, self.forward = pictures, forward
        self.cut = len(forward.network.stages) if forward.cut is None else forward.cut

    def epoch(
        self, order: Tensor, view: Tensor, parts: Sequence[slice], mixing: Mixing | None = None
    ) -> Iterator[Tensor]:
        """Yield activations, float [batch, ...], in the precision that they are computed in."""
        for x in self.pictures.epoch(order, view, parts, mixing):
            # A tensor made under inference_mode can't take part in training; its copy can.
            yield self.forward(x).clone()


def infer(network: Network, x: Tensor, start: int, stop: int | None, precision: str) -> Tensor:
    """Run stages `start` up to `stop`, or to the logits when that is None, in eval mode without gradients.

    Activations come in the precision that the last stage gave, so that keeping them loses nothing; logits in float32.
    """
    if network.training:
        network.eval()
    with torch.inference_mode(), autocast(x.device, precision):
        if stop is None:
            return network.suffix(x, start).float()
        for stage in network.stages[start:stop]:
            x = stage.run(x)
        return x


class Cache:
    """Rows that forward passes left, shared by subsets, seeds and heads."""

    def __init__(self, pictures: Pictures, artifacts: Path, device: torch.device, clock: Clock) -> None:
        self.pictures, self.artifacts, self.device, self.clock = pictures, artifacts, device, clock
        self._rows: dict[str, Rows] = {}

    def rows(self, forward: Forward, split: str, views: Mapping[str, Any]) -> Rows:
        """Return the store of a pass's rows on a split."""
        made_of = {**forward.identity, **self.pictures.identity(split), "views": dict(views)}
        made_of |= {"cut": forward.cut, "precision": forward.precision, "normalisation": "folded"}
        made_of["batch"] = forward_size(self.device)
        name = id_of(forward.kind, made_of)
        if name not in self._rows:
            self._rows[name] = Rows(self.artifacts, forward.kind, made_of)
        return self._rows[name]

    def passed(
        self, forward: Forward, selection: Selection, views: Views, key: Mapping[str, Any], phase: str, shown: int
    ) -> tuple[Rows, Keys]:
        """Return rows of a pass and the keys of the first `shown` views of each example: [n * shown], all there."""
        rows = self.rows(forward, selection.split, key)
        keys = (selection.index[:, None] * views.count + np.arange(shown)).ravel()
        decoded = "evaluate" if phase == "evaluate" else "prepare"
        self.pictures.prepared(selection.split, selection.index, decoded)

        def compute(missing: Keys) -> Tensor:
            return torch.cat(list(self._pass(forward, selection.split, missing, views)))[: len(missing)]

        rows.ensure(keys, compute, self.clock, phase)
        return rows, keys

    def pixels(self, selection: Selection, phase: str) -> Source:
        """Return the prepared pictures of a selection."""
        rows = self.pictures.prepared(selection.split, selection.index, phase)
        return source_of(rows, selection.index, self.device)

    def _pass(self, forward: Forward, split: str, keys: Keys, views: Views) -> Iterator[Tensor]:
        """Yield the rows of keys, and some more of the last one: batches are whole.

        A library may sum in another order in a smaller batch: a row would have other bits by how many others were
        missing with it, and a cell other numbers by what ran before it.
        """
        size = forward_size(self.device)
        keys = np.concatenate([keys, np.repeat(keys[-1:], -len(keys) % size)])
        index, view = np.divmod(keys, views.count)
        shown, position = np.unique(index, return_inverse=True)
        source = source_of(self.pictures.rows(split), shown, self.device)
        feed = PictureFeed(source, shown, views, forward.network)
        parts = forward_batches(len(keys), self.device)
        given = feed.epoch(torch.from_numpy(position), torch.from_numpy(view), parts)
        for rows in side_by_side(forward, given, self.device):
            yield rows.cpu()

    def save(self) -> None:
        """Keep what was computed."""
        for rows in self._rows.values():
            rows.save()


def forward_batches(count: int, device: torch.device) -> list[slice]:
    """Cut a pass over `count` examples into batches."""
    size = forward_size(device)
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]


def forward_size(device: torch.device) -> int:
    """Return how many examples go forward at once, on a CPU on each core."""
    size = FORWARD_BATCH[device.type]
    return max(size // torch.get_num_threads(), LEAST_OF_A_CORE) if device.type == "cpu" else size


def side_by_side(
    forward: Callable[[Tensor], Tensor], given: Iterable[Tensor], device: torch.device
) -> Iterator[Tensor]:
    """Yield what a forward pass makes of each batch, in their order; on a CPU as many at a time as there are cores."""
    cores, batches = torch.get_num_threads(), iter(given)
    # The first alone: whatever is made once, such as a folded network, is there for the others.
    yield from map(forward, islice(batches, 1))
    if device.type != "cpu" or cores == 1:
        yield from map(forward, batches)
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores) as pool:
            waiting: deque[Future[Tensor]] = deque()
            for x in batches:
                waiting.append(pool.submit(forward, x))
                if len(waiting) > 2 * cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(cores)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a forward pass runs at a precision."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()

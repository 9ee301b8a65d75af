"""Forward passes without gradients, and the rows that they leave for others."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.backbones._inputs import Flow, Tokens, each, tensors
from bench.backbones._network import Network
from bench.measure.clock import Clock
from bench.tasks import Selection
from bench.tensors import id_of
from bench.training.feed import Feed
from bench.training.folded import folded
from bench.training.material import Material
from bench.training.mixing import Mixing
from bench.training.rows import Keys, Ragged, Rows
from bench.training.sources import Lengths, padded_lengths, source_of
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

    def __call__(self, x: Flow) -> Flow:
        return infer(self._folded, x, 0, self.cut, self.precision)

    @cached_property
    def _folded(self) -> Network:
        return folded(self.network)


class PassedFeed:
    """Examples that go through a frozen network each time they are shown: its rows would be too many, or of no use."""

    start = 0

    def __init__(self, given: Feed, forward: Forward) -> None:
        self.given, self.forward, self.source = given, forward, given.source
        self.cut = len(forward.network.stages) if forward.cut is None else forward.cut

    def epoch(
        self, order: Tensor, view: Tensor, parts: Sequence[slice], mixing: Mixing | None = None
    ) -> Iterator[Flow]:
        """Yield activations, float [batch, ...], in the precision that they are computed in."""
        for x in self.given.epoch(order, view, parts, mixing):
            # A tensor made under inference_mode can't take part in training; its copy can.
            yield each(Tensor.clone, self.forward(x))


def infer(network: Network, x: Flow, start: int, stop: int | None, precision: str) -> Flow:
    """Run stages `start` up to `stop`, or to the logits when that is None, in eval mode without gradients.

    Activations come in the precision that the last stage gave, so that keeping them loses nothing; logits in float32.
    """
    # Frozen stages are in eval mode while the others are not, and those are not to leave theirs in between two steps.
    if network.training and (stop is None or any(m.training for s in network.stages[start:stop] for m in s.modules)):
        network.eval()
    with torch.inference_mode(), autocast(tensors(x)[0].device, precision):
        if stop is None:
            return network.suffix(x, start).float()
        for stage in network.stages[start:stop]:
            x = stage.run(x)
        return x


class Cache:
    """Rows that forward passes left, shared by subsets, seeds and heads."""

    def __init__(self, material: Material, artifacts: Path, device: torch.device, clock: Clock) -> None:
        self.material, self.artifacts, self.device, self.clock = material, artifacts, device, clock
        self._rows: dict[str, Rows] = {}

    def rows(self, forward: Forward, split: str, views: Mapping[str, Any]) -> Rows:
        """Return the store of a pass's rows on a split."""
        material = self.material.seen_by(forward.network.inputs)
        made_of = {**forward.identity, **material.identity(split), "views": dict(views)}
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
        self.material.seen_by(forward.network.inputs).prepared(selection.split, selection.index, decoded)
        rows.ensure(keys, lambda missing: self._pass(forward, selection.split, missing, views), self.clock, phase)
        return rows, keys

    def lengths(self, forward: Forward, selection: Selection) -> Lengths:
        """Return in which lengths a selection goes through a pass, once each."""
        rows = self.material.seen_by(forward.network.inputs).rows(selection.split)
        if not rows.ragged:
            return ()
        lengths = padded_lengths(torch.from_numpy(rows.lengths(selection.index)))
        return tuple(sorted(Counter(lengths.tolist()).items()))

    def feed(self, selection: Selection, views: Views, network: Network, phase: str) -> Feed:
        """Return the batches of a selection's examples, from the first stage on."""
        material = self.material.seen_by(network.inputs)
        rows = material.prepared(selection.split, selection.index, phase)
        return material.feed(source_of(rows, selection.index, self.device), selection.index, views, network)

    def _pass(self, forward: Forward, split: str, keys: Keys, views: Views) -> Tensor | Ragged:
        """Return the rows of keys, from whole batches of one shape each: the last ones are filled up.

        A library may sum in another order in a smaller batch: a row would have other bits by how many others were
        missing with it, and a cell other numbers by what ran before it.
        """
        index, view = np.divmod(keys, views.count)
        shown, position = np.unique(index, return_inverse=True)
        material = self.material.seen_by(forward.network.inputs)
        source = source_of(material.rows(split), shown, self.device)
        feed = material.feed(source, shown, views, forward.network)
        order, seen = torch.from_numpy(position), torch.from_numpy(view)
        groups = source.alike(order)
        made: list[Flow] = []
        for group in groups:
            whole = torch.cat([group, group[-1:].repeat(-len(group) % forward_size(self.device))])
            given = feed.epoch(order[whole], seen[whole], forward_batches(len(whole), self.device))
            made += [each(Tensor.cpu, x) for x in side_by_side(forward, given, self.device)]
            last = slice(len(group) - (len(whole) - forward_size(self.device)))
            made[-1] = each(itemgetter(last), made[-1])  # what filled it up goes
        return _as_rows(made, torch.cat(groups))

    def save(self) -> None:
        """Keep what was computed."""
        for rows in self._rows.values():
            rows.save()


def _as_rows(made: Sequence[Flow], places: Tensor) -> Tensor | Ragged:
    """Return what a pass made, batch by batch, as rows: the first is that of the example at `places[0]`, and so on."""
    at = torch.empty_like(places)
    at[places] = torch.arange(len(places))
    flat = [x for x in made if isinstance(x, Tensor)]
    if len(flat) == len(made):
        return torch.cat(flat)[at]
    texts = [x for x in made if isinstance(x, Tokens)]
    rows = [row[mask] for x in texts for row, mask in zip(x.states, x.mask, strict=True)]
    return Ragged(torch.cat([rows[i] for i in at.tolist()]), np.array([len(rows[i]) for i in at.tolist()], np.int64))


def forward_batches(count: int, device: torch.device) -> list[slice]:
    """Cut a pass over `count` examples into batches."""
    size = forward_size(device)
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]


def forward_size(device: torch.device) -> int:
    """Return how many examples go forward at once, on a CPU on each core."""
    size = FORWARD_BATCH[device.type]
    return max(size // torch.get_num_threads(), LEAST_OF_A_CORE) if device.type == "cpu" else size


def side_by_side(forward: Callable[[Flow], Flow], given: Iterable[Flow], device: torch.device) -> Iterator[Flow]:
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
            waiting: deque[Future[Flow]] = deque()
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

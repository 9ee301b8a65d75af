"""Rows kept by key and content hash: prepared pixels, tokens, frozen-prefix activations, teacher logits.

One folder holds one kind of row, named by everything that can change a value. Each chunk is a safetensors file with
`keys` int64 [n], `rows` [n, ...] and the seconds that it took; it is mapped, not read, so that rows may be larger than
memory. A row is computed once, and its price is the mean over all rows so far. The rows of texts are as long as these
are: theirs lie end to end in `rows` [total, ...], and `lengths` int64 [n] says how long each is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.files import replacing
from bench.measure.clock import Clock
from bench.tensors import UNSEALED, id_of, is_whole, seal

Keys = NDArray[np.int64]


class Ragged(NamedTuple):
    """Rows of different lengths, end to end: `values` [total, ...] and the `lengths` int64 [n], which add up to it."""

    values: Tensor
    lengths: NDArray[np.int64]


Compute = Callable[[Keys], Tensor | Ragged]

# So many rows are computed at a time: a multiple of every batch of a forward pass, so that cutting changes no batch.
PIECE = 1024
# Fresh rows beyond so many bytes are written out at once, and mapped from there on.
FRESH_LIMIT_BYTES = 256 * 1024**2


class Rows:
    """Rows of one kind, on disk and, those that are not saved yet, in memory.

    `spent_seconds` is what this object has computed, `price(n)` what n rows cost whoever computes them.
    """

    def __init__(self, folder: Path, kind: str, identity: Mapping[str, Any]) -> None:
        self.kind = kind
        self.id = id_of(kind, identity)
        self.folder = folder / kind / self.id
        self._identity = dict(identity)
        # Sorted keys, and of each the chunk that holds it, the place where it begins in there and its length, 1 unless
        # rows are ragged. The first chunk holds fresh rows, and has room for more than there are.
        self._keys, self._chunk, self._place, self._length = (np.empty(0, np.int64) for _ in range(4))
        self._chunks: list[Tensor | None] = [None]
        self._fresh: list[tuple[Keys, NDArray[np.int64] | None, float]] = []
        self.ragged = False
        self._seconds, self._count = 0.0, 0
        self.spent_seconds = 0.0
        for path in sorted(self.folder.glob("*.safetensors")):
            self._load(path)

    def get(self, keys: Keys, compute: Compute, clock: Clock, phase: str) -> Tensor:
        """Return the rows of `keys`, [n, ...] in memory, computing those that are missing. They are not ragged."""
        self.ensure(keys, compute, clock, phase)
        return self.take(keys)

    def ensure(self, keys: Keys, compute: Compute, clock: Clock, phase: str) -> None:
        """Compute the rows of `keys` [n] that are missing; their time goes to the clock's `phase`.

        `compute` maps missing keys, sorted int64 [m], to rows [m, ...], or to as many ragged ones.
        """
        missing = np.unique(keys[~self._has(keys)])
        for piece in _pieces(missing):
            before = clock.elapsed(phase)
            with clock.phase(phase):
                rows = compute(piece)
            seconds = clock.elapsed(phase) - before
            self.spent_seconds += seconds
            self._add_fresh(piece, rows, seconds)
            if sum(len(k) for k, *_ in self._fresh) * self.row_bytes > FRESH_LIMIT_BYTES:
                self.save()

    def take(self, keys: Keys) -> Tensor:
        """Return the rows of `keys`, all of which are there, as a new tensor [n, ...]; ragged ones end to end."""
        at = np.searchsorted(self._keys, keys)
        chunks, places = self._chunk[at], self._place[at]
        if self.ragged:
            lengths = self._length[at]
            chunks, places = np.repeat(chunks, lengths), within(places, lengths)
        return self._gathered(chunks, places)

    def padded(self, keys: Keys, width: int) -> Tensor:
        """Return ragged rows, all of which are there, [n, width, ...]; the last value of each fills it up."""
        at = np.searchsorted(self._keys, keys)
        steps = np.minimum(np.arange(width), self._length[at][:, None] - 1)
        found = self._gathered(np.repeat(self._chunk[at], width), (self._place[at][:, None] + steps).ravel())
        padded: Tensor = found.unflatten(0, (len(keys), width))
        return padded

    def lengths(self, keys: Keys) -> NDArray[np.int64]:
        """Return how long the rows of `keys` are, int64 [n]; all are there."""
        found: NDArray[np.int64] = self._length[np.searchsorted(self._keys, keys)]
        return found

    def _gathered(self, chunks: NDArray[np.int64], numbers: NDArray[np.int64]) -> Tensor:
        """Return what is at these places of these chunks, as a new tensor."""
        places = torch.from_numpy(numbers)
        held = np.unique(chunks)
        if len(held) == 1:
            return self._rows(held[0])[places]
        first = self._rows(held[0])
        rows = first.new_empty(len(places), *first.shape[1:])
        for chunk in held:
            mine = torch.from_numpy(np.flatnonzero(chunks == chunk))
            rows[mine] = self._rows(chunk)[places[mine]]
        return rows

    @property
    def row_bytes(self) -> float:
        """The bytes of one row, the mean of ragged ones. There must be one."""
        rows = next(chunk for chunk in self._chunks if chunk is not None)
        return rows[0].numel() * rows.element_size() * (float(self._length.mean()) if self.ragged else 1)

    def price(self, count: int) -> float:
        """Return the seconds that `count` rows cost, by the mean of all that were ever computed."""
        return self._seconds / self._count * count if self._count else 0.0

    def save(self) -> None:
        """Write what was computed since the last save as one chunk, and map it."""
        from safetensors.torch import save_file

        if not self._fresh:
            return
        keys = np.concatenate([k for k, *_ in self._fresh])
        lengths = np.concatenate([each for _, each, _ in self._fresh if each is not None]) if self.ragged else None
        end = len(keys) if lengths is None else int(lengths.sum())
        seconds = sum(s for *_, s in self._fresh)
        path = self.folder / f"{hashlib.sha256(keys.tobytes()).hexdigest()[:16]}.safetensors"
        notes = {"seconds": repr(seconds), "identity": json.dumps(self._identity, sort_keys=True), **UNSEALED}
        held = {"keys": torch.from_numpy(keys), "rows": self._rows(0)[:end]}
        held |= {} if lengths is None else {"lengths": torch.from_numpy(lengths)}
        with replacing(path) as temporary:
            save_file(held, temporary, metadata=notes)
            seal(temporary)
        self._fresh.clear()
        self._chunks[0] = None
        mapped = _map(path)
        assert mapped is not None
        self._index(len(self._chunks), keys, 0, lengths)
        self._chunks.append(mapped.rows)

    def _load(self, path: Path) -> None:
        """Map a chunk that was there. One that is damaged is removed, and its rows are computed again."""
        mapped = _map(path) if is_whole(path) else None
        if mapped is None:
            path.unlink(missing_ok=True)
            return
        self._count += len(mapped.keys)
        self._seconds += mapped.seconds
        self._index(len(self._chunks), mapped.keys, 0, mapped.lengths)
        self._chunks.append(mapped.rows)

    def _add_fresh(self, keys: Keys, computed: Tensor | Ragged, seconds: float) -> None:
        rows, lengths = (computed, None) if isinstance(computed, Tensor) else computed
        begin = sum(len(k) if each is None else int(each.sum()) for k, each, _ in self._fresh)
        end = begin + len(rows)
        room = self._chunks[0]
        if room is None or end > len(room):
            # Room is doubled, so that hundreds of small additions copy each row about once.
            grown = torch.empty(max(end, 2 * begin), *rows.shape[1:], dtype=rows.dtype)
            if room is not None:
                grown[:begin] = room[:begin]
            self._chunks[0] = room = grown
        room[begin:end] = rows
        self._fresh.append((keys, lengths, seconds))
        self._count += len(keys)
        self._seconds += seconds
        self._index(0, keys, begin, lengths)

    def _index(self, chunk: int, keys: Keys, begin: int, lengths: NDArray[np.int64] | None) -> None:
        """Note where keys are, one after the other from `begin` on, whatever was noted before."""
        self.ragged |= lengths is not None
        each = np.ones(len(keys), np.int64) if lengths is None else lengths
        every = np.concatenate([keys, self._keys])
        self._keys, first = np.unique(every, return_index=True)
        self._chunk = np.concatenate([np.full(len(keys), chunk), self._chunk])[first]
        self._place = np.concatenate([begin + each.cumsum() - each, self._place])[first]
        self._length = np.concatenate([each, self._length])[first]

    def _rows(self, chunk: int) -> Tensor:
        rows = self._chunks[chunk]
        assert rows is not None
        return rows

    def _has(self, keys: Keys) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.append(self._keys, -1)[np.searchsorted(self._keys, keys)] == keys
        return found


@dataclass(frozen=True)
class _Mapped:
    """A chunk on disk; the rows are a view of the file."""

    keys: Keys
    rows: Tensor
    seconds: float
    lengths: NDArray[np.int64] | None


def _map(path: Path) -> _Mapped | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as chunk:
            seconds = float(chunk.metadata()["seconds"])
            lengths = chunk.get_tensor("lengths").numpy() if "lengths" in set(chunk.keys()) else None
            return _Mapped(chunk.get_tensor("keys").numpy(), chunk.get_tensor("rows"), seconds, lengths)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None


def within(begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return every place of stretches that begin at `begins` and are so long, one stretch after the other."""
    ends = lengths.cumsum()
    found: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - (ends - lengths), lengths)
    return found


def _pieces(keys: Keys) -> Iterator[Keys]:
    for begin in range(0, len(keys), PIECE):
        yield keys[begin : begin + PIECE]

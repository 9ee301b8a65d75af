"""Rows kept by key and content hash: prepared pixels, frozen-prefix activations, teacher logits.

One folder holds one kind of row, named by everything that can change a value. Each chunk is a safetensors file with
`keys` int64 [n], `rows` [n, ...] and the seconds that it took. A row is computed once, and its price is the mean over
all rows so far.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.cell import canonical
from bench.files import replacing
from bench.measure.clock import Clock

Compute = Callable[[NDArray[np.int64]], NDArray[Any]]


def id_of(kind: str, identity: Mapping[str, Any]) -> str:
    """Return the name of rows of a kind: 16 hex digits of the hash of everything that can change a value."""
    return hashlib.sha256(canonical([kind, identity])).hexdigest()[:16]


class Rows:
    """Rows of one kind, in memory and on disk.

    `spent_seconds` is what this object has computed, `price(n)` what n rows cost whoever computes them.
    """

    def __init__(self, folder: Path, kind: str, identity: Mapping[str, Any]) -> None:
        self.kind = kind
        self.id = id_of(kind, identity)
        self.folder = folder / kind / self.id
        self._identity = dict(identity)
        # Sorted keys and the place of each in `_rows`, which has room for more than it holds.
        self._keys, self._places = np.empty(0, np.int64), np.empty(0, np.int64)
        self._rows: NDArray[Any] | None = None
        self._seconds, self._count = 0.0, 0
        self._fresh: list[tuple[NDArray[np.int64], NDArray[Any], float]] = []
        self.spent_seconds = 0.0
        for path in sorted(self.folder.glob("*.safetensors")):
            self._load(path)

    def get(self, keys: NDArray[np.int64], compute: Compute, clock: Clock, phase: str) -> NDArray[Any]:
        """Return the rows of `keys` [n], computing those that are missing; their time goes to the clock's `phase`.

        `compute` maps missing keys, sorted int64 [m], to rows [m, ...].
        """
        missing = np.unique(keys[~self._has(keys)])
        if len(missing):
            before = clock.elapsed(phase)
            with clock.phase(phase):
                rows = compute(missing)
            seconds = clock.elapsed(phase) - before
            self.spent_seconds += seconds
            self._fresh.append((missing, rows, seconds))
            self._add(missing, rows, seconds)
        assert self._rows is not None
        return self._rows[self._places[np.searchsorted(self._keys, keys)]]

    def price(self, count: int) -> float:
        """Return the seconds that `count` rows cost, by the mean of all that were ever computed."""
        return self._seconds / self._count * count if self._count else 0.0

    def save(self) -> None:
        """Write what was computed since the last save as one chunk."""
        from safetensors.numpy import save_file

        if not self._fresh:
            return
        keys = np.concatenate([k for k, _, _ in self._fresh])
        rows = np.concatenate([r for _, r, _ in self._fresh])
        seconds = sum(s for _, _, s in self._fresh)
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:16]
        notes = {"seconds": repr(seconds), "identity": json.dumps(self._identity, sort_keys=True)}
        with replacing(self.folder / f"{name}.safetensors") as temporary:
            save_file({"keys": keys, "rows": np.ascontiguousarray(rows)}, temporary, metadata=notes)
        self._fresh.clear()

    def _load(self, path: Path) -> None:
        """Read one chunk. One that is damaged is removed, and its rows are computed again."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as chunk:
                seconds = float(chunk.metadata()["seconds"])
                keys, rows = chunk.get_tensor("keys"), chunk.get_tensor("rows")
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            path.unlink(missing_ok=True)
            return
        self._add(keys, rows, seconds)

    def _has(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.append(self._keys, -1)[np.searchsorted(self._keys, keys)] == keys
        return found

    def _add(self, keys: NDArray[np.int64], rows: NDArray[Any], seconds: float) -> None:
        begin, self._count = self._count, self._count + len(keys)
        self._seconds += seconds
        if self._rows is None:
            self._rows = rows
        else:
            if self._count > len(self._rows):
                # Room is doubled, so that hundreds of small additions copy each row about once.
                room = np.empty((max(self._count, 2 * begin), *rows.shape[1:]), rows.dtype)
                room[:begin] = self._rows[:begin]
                self._rows = room
            self._rows[begin : self._count] = rows
        keys = np.concatenate([self._keys, keys])
        places = np.concatenate([self._places, np.arange(begin, self._count)])
        self._keys, first = np.unique(keys, return_index=True)
        self._places = places[first]

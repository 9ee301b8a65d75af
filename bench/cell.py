"""A cell: one point of the matrix, and the hash that names it.

Everything that can change a cell's numbers is in its identity; nothing else is. `IDENTITY_VERSION` goes up when the
meaning of a field changes, and a golden file of ids says so in the tests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

IDENTITY_VERSION = 1


@dataclass(frozen=True)
class Cell:
    """One point of the matrix, resolved: names, options, versions, digests, recipe and seed.

    Each part is plain JSON. `task`, `dataset` and `strategy` are `{name, version, options...}`; `dataset` has the
    `digest` of its content; `backbone` is `{name, source, weights, digest}`, where weights is "random" for a strategy
    that does not start from pretrained ones. `parents` maps a role ("teacher") to the id of the cell that plays it.
    `runtime` holds options that cannot change a number, such as a data set's path, and is not part of the identity.
    """

    task: Mapping[str, Any]
    dataset: Mapping[str, Any]
    size: int
    backbone: Mapping[str, Any]
    strategy: Mapping[str, Any]
    recipe: Mapping[str, Any]
    seed: int
    parents: Mapping[str, str] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """The first 12 hex digits of the sha256 of the identity."""
        return self._hashed(canonical)

    def settle(self, form: Callable[[Any], bytes]) -> None:
        """Take the id now, given what returns the canonical form of a part: thousands of cells share their parts."""
        self.__dict__["id"] = self._hashed(form)

    def _hashed(self, form: Callable[[Any], bytes]) -> str:
        parts = b",".join([key + form(getattr(self, name)) for name, key in _IDENTITY.items()])
        return hashlib.sha256(b"[%d,{%s}]" % (IDENTITY_VERSION, parts)).hexdigest()[:12]

    def identity(self) -> dict[str, Any]:
        """Return what the id is made of, as plain JSON."""
        return {name: getattr(self, name) for name in _IDENTITY}

    def to_json(self) -> dict[str, Any]:
        """Return the cell as plain JSON, read back by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cell:
        """Read a cell back. Raises TypeError when a field is missing or unknown."""
        return cls(**data)

    def plugin(self, part: str) -> dict[str, Any]:
        """Return `task`, `dataset`, `backbone` or `strategy` as its registry builds it: name and options."""
        options = {**getattr(self, part), **self.runtime.get(part, {})}
        return {k: v for k, v in options.items() if k not in ("version", "digest")}

    def entropy(self, *scope: object) -> int:
        """Return a 63-bit seed for one named use of randomness in this cell's run ("init", "order", ...)."""
        return entropy(self.id, *scope)


def entropy(*scope: object) -> int:
    """Return a 63-bit seed made of the words in `scope`: the same words, the same seed, on every machine."""
    return int.from_bytes(hashlib.sha256(canonical([str(s) for s in scope])).digest()[:8], "big") >> 1


def canonical(value: Any) -> bytes:
    """Return JSON bytes that do not depend on the order of keys; refuses NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


# The fields of the identity, in the order of canonical JSON, and their keys there.
_IDENTITY = {name: canonical(name) + b":" for name in sorted(f.name for f in fields(Cell)) if name != "runtime"}

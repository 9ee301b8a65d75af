"""A cell: one point of the matrix, and the hash that names it.

Everything that can change a cell's numbers is in its identity; nothing else is. `IDENTITY_VERSION` goes up when the
meaning of a field changes, and a golden file of ids says so in the tests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
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
    `also_test` has the data sets that the trained cell is tested on beside its own, each as `dataset` is; none are not
    part of the identity, so that a cell of one data set is the cell that it was before there were others.
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
    also_test: tuple[Mapping[str, Any], ...] = ()

    @cached_property
    def id(self) -> str:
        """The first 12 hex digits of the sha256 of the identity."""
        return self._hashed(canonical)

    @cached_property
    def learnt_id(self) -> str:
        """The id of the cell that learns the same and is tested on its own data alone: draws hang on it."""
        return replace(self, also_test=()).id if self.also_test else self.id

    def settle(self, form: Callable[[Any], bytes]) -> None:
        """Take the id now, given what returns the canonical form of a part: thousands of cells share their parts."""
        self.__dict__["id"] = self._hashed(form)

    def _hashed(self, form: Callable[[Any], bytes]) -> str:
        told = ((key, getattr(self, name)) for name, key in _IDENTITY.items() if self._counts(name))
        parts = b",".join([key + form(part) for key, part in told])
        return hashlib.sha256(b"[%d,{%s}]" % (IDENTITY_VERSION, parts)).hexdigest()[:12]

    def identity(self) -> dict[str, Any]:
        """Return what the id is made of, as plain JSON."""
        return {name: getattr(self, name) for name in _IDENTITY if self._counts(name)}

    def _counts(self, name: str) -> bool:
        """Say whether a field is part of this cell's identity."""
        return name != "also_test" or bool(self.also_test)

    def to_json(self) -> dict[str, Any]:
        """Return the cell as plain JSON, read back by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cell:
        """Read a cell back. Raises TypeError when a field is missing or unknown."""
        return cls(**{**data, "also_test": tuple(data.get("also_test", ()))})

    def plugin(self, part: str) -> dict[str, Any]:
        """Return `task`, `dataset`, `backbone` or `strategy` as its registry builds it: name and options."""
        return _buildable(getattr(self, part), self.runtime.get(part, {}))

    def elsewhere(self) -> list[dict[str, Any]]:
        """Return the data sets of `also_test` as their registry builds them."""
        runtime = self.runtime.get("also_test", [{}] * len(self.also_test))
        return [_buildable(spec, own) for spec, own in zip(self.also_test, runtime, strict=True)]

    def entropy(self, *scope: object) -> int:
        """Return a 63-bit seed for one named use of randomness in this cell's run ("init", "order", ...)."""
        return entropy(self.learnt_id, *scope)


def _buildable(spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in {**spec, **runtime}.items() if k not in ("version", "digest")}


def entropy(*scope: object) -> int:
    """Return a 63-bit seed made of the words in `scope`: the same words, the same seed, on every machine."""
    return int.from_bytes(hashlib.sha256(canonical([str(s) for s in scope])).digest()[:8], "big") >> 1


def canonical(value: Any) -> bytes:
    """Return JSON bytes that do not depend on the order of keys; refuses NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


# The fields of the identity, in the order of canonical JSON, and their keys there.
_IDENTITY = {name: canonical(name) + b":" for name in sorted(f.name for f in fields(Cell)) if name != "runtime"}

"""A YAML 1.2 file as plain values, with the line and column of each.

YAML 1.2 keeps `no` a string and reads `1e-3` as a number. Tags, anchors that contain themselves, and files that unfold
into more than a million values are refused: a suite is literal data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import SuiteError

Trail = tuple[str | int, ...]
MAX_VALUES = 100_000
MAX_DEPTH = 40


@dataclass
class Document:
    """Plain data and, for each trail of keys, the place of its key and of its value (1-based line and column)."""

    path: str
    data: dict[str, Any]
    keys: dict[Trail, tuple[int, int]] = field(default_factory=dict)
    values: dict[Trail, tuple[int, int]] = field(default_factory=dict)
    origins: dict[Trail, str] = field(default_factory=dict)

    def error(self, trail: Trail, message: str, key: bool = False) -> SuiteError:
        """Return a SuiteError that begins with file:line:column of a value, or of its key."""
        places = self.keys if key else self.values
        while trail not in places and trail:
            if trail in self.origins:
                return SuiteError(f"{self.origins[trail]}: {message}")
            trail, places = trail[:-1], self.values
        line, column = places.get(trail, (1, 1))
        return SuiteError(f"{self.path}:{line}:{column}: {message}")

    def overlay(self, base: Trail, patch: Mapping[str, Any], patch_trail: Trail) -> None:
        """Lay `patch`, found at `patch_trail`, over the mapping at `base`: mappings merge, all else is replaced."""
        target = self.at(base)
        for key, value in patch.items():
            here, there = (*base, key), (*patch_trail, key)
            if isinstance(value, Mapping) and isinstance(target.get(key), dict):
                self.overlay(here, value, there)
                continue
            target[key] = value
            for places in (self.keys, self.values):
                for trail in [t for t in places if t[: len(here)] == here]:
                    del places[trail]
                for trail in [t for t in places if t[: len(there)] == there]:
                    places[here + trail[len(there) :]] = places[trail]

    def assign(self, trail: Trail, text: str, origin: str) -> None:
        """Set the value at `trail` from YAML text typed at `origin` ("--set recipe.epochs")."""
        target: Any = self.data
        for key in trail[:-1]:
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                raise SuiteError(f"{origin}: {key!r} is not a mapping")
        target[trail[-1]] = parse(text, origin).data["value"]
        for places in (self.keys, self.values):
            for stale in [t for t in places if t[: len(trail)] == trail]:
                del places[stale]
        self.origins[trail] = origin

    def at(self, trail: Trail) -> Any:
        """Return the value at a trail."""
        value: Any = self.data
        for key in trail:
            value = value[key]
        return value


def read(path: Path) -> Document:
    """Read a YAML file. Raises SuiteError when it can't be read, is no YAML, or is not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SuiteError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SuiteError(f"{path}: cannot be read: {reason}") from None
    return parse(text, str(path), mapping=True)


def parse(text: str, path: str, mapping: bool = False) -> Document:
    """Parse YAML text; without `mapping` the value is wrapped as `{"value": ...}`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    loader = YAML(typ="rt", pure=True)
    loader.version = (1, 2)
    loader.max_depth = MAX_DEPTH
    try:
        root = loader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = " ".join(str(error.problem or error.context or "not YAML").split())
        raise SuiteError(f"{path}:{line}:{column}: {problem}") from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise SuiteError(f"{path}:1:1: not YAML: {' '.join(str(error).split())[:200]}") from None
    document = Document(path, {})
    if mapping and not isinstance(root, Mapping):
        raise SuiteError(f"{path}:1:1: a suite is a mapping that begins with `suite: NAME`")
    document.values[()] = (1, 1)
    unfold = _Unfold(document)
    document.data = unfold(root, ()) if mapping else {"value": unfold(root, ())}
    return document


class _Unfold:
    """Turn round-trip nodes into plain values, noting places; counts values and depth."""

    def __init__(self, document: Document) -> None:
        self.document, self.count = document, 0

    def __call__(self, node: Any, trail: Trail, above: tuple[int, ...] = ()) -> Any:
        self.count += 1
        if self.count > MAX_VALUES or len(trail) > MAX_DEPTH:
            raise self.document.error(trail, f"too much: over {MAX_VALUES} values or {MAX_DEPTH} levels")
        if id(node) in above:
            raise self.document.error(trail, "this names itself: an alias inside its own anchor")
        tag = getattr(getattr(node, "tag", None), "value", None)
        if tag and not str(tag).startswith("tag:yaml.org,2002:"):
            raise self.document.error(trail, f"tags are not allowed: {tag}")
        if isinstance(node, Mapping):
            return self._mapping(node, trail, (*above, id(node)))
        if isinstance(node, list):
            plain = []
            for i, item in enumerate(node):
                here = (*trail, i)
                line, column = node.lc.item(i)  # type: ignore[attr-defined]
                self.document.values[here] = (line + 1, column + 1)
                plain.append(self(item, here, (*above, id(node))))
            return plain
        return self._scalar(node, trail)

    def _mapping(self, node: Any, trail: Trail, above: tuple[int, ...]) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, value in node.items():
            name = key if isinstance(key, str) else str(key)
            here = (*trail, name)
            if key in (node.lc.data or {}):
                line, column = node.lc.key(key)
                self.document.keys[here] = (line + 1, column + 1)
                line, column = node.lc.value(key)
                self.document.values[here] = (line + 1, column + 1)
            plain[name] = self(value, here, above)
        return plain

    def _scalar(self, node: Any, trail: Trail) -> Any:
        from ruamel.yaml.scalarbool import ScalarBoolean

        if node is None or isinstance(node, bool):
            return node
        if isinstance(node, ScalarBoolean):
            return bool(node)
        if isinstance(node, int):
            return int(node)
        if isinstance(node, float):
            number = float(node)
            if number != number or number in (float("inf"), float("-inf")):
                raise self.document.error(trail, "a number must be finite")
            return number
        if isinstance(node, str):
            return str(node)
        if type(node).__name__ == "TaggedScalar":
            raise self.document.error(trail, f"tags are not allowed: {node.tag.value}")
        raise self.document.error(trail, f"{str(node)!r} is read as a {type(node).__name__}; put it in quotes")

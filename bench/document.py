"""A YAML 1.2 file as plain values, with the line and column of each.

YAML 1.2 keeps `no` a string and reads `1e-3` as a number. Directives, tags, anchors that contain themselves, characters
that do not show, and what unfolds into more than twenty thousand values are refused: a suite is literal data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from bench.errors import HIDDEN, SuiteError, did_you_mean, nearest, quoted

Trail = tuple[str | int, ...]
Place = tuple[int, int]
# So much is read in less than a second.
MAX_BYTES = 500_000
MAX_VALUES = 20_000
MAX_DEPTH = 40


@dataclass
class Document:
    """Plain data and, for each trail of keys, the place of its key and of its value (1-based line and column).

    `path` is the file, or the option that the text was typed at; `origins` names the option that a value came from.
    """

    path: str
    data: dict[str, Any]
    keys: dict[Trail, Place] = field(default_factory=dict)
    values: dict[Trail, Place] = field(default_factory=dict)
    origins: dict[Trail, str] = field(default_factory=dict)

    def error(self, trail: Trail, message: str, key: bool = False) -> SuiteError:
        """Return a SuiteError that begins with file:line:column of a value, or of its key."""
        places = self.keys if key else self.values
        while trail not in places and trail:
            origin = next((o for t, o in self.origins.items() if t[: len(trail)] == trail), None)
            if origin is not None:
                return SuiteError(f"{origin}: {message}")
            trail, places = trail[:-1], self.values
        return self.error_at(*places.get(trail, (1, 1)), message)

    def error_at(self, line: int, column: int, message: str) -> SuiteError:
        """Return a SuiteError that begins with a place: of what was typed as an option, the option will do."""
        place = self.path if () in self.origins else f"{self.path}:{line}:{column}"
        return SuiteError(f"{place}: {message}")

    def laid(self, trail: Trail) -> Document:
        """Return a copy with the mapping at `trail` laid over the top: mappings merge, all else is replaced."""
        data = deepcopy(self.data)
        moved: dict[Trail, Trail] = {}
        _overlay((), data, trail, deepcopy(self.at(trail)), moved)
        keys, values = _moved(self.keys, moved), _moved(self.values, moved)
        return Document(self.path, data, keys, values, dict(self.origins))

    def assign(self, trail: Trail, text: str, origin: str) -> None:
        """Set the value at `trail` from YAML text that was typed at `origin`."""
        target: Any = self.data
        last = len(trail) - 1
        found: list[Any] = []
        for depth, word in enumerate(trail):
            key: Any = _key(target, str(word), f"{origin}: {quoted(found[-1] if found else word)}")
            found.append(key)
            if depth == last:
                target[key] = parse(text, origin, mapping=False).data["value"]
            else:
                target = target[key] if isinstance(target, list) else target.setdefault(key, {})
        trail = tuple(found)
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


def _key(target: Any, word: str, place: str) -> str | int:
    """Return the key that a word means in a mapping, or the number in a list. Raises SuiteError."""
    if isinstance(target, dict):
        return word
    if not isinstance(target, list):
        raise SuiteError(f"{place} is not a mapping")
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) < len(target)):
        raise SuiteError(f"{place} is a list of {len(target)}, counted from 0, and has no {quoted(word)}")
    return int(word)


def _overlay(
    base: Trail, target: dict[str, Any], there: Trail, patch: Mapping[str, Any], moved: dict[Trail, Trail]
) -> None:
    """Lay a mapping over `target`, which stands at `base`; note in `moved` where each value came from and went to."""
    for key, value in patch.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _overlay((*base, key), target[key], (*there, key), value, moved)
        else:
            target[key] = value
            moved[*there, key] = (*base, key)


def _moved(places: Mapping[Trail, Place], moved: Mapping[Trail, Trail]) -> dict[Trail, Place]:
    """Return places with those of what moved taken along, and those of what had stood there left out."""
    taken = set(moved.values())
    found = {t: place for t, place in places.items() if not any(t[:n] in taken for n in range(1, len(t) + 1))}
    for trail, place in places.items():
        for n in range(1, len(trail) + 1):
            if trail[:n] in moved:
                found[moved[trail[:n]] + trail[n:]] = place
    return found


def read(path: Path) -> Document:
    """Read a YAML file. Raises SuiteError when it can't be read, is no YAML, or is not a mapping."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise SuiteError(f"{path}: there is no such file{_beside(path)}") from None
    except UnicodeDecodeError as error:
        line, start = content.count(b"\n", 0, error.start) + 1, content.rfind(b"\n", 0, error.start) + 1
        raise SuiteError(f"{path}:{line}:{error.start - start + 1}: this is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        raise SuiteError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_BYTES:
        raise SuiteError(f"{path}: cannot be read: it is larger than {MAX_BYTES:,} bytes, and a suite is a short text")
    return parse(text, str(path))


def _beside(path: Path) -> str:
    """Return `; did you mean ...?` with the files of the same folder whose names are near."""
    try:
        names = [p.name for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml", ".json") and p.exists()]
    except OSError:
        return ""
    return did_you_mean([str(path.with_name(name)) for name in nearest(path.name, names)])


def parse(text: str, path: str, mapping: bool = True) -> Document:
    """Parse YAML text; without `mapping`, `path` is an option, and any value will do: it is wrapped as {"value": ...}.

    Raises SuiteError.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    document = Document(path, {}, values={(): (1, 1)}, origins={} if mapping else {(): path})
    if directive := re.search(r"^%", text, re.MULTILINE):
        raise document.error_at(*_place(text, directive.start()), "directives are not allowed: this is YAML 1.2")
    if odd := HIDDEN.search(text):
        raise document.error_at(*_place(text, odd.start()), hidden(odd[0]))
    try:
        root = _compose(YAML(typ="safe", pure=True).parse(text), document)
    except MarkedYAMLError as error:
        raise document.error_at(*_plainly(error)) from None
    except (YAMLError, ValueError, OverflowError):  # an escape beyond the last character
        beyond = _BEYOND.search(text)
        raise document.error_at(*_place(text, beyond.start() if beyond else 0), "an escape of no character") from None
    if mapping and (root is None or root.kind != "mapping"):
        raise document.error_at(1, 1, "a suite is a mapping that begins with `suite: NAME`")
    plain: Any = None if root is None else _Unfold(document)(root, ())
    document.data = plain if mapping else {"value": plain}
    return document


_BEYOND = re.compile(r"\\U(?!00(0[0-9a-fA-F]|10))")


def hidden(character: str) -> str:
    """Say why a character has no place in a suite."""
    return f"a character that does not show, U+{ord(character):04X}: a suite is what its reader sees"


def _place(text: str, at: int) -> Place:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


# How what the parser says begins or ends -> what a user is told.
_PROBLEMS = {
    "'\\t' that cannot start any token": "write spaces, not tabs",
    "that cannot start any token": "a value that begins so goes into quotes",
    "mapping values are not allowed here": "a `:` too many: put text that has one into quotes, or mend the indentation",
    "could not find expected ':'": "a key without its `:`",
    "found unexpected end of stream": "this quote is not closed",
    "but got '<stream end>'": "this bracket is not closed",
    "found unknown escape character": "no such escape; in single quotes a backslash is a backslash",
    "expected <block end>": "this does not go on what stands above it: mend the indentation, or put text into quotes",
}
_WHERE_IT_BEGAN = ("a key without", "this quote", "this bracket")


def _plainly(error: Any) -> tuple[int, int, str]:
    """Return the line and column of what the parser refused, and say it in plain words."""
    problem = " ".join(str(error.problem or error.context or "not YAML").split())
    told = next((told for part, told in _PROBLEMS.items() if part in problem), problem)
    mark = error.context_mark if told.startswith(_WHERE_IT_BEGAN) else error.problem_mark
    mark = mark or error.problem_mark or error.context_mark
    return (mark.line + 1, mark.column + 1, told) if mark else (1, 1, told)


@dataclass(eq=False)
class _Node:
    """A value as it stands in the text; a mapping's `items` are key, value, key, value."""

    kind: str
    line: int
    column: int
    text: str = ""
    items: list[_Node] = field(default_factory=list)


def _compose(events: Iterable[Any], document: Document) -> _Node | None:
    """Return the tree of a text's one document; an alias is the node of its anchor once more."""
    from ruamel.yaml import events as yaml

    anchors: dict[str, _Node] = {}
    top = _Node("top", 1, 1)
    above = [top]
    for count, event in enumerate(events):
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if count > 2 * MAX_VALUES:
            raise document.error_at(line, column, f"too much: over {MAX_VALUES:,} values")
        if getattr(event, "tag", None):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!", 1)
            raise document.error_at(line, column, f"tags are not allowed: {tag[:60]}")
        if isinstance(event, yaml.CollectionEndEvent):
            above.pop()
        elif isinstance(event, yaml.DocumentStartEvent) and top.items:
            raise document.error_at(line, column, "a suite is one document, and here another begins")
        elif isinstance(event, yaml.AliasEvent):
            node = anchors.get(event.anchor)
            if node is None:
                raise document.error_at(line, column, f"no anchor &{event.anchor[:60]} before this alias")
            if node in above:
                raise document.error_at(line, column, "this names itself: an alias inside its own anchor")
            above[-1].items.append(node)
        elif isinstance(event, yaml.NodeEvent):
            node = _node(event, line, column)
            above[-1].items.append(node)
            if event.anchor:
                anchors[event.anchor] = node
            if node.kind in ("mapping", "list"):
                above.append(node)
            if len(above) > MAX_DEPTH:
                raise document.error_at(line, column, f"too much: over {MAX_DEPTH} levels")
    return top.items[0] if top.items else None


def _node(event: Any, line: int, column: int) -> _Node:
    from ruamel.yaml import events as yaml

    if isinstance(event, yaml.ScalarEvent):
        return _Node("plain" if event.style is None else "quoted", line, column, text=event.value)
    return _Node("mapping" if isinstance(event, yaml.MappingStartEvent) else "list", line, column)


# The core schema of YAML 1.2, 10.3.2.
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_WORDS |= {spelt: value for word, value in _WORDS.items() for spelt in (word.capitalize(), word.upper())}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
# What an integer of 64 bits has, and no reader of records and reports loses a digit of.
_MAX_DIGITS, _MAX_INTEGER = 24, 2**63 - 1
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class _Unfold:
    """Turn nodes into plain values, noting places; counts values, since an alias may stand for many."""

    def __init__(self, document: Document) -> None:
        self.document, self.count = document, 0

    def __call__(self, node: _Node, trail: Trail) -> Any:
        self.document.values[trail] = (node.line, node.column)
        self.count += 1
        if self.count > MAX_VALUES or len(trail) > MAX_DEPTH:
            raise self.document.error(trail, f"too much: over {MAX_VALUES:,} values or {MAX_DEPTH} levels")
        if node.kind == "mapping":
            return self._mapping(node, trail)
        if node.kind == "list":
            return [self(item, (*trail, i)) for i, item in enumerate(node.items)]
        return self._scalar(node, trail)

    def _mapping(self, node: _Node, trail: Trail) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, value in zip(node.items[::2], node.items[1::2], strict=True):
            if key.kind not in ("plain", "quoted"):
                raise self.document.error_at(key.line, key.column, "a key is a word, not a list or a mapping")
            name = self._text(key)
            if name == "<<" and key.kind == "plain":
                raise self.document.error_at(
                    key.line, key.column, "YAML 1.2 has no merge key `<<`; write the values out"
                )
            if name in plain:
                raise self.document.error_at(key.line, key.column, f"the key {quoted(name)} is there twice")
            self.document.keys[(*trail, name)] = (key.line, key.column)
            if value.kind == "plain" and not value.text:  # nothing stands, for the parser, where the next thing begins
                value = _Node("plain", key.line, key.column)
            plain[name] = self(value, (*trail, name))
        return plain

    def _scalar(self, node: _Node, trail: Trail) -> Any:
        text = self._text(node)
        if node.kind == "quoted":
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            number = None if len(text) > _MAX_DIGITS else int(text, 0 if text[:2] in ("0o", "0x") else 10)
            if number is None or abs(number) > _MAX_INTEGER:
                raise self.document.error(trail, f"a whole number fits into 64 bits, not {_cut(text)}")
            return number
        if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and not isfinite(float(text))):
            raise self.document.error(trail, f"a number must be finite, not {_cut(text)}")
        return float(text) if _FLOAT.fullmatch(text) else text

    def _text(self, node: _Node) -> str:
        try:  # JSON escapes a character beyond U+FFFF as two halves
            text = node.text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise self.document.error_at(node.line, node.column, "half a character: a surrogate alone") from None
        if odd := HIDDEN.search(text):
            raise self.document.error_at(node.line, node.column, hidden(odd[0]))
        return text


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Plugins by name: found in a package folder or behind an entry point, built from `{name: ..., option: value}`.

A plugin is a frozen dataclass whose fields are its options. Its class variables are `name`, `version` and what its
protocol asks for. Importing a plugin imports no torch. An option that cannot change a number (a path, say) is declared
with `runtime_option`, and stays out of a cell's identity.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.errors import OptionError, UnknownName, did_you_mean, nearest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")
P = TypeVar("P", bound=type)


class Registry(Generic[T]):
    """The plugins of one kind.

    `kind` is the word shown to users ("strategy"), `package` the folder of the built-in ones, and `group` the entry
    point group that third parties use ("bench.strategies").
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package, self.group = kind, package, package
        self._plugins: dict[str, type[T]] = {}
        self._loaded = False

    def register(self, plugin: P) -> P:
        """Add a plugin class under its `name`; a class decorator."""
        name: str = plugin.name  # type: ignore[attr-defined]
        known = self._plugins.get(name)
        if known is not None and known.__module__ != plugin.__module__:
            raise ValueError(f"two {self.kind} plugins are named {name!r}: {known.__module__}, {plugin.__module__}")
        self._plugins[name] = strict(plugin)
        return plugin

    def names(self) -> list[str]:
        """Return every registered name, sorted."""
        self._load()
        return sorted(self._plugins)

    def get(self, name: str) -> type[T]:
        """Return the plugin class called `name`, or raise UnknownName with the nearest ones."""
        self._load()
        if name not in self._plugins:
            raise UnknownName(self.kind, name, self._plugins)
        return self._plugins[name]

    def create(self, spec: Mapping[str, Any]) -> T:
        """Build a plugin from `{name: ..., option: value}`.

        Keys that identity adds (`version`, `digest`, `weights_digest`) are ignored, so a cell can be read back.
        Raises UnknownName or OptionError.
        """
        plugin = self.get(spec["name"])
        options = {k: v for k, v in spec.items() if k not in ("name", "version", "digest")}
        return build(plugin, options, f"{self.kind} {spec['name']!r}")

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self.package}.{module.name}")
        for entry in entry_points(group=self.group):
            self.register(entry.load())


def runtime_option(default: Any = dataclasses.MISSING) -> Any:
    """Declare an option of a plugin that cannot change a number, so it is not part of a cell's identity."""
    return dataclasses.field(default=default, metadata={"identity": False})


def build(plugin: type[T], options: Mapping[str, Any], what: str) -> T:
    """Build a frozen dataclass from options, strictly typed. Raises OptionError with the path to the wrong option."""
    from pydantic import ValidationError

    fields = {f.name: f for f in dataclasses.fields(plugin) if f.init}  # type: ignore[arg-type]
    for key in options:
        if key not in fields:
            hint = did_you_mean(nearest(str(key), fields)) or (
                f"; it has {', '.join(sorted(fields))}" if fields else "; it has no options"
            )
            raise OptionError(f"unknown option {key!r} of {what}{hint}", (key,))
    for key, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and key not in options:
            raise OptionError(f"{what} needs the option {key!r}")
    try:
        built: T = adapter(plugin).validate_json(json.dumps(dict(options)))
        return built
    except ValidationError as error:
        first = error.errors()[0]
        path = tuple(p for p in first["loc"] if not (isinstance(p, str) and p not in options and p not in fields))
        raise OptionError(f"{what}: {plain_message(first)}", path) from None


def strict(data: P) -> P:
    """Have a dataclass refuse unknown options and wrong types when it is built from what a user typed."""
    data.__pydantic_config__ = {"extra": "forbid", "strict": True}  # type: ignore[attr-defined]
    return data


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def adapter(plugin: type[Any]) -> TypeAdapter[Any]:
    """Return the pydantic adapter of a dataclass, made once: it validates options and knows their JSON Schema."""
    from pydantic import TypeAdapter

    if plugin not in _ADAPTERS:
        _ADAPTERS[plugin] = TypeAdapter(plugin)
    return _ADAPTERS[plugin]


_WORDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "missing": "is missing",
}


def plain_message(error: Mapping[str, Any]) -> str:
    """Say one pydantic error in plain words: `epochs must be a whole number, not '10'`."""
    name = next((str(p) for p in reversed(error["loc"]) if isinstance(p, str)), "value")
    words = _WORDS.get(error["type"])
    if error["type"] == "missing":
        return f"{name} is missing"
    if words is None:
        words = error["msg"].removeprefix("Value error, ")
        words = words[0].lower() + words[1:].replace("Input should", "should")
        words = words.removeprefix("input ")
    return f"{name} {words}, not {_short(error['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def identity_of(plugin: Any) -> dict[str, Any]:
    """Return what of a plugin can change a number: its name, version, and options that are not runtime options."""
    options = {
        f.name: plain(getattr(plugin, f.name)) for f in dataclasses.fields(plugin) if f.metadata.get("identity", True)
    }
    return {"name": plugin.name, "version": plugin.version, **options}


def runtime_of(plugin: Any) -> dict[str, Any]:
    """Return the options of a plugin that are not part of the identity."""
    fields = dataclasses.fields(plugin)
    return {f.name: plain(getattr(plugin, f.name)) for f in fields if not f.metadata.get("identity", True)}


def plain(value: Any) -> Any:
    """Turn nested dataclasses, tuples and mappings into what JSON holds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(v) for v in value]
    return value

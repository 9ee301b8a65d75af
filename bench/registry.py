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
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.errors import OptionError, PluginError, UnknownName, did_you_mean, nearest, quoted

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
        """Add a plugin class under its `name`; a class decorator. Raises PluginError when the name is taken."""
        if not (dataclasses.is_dataclass(plugin) and hasattr(plugin, "name") and hasattr(plugin, "version")):
            raise PluginError(f"{_origin(plugin)}: a {self.kind} plugin is a dataclass with a `name` and a `version`")
        known = self._plugins.get(plugin.name)
        if known is not None and _origin(known) != _origin(plugin):
            raise PluginError(
                f"two {self.kind} plugins are named {plugin.name!r}: {_origin(known)} and {_origin(plugin)}; "
                "rename one or uninstall its package"
            )
        self._plugins[plugin.name] = strict(plugin)  # type: ignore[assignment]
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
        """Build a plugin from `{name: ..., option: value}`. Raises UnknownName or OptionError."""
        options = {k: v for k, v in spec.items() if k != "name"}
        return build(self.get(spec["name"]), options, f"{self.kind} {spec['name']!r}")

    def _load(self) -> None:
        if self._loaded:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self.package}.{module.name}")
        for entry in _installed().select(group=self.group):
            self.register(self._third_party(entry))
        self._loaded = True

    def _third_party(self, entry: EntryPoint) -> type[T]:
        try:
            plugin: type[T] = entry.load()
        except PluginError:
            raise
        except Exception as error:  # what another package raises when it is imported can be anything
            package = entry.dist.name if entry.dist else entry.value
            raise PluginError(
                f"the {self.kind} plugin {entry.name!r} of the package {package!r} cannot be imported: "
                f"{type(error).__name__}: {' '.join(str(error).split())}; mend or uninstall that package"
            ) from error
        return plugin


@cache
def _installed() -> Any:  # its type is another from Python 3.12 on
    """Return the entry points of every package: they are all read to find those of any group."""
    return entry_points()


def _origin(plugin: type[Any]) -> str:
    return f"{plugin.__module__}.{plugin.__qualname__}"


def runtime_option(default: Any = dataclasses.MISSING) -> Any:
    """Declare an option of a plugin that cannot change a number, so it is not part of a cell's identity."""
    return dataclasses.field(default=default, metadata={"identity": False})


def later(default: Any) -> Any:
    """Declare an option that joined when records were there already: at its default it is not part of an identity.

    The default must be what was done before there was the option, so that no record is of another cell than it was.
    """
    return dataclasses.field(default=default, metadata={"later": True})


def build(plugin: type[T], options: Mapping[str, Any], what: str) -> T:
    """Build a frozen dataclass from options, strictly typed. Raises OptionError with the path to the wrong option."""
    from pydantic import ValidationError

    fields = {f.name: f for f in dataclasses.fields(plugin) if f.init}  # type: ignore[arg-type]
    for key in options:
        if key not in fields:
            raise OptionError(f"unknown option {quoted(key)} of {what}{_instead(key, fields)}", (key,), key=True)
    for key, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and key not in options:
            raise OptionError(f"{what} needs the option {key!r}")
    try:
        built: T = adapter(plugin).validate_json(json.dumps(dict(options)))
        return built
    except ValidationError as error:
        first = error.errors()[0]
        path: tuple[str | int, ...] = tuple(first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            known = _options_at(plugin, path[:-1])
            raise OptionError(
                f"unknown option {quoted(path[-1])} of {path[-2]}{_instead(path[-1], known)}", path, key=True
            ) from None
        raise OptionError(f"{what}: {plain_message(first)}", path) from None


def choice(field: str, spec: Any, known: Mapping[str, type[T]]) -> T:
    """Build what a field names among dataclasses: from a name, from a mapping with it and options, or it is one.

    Raises OptionError with the path from the field on.
    """
    if any(isinstance(spec, kind) for kind in known.values()):
        built: T = spec
        return built
    options = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise OptionError(f"{field} must be a name or a mapping with a name, not {quoted(spec)}", (field,))
    name = options["name"]
    if name not in known:
        raise OptionError(f"unknown {field} {quoted(name)}{_instead(name, known, 'there are')}", (field,))
    try:
        return build(known[name], options, f"{field} {name!r}")
    except OptionError as error:
        raise OptionError(str(error), (field, *error.path), error.key) from None


def briefly(chosen: Any) -> Any:
    """Return the name of what `choice` built where it has no option of its own, so that both ways to say it are one."""
    fields = dataclasses.fields(chosen)
    return chosen.name if all(getattr(chosen, f.name) == f.default for f in fields) else chosen


def _instead(key: object, known: Iterable[str], they: str = "it has") -> str:
    """Return the nearest right word, or all of them."""
    words = sorted(known)
    return did_you_mean(nearest(str(key), words)) or f"; {they} {', '.join(words) or 'no options'}"


def _options_at(plugin: type[Any], path: Sequence[str | int]) -> list[str]:
    """Return the options of the dataclass that is nested at `path` of a plugin."""
    schema = adapter(plugin).json_schema()
    here = schema
    for key in path:
        here = here["properties"].get(key, {})
        here = schema.get("$defs", {}).get(here.get("$ref", "").rpartition("/")[2], here)
    return list(here.get("properties", ()))


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
    "dataclass_type": "must be a mapping",
    "missing": "is missing",
    "string_too_short": "is empty",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:,.0f} or less",
}


def plain_message(error: Mapping[str, Any]) -> str:
    """Say one pydantic error in plain words: `epochs must be a whole number, not '10'`."""
    name = next((str(p) for p in reversed(error["loc"]) if isinstance(p, str)), "value")
    words = _WORDS.get(error["type"], "").format(**error.get("ctx", {}))
    if error["type"] in ("missing", "string_too_short"):
        return f"{name} {words}"
    hint = ""
    if error["type"] == "literal_error":
        hint = did_you_mean(nearest(str(error["input"]), re.findall(r"'([^']*)'", error["ctx"]["expected"])))
    if not words:
        words = error["msg"].removeprefix("Value error, ")
        words = (words[0].lower() + words[1:]).removeprefix("input ").replace("should be", "must be", 1)
    return f"{name} {words}, not {quoted(error['input'])}{hint}"


def identity_of(plugin: Any) -> dict[str, Any]:
    """Return what of a plugin can change a number: its name, version, and options that are not runtime options."""
    runtime = runtime_of(plugin)
    options = {name: value for name, value in plain(plugin).items() if name not in runtime}
    return {"name": plugin.name, "version": plugin.version, **options}


def runtime_of(plugin: Any) -> dict[str, Any]:
    """Return the options of a plugin that are not part of the identity."""
    fields = dataclasses.fields(plugin)
    return {f.name: plain(getattr(plugin, f.name)) for f in fields if not f.metadata.get("identity", True)}


def plain(value: Any) -> Any:
    """Turn nested dataclasses, tuples and mappings into what JSON holds, less `later` options at their defaults."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {f.name: plain(v) for f, v in held if not (f.metadata.get("later") and v == f.default)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(v) for v in value]
    return value

"""The JSON Schema of a suite, made from the models that check it and from the registered plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.backbones import sources
from bench.compare.measures import limit_pattern
from bench.datasets import datasets
from bench.rates import SCHEDULES
from bench.recipe import CLASS_WEIGHTS, Recipe
from bench.registry import Registry, adapter
from bench.strategies import strategies
from bench.suite import Suite
from bench.tasks import every_metric, tasks

Schema = dict[str, Any]


def suite_schema() -> Schema:
    """Return the JSON Schema (2020-12) of a suite file.

    It knows every key, name, option and type. What takes looking at two places at once (a size and the data, a `when`
    and the axes) is left to `bench plan`.
    """
    schema = Suite.model_json_schema()
    definitions: dict[str, Schema] = schema.setdefault("$defs", {})
    recipe = adapter(Recipe).json_schema()
    for field, known in (("schedule", SCHEDULES), ("class_weights", CLASS_WEIGHTS)):
        default = {"default": recipe["properties"][field]["default"]}
        recipe["properties"][field] = default | _choices(known, definitions)
    definitions.update(recipe.pop("$defs", {}))
    definitions["Recipe"] = recipe
    schema["properties"]["recipe"] = {"$ref": "#/$defs/Recipe"}
    schema["properties"]["gate"]["items"]["pattern"] = limit_pattern(every_metric())
    definitions["Assignment"]["properties"]["recipe"] = {"$ref": "#/$defs/Recipe"}
    schema["properties"]["task"] = _any_of(tasks, definitions)
    schema["properties"]["also_test"]["items"] = _any_of(datasets, definitions)
    matrix = definitions["Matrix"]
    matrix["properties"]["dataset"]["items"] = _any_of(datasets, definitions)
    matrix["properties"]["strategy"]["items"] = _any_of(strategies, definitions)
    matrix["properties"]["backbone"]["items"] = _backbone()
    matrix["patternProperties"] = {r"^recipe\.": {"type": "array", "minItems": 1}}
    matrix["additionalProperties"] = False
    definitions["Profile"] = _profile(schema, matrix)
    schema["properties"]["profiles"]["additionalProperties"] = {"$ref": "#/$defs/Profile"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A bench suite"}


def _profile(suite: Schema, matrix: Schema) -> Schema:
    """Return the schema of what is laid over a suite: the same keys, none of them required."""
    properties = {key: value for key, value in suite["properties"].items() if key != "profiles"}
    properties["matrix"] = _without(matrix, "required")
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _without(schema: Mapping[str, Any], key: str) -> Schema:
    return {k: v for k, v in schema.items() if k != key}


def _any_of(registry: Registry[Any], definitions: dict[str, Schema]) -> Schema:
    return _choices({name: registry.get(name) for name in registry.names()}, definitions)


def _choices(known: Mapping[str, type[Any]], definitions: dict[str, Schema]) -> Schema:
    """Return: a name, or a mapping with the name and the options of what is called so."""
    options = []
    bare = []
    for name, chosen in known.items():
        plugin = adapter(chosen).json_schema()
        definitions.update(plugin.pop("$defs", {}))
        required = plugin.get("required", [])
        properties = {"name": {"const": name}} | _without(plugin.get("properties", {}), "name")
        options.append({**plugin, "properties": properties, "required": ["name", *required]})
        if not required:
            bare.append(name)
    return {"anyOf": [{"enum": bare}, *options]}


def _backbone() -> Schema:
    """Return: a name, or a mapping with the name, the source and the options of any source."""
    options: Schema = {}
    for source in sources():
        options |= _without(adapter(source).json_schema()["properties"], "model")
    options["weights"] = {"type": "string", "description": "pretrained, random, or the path of a checkpoint"}
    properties = {"name": {"type": "string"}, "source": {"enum": [s.name for s in sources()]}, **options}
    named = {"type": "object", "properties": properties, "required": ["name"], "additionalProperties": False}
    return {"anyOf": [{"type": "string"}, named]}

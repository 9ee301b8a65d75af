"""The JSON Schema of a suite, made from the models that check it and from the registered plugins."""

from __future__ import annotations

from typing import Any

from bench.backbones import sources
from bench.datasets import datasets
from bench.recipe import Recipe
from bench.registry import Registry, adapter
from bench.strategies import strategies
from bench.suite import Suite
from bench.tasks import tasks


def suite_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a suite file."""
    schema = Suite.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    recipe = adapter(Recipe).json_schema()
    definitions.update(recipe.pop("$defs", {}))
    definitions["Recipe"] = recipe
    schema["properties"]["recipe"] = {"$ref": "#/$defs/Recipe"}
    definitions["Assignment"]["properties"]["recipe"] = {**recipe, "required": []}
    schema["properties"]["task"] = _any_of(tasks, definitions)
    axes = definitions["Matrix"]["properties"]
    axes["dataset"]["items"] = _any_of(datasets, definitions)
    axes["strategy"]["items"] = _any_of(strategies, definitions)
    axes["backbone"]["items"] = _backbone()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A bench suite", **schema}


def _any_of(registry: Registry[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return: a name, or a mapping with the name and that plugin's options."""
    names = registry.names()
    options = []
    for name in names:
        plugin = adapter(registry.get(name)).json_schema()
        definitions.update(plugin.pop("$defs", {}))
        properties = {"name": {"const": name}, **plugin.get("properties", {})}
        options.append({**plugin, "properties": properties, "required": ["name", *plugin.get("required", [])]})
    return {"anyOf": [{"enum": names}, *options]}


def _backbone() -> dict[str, Any]:
    properties = {
        "name": {"type": "string"},
        "source": {"enum": [s.name for s in sources()]},
        "weights": {"type": "string", "description": "pretrained, random, or the path of a checkpoint"},
    }
    named = {"type": "object", "properties": properties, "required": ["name"], "additionalProperties": False}
    return {"anyOf": [{"type": "string"}, named]}

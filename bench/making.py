"""What a suite names, made once for each way that it is named: plugins, facts and recipes.

A mistake in what it says of them is placed in its file. It imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.backbones import Backbone, find
from bench.cell import canonical
from bench.datasets import Dataset, Facts
from bench.document import Trail
from bench.errors import BenchError, PluginError, UnknownName, WeightsError
from bench.recipe import Recipe
from bench.registry import Registry, build, plain
from bench.suite import Suite


@dataclass
class Making:
    """Makes what a suite names. `trail` leads to where it does; each method raises SuiteError there."""

    suite: Suite
    _made: dict[bytes, Any] = field(default_factory=dict)

    def plugin(self, registry: Registry[Any], spec: Mapping[str, Any], trail: Trail) -> Any:
        """Return the plugin of a registry that a spec, `{name, options}`, stands for."""
        key = canonical([registry.kind, spec])
        if key not in self._made:
            try:
                self._made[key] = registry.create(spec)
            except UnknownName as error:
                raise self.suite.error((*trail, "name"), str(error)) from None
            except PluginError:
                raise  # no fault of the suite's
            except BenchError as error:
                raise self.suite.locate(error, trail) from None
        return self._made[key]

    def backbone(self, spec: Mapping[str, Any], trail: Trail, pretrained: bool) -> tuple[Backbone, dict[str, Any]]:
        """Return a backbone, and what of its weights is identity: they are looked for only when they are needed."""
        key = canonical(["backbone", spec, pretrained])
        if key not in self._made:
            try:
                backbone = find(spec)
                weights = backbone.weights if pretrained else "random"
                drawn = getattr(backbone, "drawn_digest", lambda: "random")
                digest = backbone.weights_digest() if pretrained else drawn()
            except UnknownName as error:
                wrong = "source" if error.name == spec.get("source") else "name"
                raise self.suite.error((*trail, wrong), str(error)) from None
            except PluginError:
                raise
            except WeightsError as error:
                raise self.suite.error((*trail, "weights"), str(error)) from None
            except BenchError as error:
                raise self.suite.locate(error, trail) from None
            kind = weights if weights in ("pretrained", "random") else "file"
            self._made[key] = backbone, {"weights": kind, "digest": digest}
        return self._made[key]  # type: ignore[no-any-return]

    def facts(self, dataset: Dataset, trail: Trail) -> Facts:
        """Return the facts of a data set, which are asked for once."""
        key = canonical(["facts", dataset.name, plain(dataset)])
        if key not in self._made:
            try:
                self._made[key] = dataset.facts()
            except BenchError as error:
                raise self.suite.locate(error, trail) from None
        return self._made[key]  # type: ignore[no-any-return]

    def recipe(self, options: Mapping[str, Any], trail: Trail) -> dict[str, Any]:
        """Return a whole recipe, what nobody named too."""
        key = canonical(["recipe", options])
        if key not in self._made:
            try:
                self._made[key] = plain(build(Recipe, options, "the recipe"))
            except BenchError as error:
                raise self.suite.locate(error, trail) from None
        return self._made[key]  # type: ignore[no-any-return]

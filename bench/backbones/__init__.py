"""Backbones: where models come from. One file for each source.

To add a source, write a frozen dataclass with the members of `Backbone` and put `@backbones.register` above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bench.errors import UnknownName
from bench.registry import Registry, build

if TYPE_CHECKING:
    from bench.backbones._network import Network


@dataclass(frozen=True)
class BackboneFacts:
    """One line of `bench list backbones`. Counts are of the published classifier at its own resolution."""

    name: str
    source: str
    params_total: int | None
    macs_forward: int | None
    resolution: int | None
    licence: str | None
    weights_available: bool


class Backbone(Protocol):
    """The contract of a source of models: one instance is one model.

    `model` is the library's name of it, `weights` is "pretrained", "random" or the path of a checkpoint.
    `known` gives every model name and `weights_digest` names the content of the weights; both import no torch.
    `build(classes, pretrained, seed)` gives a Network with a new head for `classes`, drawn from `seed`; its trunk has
    the weights when `pretrained`, else is drawn from `seed` too. WeightsError says why weights can't be had.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    priority: ClassVar[int]
    model: str
    weights: str

    @classmethod
    def known(cls) -> frozenset[str]: ...

    def weights_digest(self) -> str: ...

    def build(self, classes: int, pretrained: bool, seed: int) -> Network: ...

    def facts(self) -> BackboneFacts: ...


backbones: Registry[Backbone] = Registry("backbone source", "bench.backbones")


def sources() -> list[type[Backbone]]:
    """Return the sources in the order in which a bare name is looked up."""
    return sorted((backbones.get(name) for name in backbones.names()), key=lambda s: s.priority)


def find(spec: Mapping[str, Any]) -> Backbone:
    """Return the backbone of `{name, source?, weights?}`: the first source that knows the name.

    Raises UnknownName with the nearest model names, or OptionError.
    """
    options = {
        "model": spec["name"],
        **{k: v for k, v in spec.items() if k not in ("name", "source", "version", "digest")},
    }
    chosen = [backbones.get(spec["source"])] if spec.get("source") else sources()
    for source in chosen:
        if spec["name"] in source.known():
            return build(source, options, f"backbone {spec['name']!r}")
    raise UnknownName("backbone", spec["name"], frozenset().union(*(s.known() for s in chosen)))

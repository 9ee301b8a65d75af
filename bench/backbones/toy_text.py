"""A tiny model of texts for tests: the whole harness runs on it in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.backbones import BackboneFacts, backbones
from bench.backbones._packages import local, sha256
from bench.errors import OptionError

if TYPE_CHECKING:
    from bench.backbones._network import Network


@backbones.register
@dataclass(frozen=True)
class ToyText:
    """`toy_encoder`: embeddings of 512 words and two layers of attention, 37,000 parameters.

    Its "pretrained" weights are drawn from a fixed seed. They know nothing of language; they are there so that tests
    can tell pretrained from random without a download. No result on it means anything.
    """

    name: ClassVar[str] = "toy_text"
    version: ClassVar[int] = 1
    priority: ClassVar[int] = 9
    library: ClassVar[str] = "transfer-bench"
    modality: ClassVar[str] = "text"
    model: str
    weights: str = "pretrained"
    layers: int = 2
    pooling: Literal["mean", "cls"] = "mean"

    def __post_init__(self) -> None:
        if not 1 <= self.layers <= 2:
            raise OptionError(f"layers must be 1 or 2, not {self.layers}", ("layers",))

    @classmethod
    def known(cls) -> frozenset[str]:
        """Return the one name."""
        return frozenset({"toy_encoder"})

    def weights_digest(self) -> str:
        """Return a fixed word for the fixed weights, or the sha256 of a checkpoint."""
        if self.weights in ("pretrained", "random"):
            return {"pretrained": "toy_text:1", "random": "random"}[self.weights]
        return sha256(local(self.weights, self.model))

    def build(self, classes: int, pretrained: bool, seed: int, size: int | None = None) -> Network:
        """Return the model with a new head; it takes texts of 128 words at most."""
        from bench.backbones import _checkpoint
        from bench.backbones._build import seeded
        from bench.backbones._inputs import TextInputs
        from bench.backbones._texts import text_network
        from bench.backbones._toy_encoder import DROPOUT, POSITIONS, WIDTH, Encoder, Words

        fixed = pretrained and self.weights == "pretrained"
        with seeded(0 if fixed else seed, "trunk"):
            encoder = Encoder(self.layers)
        inputs = TextInputs(min(size or POSITIONS, POSITIONS), Words())
        built = text_network(
            encoder, encoder.stages(), self.pooling, inputs, (WIDTH, classes, seed), DROPOUT, "2 heads"
        )  # fmt: skip
        if pretrained and self.weights not in ("pretrained", "random"):
            path = local(self.weights, self.model)
            _checkpoint.load_trunk(built.model, _checkpoint.read(path), built.head_path, path, self.model)
        return built

    def facts(self) -> BackboneFacts:
        """Return what `bench list backbones` shows."""
        from bench.backbones._texts import facts_of

        return facts_of(self.build(2, False, 0), "Apache-2.0")

    def weights_here(self, facts: BackboneFacts) -> bool:
        """Return True: they are drawn."""
        return True

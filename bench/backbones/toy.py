"""A tiny model for tests: the whole harness runs on it in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.backbones import BackboneFacts, backbones
from bench.backbones._packages import local, sha256

if TYPE_CHECKING:
    from torch import nn

    from bench.backbones._checkpoint import State
    from bench.backbones._network import Network


@backbones.register
@dataclass(frozen=True)
class Toy:
    """`toy_cnn`: three stages with BatchNorm, 6,000 parameters, 16 pixels.

    Its "pretrained" weights are drawn from a fixed seed. They know nothing of pictures; they are there so that tests
    can tell pretrained from random without a download. No result on it means anything.
    """

    name: ClassVar[str] = "toy"
    version: ClassVar[int] = 1
    priority: ClassVar[int] = 9
    library: ClassVar[str] = "transfer-bench"
    model: str
    weights: str = "pretrained"

    @classmethod
    def known(cls) -> frozenset[str]:
        """Return the one name."""
        return frozenset({"toy_cnn"})

    def weights_digest(self) -> str:
        """Return a fixed word for the fixed weights, or the sha256 of a checkpoint."""
        if self.weights in ("pretrained", "random"):
            return {"pretrained": "toy:1", "random": "random"}[self.weights]
        return sha256(local(self.weights, self.model))

    def build(self, classes: int, pretrained: bool, seed: int, resolution: int | None = None) -> Network:
        """Return the model with a new head; it takes pictures of any size."""
        from torch import nn

        from bench.backbones import _checkpoint
        from bench.backbones._build import seeded
        from bench.backbones._inputs import PictureInputs
        from bench.backbones._network import Network
        from bench.backbones._stages import chain

        fixed = pretrained and self.weights == "pretrained"
        with seeded(0 if fixed else seed, "trunk"):
            model = _toy_cnn()
        state: State = model.state_dict() if fixed else {}
        if pretrained and self.weights not in ("pretrained", "random"):
            path = local(self.weights, self.model)
            state = _checkpoint.read(path)
            _checkpoint.load_trunk(model, state, "head", path, self.model)
        with seeded(seed, "head"):
            model.head = nn.Linear(_WIDTH, classes)
        stages = tuple(chain(name, model.get_submodule(name)) for name in ("stem", "middle", "last"))
        source = _checkpoint.source_head(state, "head", _WIDTH)
        inputs = PictureInputs(resolution or 16, (0.5,) * 3, (0.25,) * 3, "bilinear")
        return Network(model, stages, "head", _WIDTH, inputs, source_head=source)

    def facts(self) -> BackboneFacts:
        """Return what `bench list backbones` shows."""
        from bench.backbones._build import count, hollow

        params, macs = count(hollow(_toy_cnn), 16)
        return BackboneFacts(params, macs, 16, "Apache-2.0")

    def weights_here(self, facts: BackboneFacts) -> bool:
        """Return True: they are drawn."""
        return True


_WIDTH = 32


def _toy_cnn() -> nn.Sequential:
    from collections import OrderedDict

    from torch import nn

    def block(before: int, after: int, *end: nn.Module) -> nn.Sequential:
        conv = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(), *end)

    return nn.Sequential(
        OrderedDict(
            stem=block(3, 8),
            middle=block(8, 16),
            last=block(16, _WIDTH, nn.AdaptiveAvgPool2d(1), nn.Flatten(1)),
            head=nn.Linear(_WIDTH, 10),
        )
    )

"""BitFit: biases learn with the head, weights don't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.strategies import Phase, Strategy, strategies

if TYPE_CHECKING:
    from torch import nn


@strategies.register
@dataclass(frozen=True)
class BitFit(Strategy):
    """Train every bias of the backbone, and the head (Ben Zaken et al., 2022, arXiv 2106.10199).

    y = W x + b: b learns, W stays. The shifts of normalisations are biases too, and in most convolutional networks the
    only ones. It was found on transformers for text.
    """

    name: ClassVar[str] = "bitfit"
    version: ClassVar[int] = 1

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=None, only=is_bias),)


def is_bias(module: nn.Module, name: str) -> bool:
    """Say whether a parameter is a bias, by its name in the module that holds it ("bias", "in_proj_bias", "q_bias")."""
    return name == "bias" or name.endswith("_bias")

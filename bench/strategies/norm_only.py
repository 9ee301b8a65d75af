"""Norms only: the scales and shifts of normalisation layers learn with the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.strategies import Phase, Strategy, strategies

if TYPE_CHECKING:
    from torch import nn


@strategies.register
@dataclass(frozen=True)
class NormOnly(Strategy):
    """Train the scale and shift of every normalisation, and the head (Frankle et al., 2021, arXiv 2003.00152).

    y = g * (x - mean) / std + b: g and b learn, 2 numbers a channel. All weights between them stay as pretrained. The
    statistics of BatchNorm follow the new data, as in all training.
    """

    name: ClassVar[str] = "norm_only"
    version: ClassVar[int] = 1

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=None, only=of_norm),)


def of_norm(module: nn.Module, name: str) -> bool:
    """Say whether a module normalises, so that its parameters are scales and shifts: by torch's classes, or by name."""
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase

    known = isinstance(module, _NormBase | nn.LayerNorm | nn.GroupNorm | nn.RMSNorm)
    return known or "norm" in type(module).__name__.lower()

"""LoRA: low-rank additions to frozen weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.errors import OptionError
from bench.strategies import Phase, Strategy, strategies

if TYPE_CHECKING:
    from torch import nn


@strategies.register
@dataclass(frozen=True)
class LoRA(Strategy):
    """Train low-rank additions to linear and convolutional layers, and the head (Hu et al., 2022, arXiv 2106.09685).

    W + alpha / rank * B A, where W is frozen and A and B have `rank` rows and columns; a convolution's kernel counts as
    a matrix, outputs x the rest. rank * (out + in * kernel) numbers learn in each layer, and B begins at 0. Layers of
    groups (depthwise) are small already and are left alone, and so are weights that a model holds outside of such
    layers (the inputs of torchvision's attention); norms are frozen, statistics too. The head is new and learns in
    full. After training B A is added to W, and the network is the library's own: no slower, no larger. rank and alpha
    are the defaults of the peft library, whose numbers these are.
    """

    name: ClassVar[str] = "lora"
    version: ClassVar[int] = 1

    rank: int = 8
    alpha: float = 8.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise OptionError(f"rank must be 1 or more, not {self.rank}", ("rank",))
        if not self.alpha > 0:
            raise OptionError(f"alpha must be positive, not {self.alpha}", ("alpha",))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (Phase(unfrozen=None, adapt=self.adapter, norms="frozen"),)

    def adapter(self, module: nn.Module) -> nn.Module | None:
        """Return the addition to a layer's weight, or None for a layer that has none."""
        from torch import nn

        from bench.strategies._low_rank import LowRank

        convolves = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and module.groups == 1
        if not convolves and not isinstance(module, nn.Linear):
            return None
        return LowRank(module.weight, self.rank, self.alpha / self.rank)  # type: ignore[arg-type]

"""WiSE-FT: weights half way between those before fine-tuning and those after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.errors import OptionError
from bench.strategies import Weights, strategies
from bench.strategies.lp_ft import LpFt


@strategies.register
@dataclass(frozen=True)
class WiseFt(LpFt):
    """Fine-tune from a linear probe, then interpolate with the probe (Wortsman et al., 2022, arXiv 2109.01903).

    w = (1 - alpha) * w_probe + alpha * w_tuned

    It keeps more of what the pretrained model knows beyond these examples. The paper starts from a classifier without
    training; a new head has none, so that the linear probe is where the line begins, as in `lp_ft`, whose options
    `probe`, `lr` and `norms` are. alpha = 0.5 is the paper's when there is nothing to choose it on; 0 is the probe and
    1 is LP-FT. Only weights are interpolated: statistics of BatchNorm that moved are counted anew over the training
    examples.
    """

    name: ClassVar[str] = "wise_ft"
    version: ClassVar[int] = 1
    merges: ClassVar[bool] = True

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha must be between 0 and 1, not {self.alpha}", ("alpha",))
        super().__post_init__()

    def merge(self, path: Sequence[Weights], parents: Mapping[str, Weights]) -> Weights:
        before, after = path[-2:]
        # At 0 and 1 lerp gives the ends to the bit.
        return {name: before[name].lerp(after[name], self.alpha) for name in after}

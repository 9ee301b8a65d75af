"""WiSE-FT: weights half way between those before fine-tuning and those after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.errors import OptionError
from bench.strategies import Norms, Phase, Strategy, Weights, strategies


@strategies.register
@dataclass(frozen=True)
class WiseFt(Strategy):
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
    probe: float = 0.5
    lr: float = 0.1
    norms: Norms = "frozen"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha must be between 0 and 1, not {self.alpha}", ("alpha",))
        if not 0 < self.probe < 1:
            raise OptionError(f"probe must be between 0 and 1, not {self.probe}", ("probe",))
        if not self.lr > 0:
            raise OptionError(f"lr must be positive, not {self.lr}", ("lr",))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (
            Phase(unfrozen=0, standardize=True, share=self.probe),
            Phase(unfrozen=None, lr=self.lr, share=1 - self.probe, norms=self.norms),
        )

    def merge(self, path: Sequence[Weights], parents: Mapping[str, Weights]) -> Weights:
        before, after = path[-2:]
        # At 0 and 1 lerp gives the ends to the bit.
        return {name: before[name].lerp(after[name], self.alpha) for name in after}

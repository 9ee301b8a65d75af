"""LP-FT: a linear probe first, then fine-tuning from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.errors import OptionError
from bench.strategies import Norms, Phase, Strategy, strategies


@strategies.register
@dataclass(frozen=True)
class LpFt(Strategy):
    """Train the head on frozen features, then every stage from there (Kumar et al., 2022, arXiv 2202.10054).

    A new head's first gradients are noise, and fine-tuning passes them on to features that were good; a head that
    fits already leaves them nearly where they are. `probe` is the part of the epochs that the head alone gets, `lr`
    the rate afterwards as a multiple of the recipe's. The paper searches that rate, at the same number of epochs for
    both parts; a tenth is this harness's choice. `norms` is BatchNorm's policy in the second part, as in `finetune`:
    the probe fits features by the pretrained statistics, and normalised by batches they are others, so that tuning
    would not start where the probe ended.
    """

    name: ClassVar[str] = "lp_ft"
    version: ClassVar[int] = 1

    probe: float = 0.5
    lr: float = 0.1
    norms: Norms = "frozen"

    def __post_init__(self) -> None:
        if not 0 < self.probe < 1:
            raise OptionError(f"probe must be between 0 and 1, not {self.probe}", ("probe",))
        if not self.lr > 0:
            raise OptionError(f"lr must be positive, not {self.lr}", ("lr",))

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return (
            Phase(unfrozen=0, standardize=True, share=self.probe),
            Phase(unfrozen=None, lr=self.lr, share=1 - self.probe, norms=self.norms),
        )

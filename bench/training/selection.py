"""Selection on validation: the best epoch so far, and when there has been no better one for long enough."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bench.backbones._network import Network
from bench.training.adapters import detach, merged_state
from bench.training.standardize import Standardized


@dataclass(frozen=True)
class Judged:
    """What validation says after an epoch: loss in nats, accuracy, and whether that was the last of the phase."""

    loss: float
    accuracy: float
    stop: bool


@dataclass(frozen=True)
class _Kept:
    """An epoch: accuracy and minus the loss on validation, the head in place and the model's state."""

    score: tuple[float, float]
    head: nn.Module
    state: dict[str, Tensor]


class Best:
    """The best epoch of a round so far by accuracy on validation, then by loss; `epoch` is its number from 1.

    With a `patience` a phase ends after so many evaluations in a row without a better one.
    """

    def __init__(self, network: Network, patience: int | None) -> None:
        self.network, self.patience = network, patience
        self.begin()

    def begin(self) -> None:
        """Begin a round."""
        self.epoch: int | None = None
        self._kept: _Kept | None = None
        self._waited = 0

    def judge(self, loss: float, accuracy: float, epoch: int) -> Judged:
        """Take in an evaluation of the network as it is, which is kept, buffers included, where it is the best."""
        if self._kept is None or (accuracy, -loss) > self._kept.score:
            self._kept = _Kept((accuracy, -loss), self.network.head, merged_state(self.network.model))
            self.epoch, self._waited = epoch, 0
        else:
            self._waited += 1
        return Judged(loss, accuracy, self.patience is not None and self._waited >= self.patience)

    def settle(self) -> None:
        """End a phase with a plain model, and at the best epoch so far if there was an evaluation."""
        detach(self.network)
        if self._kept is not None:
            self.network.replace_head(self._kept.head)
            self.network.load(self._kept.state)
        if isinstance(self.network.head, Standardized):
            self.network.replace_head(self.network.head.folded())
        self._waited = 0
        self.renew()

    def renew(self) -> None:
        """Keep the best epoch as the network is now: its head folded, its statistics counted anew."""
        if self._kept is not None:
            self._kept = _Kept(self._kept.score, self.network.head, merged_state(self.network.model))

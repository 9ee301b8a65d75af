"""An exponential moving average of the weights that learn, in the place of the last step's (Polyak averaging)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Average:
    """a_t = d_t a_(t-1) + (1 - d_t) w_t, where d_t = min(decay, (1 + t) / (10 + t)) after step t, from 1.

    The average begins at the weights as they are, and the smaller decay of the first steps has it forget these, as in
    TensorFlow's ExponentialMovingAverage. With a decay of None there is none, and everything here does nothing.

    Parameters alone are averaged. Buffers, BatchNorm's statistics among them, are those of the network as it is
    trained: they follow the batches by an average of their own. A step is one launch, and reads nothing back.
    """

    def __init__(self, weights: Iterable[nn.Parameter], decay: float | None) -> None:
        self._decay = decay
        self._weights = [w.detach() for w in weights] if decay is not None else []
        self._averages = [w.clone() for w in self._weights]
        self._steps = 0

    def follow(self) -> None:
        """Take in the weights after a step."""
        if self._decay is None:
            return
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    def settle(self) -> None:
        """Put the average into the network, in the weights' own memory."""
        if self._averages:
            torch._foreach_copy_(self._weights, self._averages)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Have the average in the network for a while."""
        trained = [w.clone() for w in self._weights]
        self.settle()
        yield
        if trained:
            torch._foreach_copy_(self._weights, trained)

"""How far a round has come: epochs and steps, the learning curve, and what is selected on the way."""

from __future__ import annotations

from collections.abc import Callable

from bench.backbones._network import Network
from bench.measure.clock import Clock
from bench.record import Point
from bench.training.exams import Exam, curve_epochs, quality
from bench.training.loop import Epoch
from bench.training.selection import Best, Judged


class Progress:
    """Looks at a network after each epoch of a round.

    `curve` has the points measured on the monitor split, each of which is told to `watch`. `best` keeps the best epoch
    on validation. `stopped_epoch` is the one after which patience ended a phase, from 1; None where all were learnt.
    """

    def __init__(
        self, network: Network, epochs: int, points: int, patience: int | None, clock: Clock,
        watch: Callable[[Point], None],
    ) -> None:  # fmt: skip
        self.network, self.clock, self.watch = network, clock, watch
        self.measured = curve_epochs(epochs, points)
        self.curve: list[Point] = []
        self.best = Best(network, patience)
        self.begin()

    def begin(self) -> None:
        """Begin a round."""
        self.curve.clear()
        self.best.begin()
        self.stopped_epoch: int | None = None
        self._stopped = False
        self._done, self._steps, self._began = 0, 0, self.clock.seconds["train"]

    @property
    def selected_epoch(self) -> int | None:
        """The epoch that was selected, from 1; None without selection."""
        return self.best.epoch

    def ended(
        self, epoch: Epoch, planned: int, validation: Exam | None, monitor: Exam | None, precision: str
    ) -> Judged | None:
        """Select, which is a part of training, and measure a point of the curve, which is none, after an epoch.

        Where a phase ends before the `planned` epoch there is a point, and from then on at the end of each.
        """
        number = self._done + epoch.epoch
        judged = None
        if validation is not None:
            judged = self.best.judge(*quality(self.network, validation, precision), number)
        self._stopped |= judged is not None and judged.stop and epoch.epoch < planned
        last = self._stopped and (epoch.epoch == planned or (judged is not None and judged.stop))
        if monitor is not None and (last or number in self.measured):
            self._measure(epoch, number, monitor, precision)
        return judged

    def settle(self, epochs: int, steps: int) -> None:
        """End a phase of so many epochs and steps, at the best epoch so far where there is a choice."""
        self.best.settle()
        self._done += epochs
        self._steps += steps
        self.stopped_epoch = self._done if self._stopped else None

    def _measure(self, epoch: Epoch, number: int, monitor: Exam, precision: str) -> None:
        """Add a point to the curve."""
        with self.clock.phase("evaluate"):
            loss, accuracy = quality(self.network, monitor, precision)
        seconds = self.clock.elapsed("train") - self._began
        point = Point(number, self._steps + epoch.step, epoch.train_loss, epoch.train_accuracy, loss, accuracy, seconds)
        self.curve.append(point)
        self.watch(point)

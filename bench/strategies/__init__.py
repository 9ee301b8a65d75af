"""Strategies. A strategy says what is trained when, at which rate, and on which loss. One file each.

To add one, write a frozen dataclass that derives from `Strategy` and put `@strategies.register` above it. A strategy is
data for the one training loop: it never trains by itself and never sees the test split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from bench.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn


Weights = Mapping[str, "Tensor"]
Norms = Literal["train", "frozen", "recalibrate"]


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one set of trainable stages. The head is always trained, and carried over.

    Each phase has an optimiser and a schedule of its own, so whatever it unfreezes warms up in it.

    unfrozen      how many of the backbone's last stages are trained: 0 the head alone, None all of them
    stages        the stages that are trained, by name, in the place of `unfrozen`; all others are frozen
    only          of these, the parameters for which it says yes, given the module that holds one and its name there
    adapt         gives a layer of theirs what learns in the place of its weight, a module from that to the one that is
                  used, or None; their own parameters are frozen then, and in the end it is a part of the weight
    share         the part of the recipe's epochs that this phase gets, beside the shares of the others
    lr            multiple of the recipe's learning rate
    decay         each stage further from the head learns at `decay` times the rate of the one after it
    rates         a further multiple of the rate for each of the backbone's stages, input to output
    weight_decay  multiple of the recipe's weight decay
    norms         the statistics of BatchNorm in the stages that are trained: "train" follows the batches; "frozen"
                  keeps them as they are and normalises by them; "recalibrate" follows the batches, and counts them
                  anew over the training examples at the end
    standardize   the head learns on features with the training examples' mean 0 and deviation 1, folded into it after
    decide        gives the phase that is trained in the place of this one, from a look at the round when its turn
                  comes; it keeps this one's share, and a trial of speed is made for this one as it is written
    solve         gives the head in closed form from features [n, dim], labels [n] and the number of classes, on frozen
                  stages; takes no epochs
    """

    unfrozen: int | None = None
    stages: tuple[str, ...] | None = None
    only: Callable[[nn.Module, str], bool] | None = None
    adapt: Callable[[nn.Module], nn.Module | None] | None = None
    share: float = 1.0
    lr: float = 1.0
    decay: float = 1.0
    rates: tuple[float, ...] | None = None
    weight_decay: float = 1.0
    norms: Norms = "train"
    standardize: bool = False
    solve: Callable[[Tensor, Tensor, int], nn.Module] | None = None
    decide: Callable[[Look], Phase] | None = None


class Look(Protocol):
    """What a strategy may see of a round before it decides on a phase: the training examples, and never the test split.

    `stages` are the backbone's, input to output; `labels` int64 [n] in [0, classes). What is looked at costs time,
    which is the strategy's own.
    """

    stages: tuple[str, ...]
    labels: Tensor
    classes: int

    def features(self) -> Tensor:
        """Return the pooled features of the plain view of each example, float [n, dim], by the network as it is now."""
        ...

    def source_logits(self) -> Tensor | None:
        """Return what the classifier that the backbone was pretrained with says of each example, or None.

        Float [n, source classes], on the features as they are now; None where the weights came without it.
        """
        ...

    def pixels(self) -> Tensor:
        """Return the plain view of each example as numbers, 16 x 16 points of it or fewer, float [n, values]."""
        ...

    def relative_gradients(self) -> tuple[float, ...]:
        """Return |g| / |w| of each stage, g the gradient of the mean cross-entropy over all examples in eval mode."""
        ...

    def note(self, **said: Any) -> None:
        """Write into the record, as plain JSON, what was found and what was decided."""
        ...


@dataclass(frozen=True)
class Step:
    """What a loss is computed from, for one batch.

    `logits` float [batch, classes], `labels` int64 [batch]. Where the recipe mixes examples, `targets` float [batch,
    classes] are what they should be taken for, rows of sum 1, and a label is the largest of them; elsewhere None.
    `parents[role]` are the logits of a parent cell on the very pictures in the batch, float [batch, classes], and for a
    strategy with `hints` `parents["role/features"]` its pooled features there, float [batch, dim]; `label_smoothing` is
    the recipe's. `weights` are the parameters that learn, by
    the library's names, and `start` the first values of those of the backbone: a name that is not in `start` is the
    head's. `features` are the network's pooled features, float [batch, dim], `beside` is what learns beside it, and
    `phase` the number of the phase, from 0. `importance` is what each example counts in the mean over a batch, float
    [batch], 1 in the mean over the training examples; None where all count alike.
    """

    logits: Tensor
    labels: Tensor
    parents: Mapping[str, Tensor]
    label_smoothing: float = 0.0
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    start: Mapping[str, Tensor] = field(default_factory=dict)
    features: Tensor | None = None
    beside: nn.Module | None = None
    phase: int = 0
    targets: Tensor | None = None
    importance: Tensor | None = None


@dataclass(frozen=True)
class Strategy:
    """The contract of a strategy, with the defaults that most share.

    `start` is "pretrained" or "random"; weights are looked for only in the first case. `needs` names what the task
    must provide, and `modality` the one whose examples it is for, "image" or "text", None for all. With `hints` a step
    has the parents' features too; with `merges` the network that comes out is merged from others. `version` goes up
    exactly when the strategy's numbers change.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    start: ClassVar[Literal["pretrained", "random"]] = "pretrained"
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    modality: ClassVar[str | None] = None
    hints: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def parents(self) -> Mapping[str, Mapping[str, Any]]:
        """Return, for each role, what differs from this cell in the cell that must be trained first."""
        return {}

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        """Return the phases, given the backbone's stage names from input to output. Raises Skip with a reason."""
        return (Phase(),)

    def initialise(self, head: nn.Module) -> None:
        """Change the last layer of a new head before anything learns: linear, to logits, float [batch, classes]."""

    def beside(self, dim: int, parents: Mapping[str, int]) -> nn.Module | None:
        """Return what learns beside the network, for the loss alone, and is thrown away; None by default.

        `dim` is the width of the network's features; `parents`, for a strategy with `hints`, those of its parents'.
        """
        return None

    def merge(self, path: Sequence[Weights], parents: Mapping[str, Weights]) -> Weights:
        """Return the weights that come out, for a strategy with `merges`: by default those of the last phase.

        `path` has the network's parameters at the beginning and at the end of each phase, `parents` those of each
        parent. Statistics of BatchNorm belong to the weights that they were counted with, and are never merged: they
        are counted anew over the training examples, unless all have the same, or the result is one of those given.
        """
        return path[-1]

    def loss(self, step: Step) -> Tensor:
        """Return the mean loss of a batch: cross-entropy with the labels, or with the targets of mixed examples.

        Each example counts by its importance.
        """
        from torch.nn.functional import cross_entropy

        wanted = step.labels if step.targets is None else step.targets
        if step.importance is None:
            return cross_entropy(step.logits, wanted, label_smoothing=step.label_smoothing)
        each = cross_entropy(step.logits, wanted, label_smoothing=step.label_smoothing, reduction="none")
        return (step.importance * each).mean()


strategies: Registry[Strategy] = Registry("strategy", "bench.strategies")

"""The recipe: everything about training that is the same for every strategy. All of it is identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from bench.augment import Augment
from bench.errors import OptionError
from bench.rates import SCHEDULES, Schedule
from bench.registry import briefly, choice, later, strict


@strict
@dataclass(frozen=True)
class Head:
    """What turns pooled features into logits, the same for all strategies.

    With `hidden` units it is Linear - ReLU - norm - dropout - Linear; else one linear layer, as the backbone's library
    makes it. `norm` is of the hidden units: none or batch. `dropout` is of the hidden units, or of the features where
    there are none; whoever names it, or hidden units, has the library's own dropout of features left out.
    """

    hidden: int | None = None
    norm: Literal["none", "batch"] = "none"
    dropout: float | None = None

    def __post_init__(self) -> None:
        if self.hidden is not None and self.hidden < 1:
            raise OptionError(f"hidden must be 1 or more units, not {self.hidden}", ("head", "hidden"))
        if self.hidden is None and self.norm != "none":
            raise OptionError(f"norm: {self.norm} is of hidden units; say how many, as hidden: 512", ("head", "norm"))
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), not {self.dropout}", ("head", "dropout"))


@strict
@dataclass(frozen=True, kw_only=True)
class Even:
    """Every example weighs alike."""

    name: Literal["none"] = "none"

    def of(self, count: int) -> float:
        """Return what an example of a class of so many weighs, but for a factor that all classes share."""
        return 1.0


@strict
@dataclass(frozen=True, kw_only=True)
class Balanced:
    """Every class weighs alike: its examples by the inverse of their number."""

    name: Literal["balanced"] = "balanced"

    def of(self, count: int) -> float:
        return 1 / count


@strict
@dataclass(frozen=True, kw_only=True)
class Effective:
    """By the inverse of a class's effective number of examples, (1 - beta^n) / (1 - beta).

    Cui et al., 2019, arXiv 1901.05555, who try 0.9 to 0.9999: at 0 every example weighs alike, towards 1 every class.
    """

    name: Literal["effective"] = "effective"
    beta: float = 0.999

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise OptionError(f"beta must be in [0, 1), not {self.beta}", ("beta",))

    def of(self, count: int) -> float:
        return float((1 - self.beta) / (1 - self.beta**count))


ClassWeights = Even | Balanced | Effective
CLASS_WEIGHTS: dict[str, type[ClassWeights]] = {"none": Even, "balanced": Balanced, "effective": Effective}


@strict
@dataclass(frozen=True)
class Recipe:
    """How a cell is trained.

    epochs        passes over the labelled examples
    batch_size    examples a step; the last, smaller batch of an epoch is used too
    optimizer     adamw | adam | sgd (Nesterov momentum 0.9)
    lr            peak learning rate
    weight_decay  on weights of two or more dimensions; never on biases and norms, but where `decay_norms`
    schedule      of the learning rate over a phase: a name, or a mapping with it and its options, see bench.rates
    label_smoothing  of the cross-entropy on labels
    augment       keyed views and mixed pictures, see Augment
    precision     fp32 | bf16 (autocast of the stages; parameters, head and loss stay fp32) | auto (whichever is faster
                  on this machine)
    selection     last | best_val (weights of the best epoch on a part of the labelled budget)
    validation    the part of the labelled budget held out when selection is best_val
    curve_points  how many points of the learning curve are measured on the monitor split, at most one an epoch
    decay_norms   weight decay pulls on biases and norms too
    patience      a phase ends when so many evaluations in a row, one an epoch, brought no better epoch than the best so
                  far; needs selection: best_val
    clip_norm     the largest global norm that the gradient of a step may have: a longer one is scaled down to it
    class_weights  none | balanced | effective, by name or with options: how much an example of each class counts in the
                  cross-entropy on labels, 1 in the mean over the training examples
    sampling      shuffled | balanced (each class equally often in an epoch, which stays as long as it is)
    ema           the decay of an average of the weights, kept over the steps of a phase, which is what is evaluated,
                  selected and handed on; None for the last step's weights
    head          what turns features into logits, see Head
    """

    epochs: int = 10
    batch_size: int = 32
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    schedule: Any = "one_cycle"  # its name, or a Schedule where it has options of its own
    label_smoothing: float = 0.0
    augment: Augment = field(default_factory=Augment)
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    selection: Literal["last", "best_val"] = "last"
    validation: float = 0.2
    curve_points: int = 10
    decay_norms: bool = later(False)
    patience: int | None = later(None)
    clip_norm: float | None = later(None)
    class_weights: Any = later("none")  # its name, or an Effective with another beta
    sampling: Literal["shuffled", "balanced"] = later("shuffled")
    ema: float | None = later(None)
    head: Head = later(Head())

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "curve_points"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be 1 or more, not {getattr(self, name)}", (name,))
        if not 0 < self.lr < inf:
            raise OptionError(f"lr must be a positive number, not {self.lr}", ("lr",))
        if not 0 <= self.weight_decay < inf:
            raise OptionError(f"weight_decay must be 0 or more, not {self.weight_decay}", ("weight_decay",))
        if not 0 <= self.label_smoothing < 1:
            raise OptionError(f"label_smoothing must be in [0, 1), not {self.label_smoothing}", ("label_smoothing",))
        if not 0 < self.validation < 1:
            raise OptionError(f"validation must be between 0 and 1, not {self.validation}", ("validation",))
        if self.patience is not None and self.patience < 1:
            raise OptionError(f"patience must be 1 evaluation or more, not {self.patience}", ("patience",))
        if self.clip_norm is not None and not 0 < self.clip_norm < inf:
            raise OptionError(f"clip_norm must be a positive number, not {self.clip_norm}", ("clip_norm",))
        if self.ema is not None and not 0 < self.ema < 1:
            raise OptionError(f"ema must be between 0 and 1, not {self.ema}", ("ema",))
        schedule = choice("schedule", self.schedule, SCHEDULES)
        weights = choice("class_weights", self.class_weights, CLASS_WEIGHTS)
        object.__setattr__(self, "schedule", briefly(schedule))
        object.__setattr__(self, "class_weights", briefly(weights))
        self._check_together(schedule)

    def _check_together(self, schedule: Schedule) -> None:
        """Refuse options that need another one, or that undo the same thing twice."""
        if self.selection != "best_val":
            needs = "looks at validation; it needs selection: best_val"
            if self.patience is not None:
                raise OptionError(f"patience {needs}", ("patience",))
            if schedule.watches:
                raise OptionError(f"schedule {schedule.name!r} {needs}", ("schedule",))
        if self.sampling == "balanced" and self.class_weights != "none":
            message = "class_weights and sampling: balanced would undo an imbalance twice; choose one of them"
            raise OptionError(message, ("class_weights",))

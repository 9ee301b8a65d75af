"""The recipe: everything about training that is the same for every strategy. All of it is identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bench.augment import Augment
from bench.errors import OptionError
from bench.registry import strict


@strict
@dataclass(frozen=True)
class Recipe:
    """How a cell is trained.

    epochs        passes over the labelled examples
    batch_size    examples a step; the last, smaller batch of an epoch is used too
    optimizer     adamw | adam | sgd (Nesterov momentum 0.9)
    lr            peak learning rate
    weight_decay  on weights of two or more dimensions; never on biases and norms
    schedule      one_cycle (cosine up over the first 30 %, cosine down) | cosine | linear | constant
    label_smoothing  of the cross-entropy on labels
    augment       keyed views and mixed pictures, see Augment
    precision     fp32 | bf16 (autocast; parameters stay fp32) | auto (whichever trains faster on this machine; a head
                  alone in fp32)
    selection     last | best_val (weights of the best epoch on a part of the labelled budget)
    validation    the part of the labelled budget held out when selection is best_val
    curve_points  how many points of the learning curve are measured on the monitor split, at most one an epoch
    """

    epochs: int = 10
    batch_size: int = 32
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    schedule: Literal["one_cycle", "cosine", "linear", "constant"] = "one_cycle"
    label_smoothing: float = 0.0
    augment: Augment = field(default_factory=Augment)
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    selection: Literal["last", "best_val"] = "last"
    validation: float = 0.2
    curve_points: int = 10

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "curve_points"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be 1 or more, not {getattr(self, name)}", (name,))
        if not 0 < self.lr < float("inf"):
            raise OptionError(f"lr must be a positive number, not {self.lr}", ("lr",))
        if not 0 <= self.weight_decay < float("inf"):
            raise OptionError(f"weight_decay must be 0 or more, not {self.weight_decay}", ("weight_decay",))
        if not 0 <= self.label_smoothing < 1:
            raise OptionError(f"label_smoothing must be in [0, 1), not {self.label_smoothing}", ("label_smoothing",))
        if not 0 < self.validation < 1:
            raise OptionError(f"validation must be between 0 and 1, not {self.validation}", ("validation",))

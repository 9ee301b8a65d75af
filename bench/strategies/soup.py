"""A soup: the mean of the weights of several fine-tuned models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.errors import OptionError
from bench.strategies import Phase, Strategy, Weights, strategies

OWN = ("recipe", "seed", "strategy")


@strategies.register
@dataclass(frozen=True)
class Soup(Strategy):
    """Average the weights of models that were fine-tuned from the same start (Wortsman et al., 2022, arXiv 2203.05482).

    w = 1/k * (w_1 + ... + w_k), the uniform soup

    It costs what k trainings cost, and one model to run. Each of `members` is what one of them has of its own,
    `{recipe: {lr: 3e-4}}`, `{strategy: ...}` or `{seed: 7}`, and `strategy` is how all others are trained. Members are
    ordinary cells, and each draws a head and an order of batches of its own; so they begin with a probe, which is near
    the same for all. Members of this cell's seed learn from its labelled examples; those of other seeds from others:
    together they have seen more labels than the size says. Only weights are averaged: statistics of BatchNorm that
    differ are counted anew over this cell's training examples.
    """

    name: ClassVar[str] = "soup"
    version: ClassVar[int] = 1
    merges: ClassVar[bool] = True

    members: tuple[dict[str, Any], ...]
    strategy: str | dict[str, Any] = "lp_ft"

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise OptionError(f"a soup needs 2 members or more, not {len(self.members)}", ("members",))
        for i, member in enumerate(self.members):
            for key in member:
                if key not in OWN:
                    message = f"unknown key {key!r} of a member; it has {', '.join(OWN)}"
                    raise OptionError(message, ("members", i, key), key=True)
            if member in self.members[:i]:
                raise OptionError(f"two members are the same: {member}", ("members", i))

    def parents(self) -> Mapping[str, Mapping[str, Any]]:
        return {f"member {i + 1}": {"strategy": self.strategy, **own} for i, own in enumerate(self.members)}

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        return ()

    def merge(self, path: Sequence[Weights], parents: Mapping[str, Weights]) -> Weights:
        import torch

        return {name: torch.stack([w[name] for w in parents.values()]).mean(dim=0) for name in path[0]}

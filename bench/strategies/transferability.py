"""Scores without training: what frozen features say of how well a backbone suits the data, and a probe on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

from bench.strategies import Look, Phase, Strategy, strategies

if TYPE_CHECKING:
    from torch import Tensor


@strategies.register
@dataclass(frozen=True)
class Transferability(Strategy):
    """Train nothing: score the backbone on the training examples, and solve a linear probe of its features.

    The scores, each higher for a backbone that should do better (`bench.measure.transferability` has the formulas):
    LogME, H-score and its shrunk form, LEEP and NCE (where the weights came with their classifier), the accuracy of
    the 5 nearest neighbours and of a linear probe, each example left out in turn. The record has them, and the seconds
    that each took. The network that is tested is the frozen backbone with that probe as its head, in closed form: a
    ridge regression as in `finetune`'s `head: probe`.

    With several backbones in a suite, and strategies that train, the report says how well each score foretold which
    backbone would do best.
    """

    name: ClassVar[str] = "transferability"
    version: ClassVar[int] = 1

    def phases(self, stages: Sequence[str]) -> tuple[Phase, ...]:
        from bench.strategies._probe import probe_head

        return (Phase(unfrozen=0, solve=probe_head, decide=_scored),)


def _scored(look: Look) -> Phase:
    """Write every score into the record, and go on to the probe."""
    from bench.measure import transferability as scores
    from bench.strategies._probe import probe

    began = perf_counter()
    features, source = look.features(), look.source_logits()
    took = {"features": perf_counter() - began}
    found: dict[str, float] = {}

    def note(name: str, score: Callable[[Tensor, Tensor, int], float], given: Tensor | None) -> None:
        if given is not None:
            began = perf_counter()
            found[name] = score(given, look.labels, look.classes)
            took[name] = perf_counter() - began

    note("log_me", scores.log_me, features)
    note("h_score", scores.h_score, features)
    note("h_score_shrunk", scores.h_score_shrunk, features)
    note("leep", scores.leep, source)
    note("nce", scores.nce, source)
    note("nearest_neighbours", scores.nearest_neighbours, features)
    began = perf_counter()
    probed = probe(features, look.labels, look.classes)
    found["linear_probe"] = probed.separability(look.labels)
    took["linear_probe"] = perf_counter() - began
    look.note(scores=found, score_seconds={name: round(seconds, 6) for name, seconds in took.items()})
    return Phase(unfrozen=0, solve=lambda given, *_: probed.head(given))

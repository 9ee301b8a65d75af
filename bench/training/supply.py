"""What a learner's rounds are fed with: examples, kept activations, and what parents say of the very same views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bench.backbones._inputs import tensors
from bench.backbones._network import Network
from bench.measure.clock import Clock
from bench.tasks import Selection
from bench.training.feed import ActivationFeed, Feed
from bench.training.passes import Cache, Forward, PassedFeed, infer
from bench.training.rows import Keys, Rows
from bench.training.sources import source_of
from bench.training.spent import Used
from bench.training.views import Views

# Activations of one selection are kept up to this size on disk; beyond it, the frozen stages run again each time.
CACHE_LIMIT_BYTES = 16 * 1024**3


@dataclass(frozen=True)
class Parent:
    """A trained cell that this one learns from: its id and how to have its network."""

    cell_id: str
    network: Callable[[], Network]


@dataclass
class Supply:
    """Feeds of one network and its parents.

    `identity` is everything that can change the activations of stages that nobody has trained yet. `used` gets the
    passes whose rows were used for training, once a round.
    """

    network: Network
    cache: Cache
    identity: Mapping[str, Any]
    views: Views
    parents: Mapping[str, Parent]
    precision: str
    device: torch.device
    clock: Clock
    used: list[Used]
    _networks: dict[str, Network] = field(default_factory=dict)
    _passes: dict[tuple[str, int | None], Forward] = field(default_factory=dict)
    _prefixes: dict[int, Forward] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    _priced: dict[tuple[str, int], int] = field(default_factory=dict)

    def begin(self) -> None:
        """Begin a round: what it uses, it pays for."""
        self._priced.clear()

    def feed(self, selection: Selection, cut: int, views: Views, phase: str, plain: bool = False) -> Feed:
        """Return a feed for the stages from `cut` on: activations, kept unless too large or of pictures shown once.

        With `plain` it has the plain view alone.
        """
        shown = 1 if plain else views.shown
        if cut == 0 or shown is None or not self.keeps(cut, selection, shown):
            decoded = "evaluate" if phase == "evaluate" else "prepare"
            given = self.cache.feed(selection, views, self.network, decoded)
            return PassedFeed(given, self.prefix(cut)) if cut else given
        kept = source_of(*self.rows(self.prefix(cut), selection, views, phase, shown), self.device)
        return ActivationFeed(kept, shown, cut, self.network)

    def prefix(self, cut: int) -> Forward:
        """Return the pass of the stages before `cut`, whose activations are kept."""
        if cut not in self._prefixes:
            self._prefixes[cut] = Forward(self.network, cut, "activations", self.identity, self.precision)
        return self._prefixes[cut]

    def keeps(self, cut: int, selection: Selection, shown: int) -> bool:
        """Say whether the activations of so many views of a selection are few enough to keep."""
        return self._row_bytes(cut) * len(selection) * shown <= CACHE_LIMIT_BYTES

    def _row_bytes(self, cut: int) -> int:
        """Return the bytes of one example's activations before stage `cut`: of one as large as there may be."""
        if cut == len(self.network.stages):
            return 4 * self.network.dim
        if cut not in self._sizes:
            blank = self.network.placed(self.network.inputs.blank(1))
            self._sizes[cut] = 4 * tensors(infer(self.network, blank, 0, cut, "fp32"))[0].numel()
        return self._sizes[cut]

    def parent(self, role: str) -> Network:
        """Return a parent's trained network, which is loaded once."""
        if role not in self._networks:
            with self.clock.phase("features"):
                self._networks[role] = self.parents[role].network()
        return self._networks[role]

    def answers(self, selection: Selection, hints: bool) -> dict[str, Feed]:
        """Return what parents say of the training examples, by the names of `Step.parents`.

        It is kept where pictures come again. Where they don't, parents are asked about each when it is shown.
        """
        found = {role: self.parent_logits(role, selection) for role in self.parents}
        if hints:
            found |= {f"{role}/features": self.parent_features(role, selection) for role in self.parents}
        return found

    def parent_logits(self, role: str, selection: Selection) -> Feed:
        """Return a parent's logits on the training examples, float [batch, classes]."""
        return self._answers(role, None, "logits", selection)

    def parent_features(self, role: str, selection: Selection) -> Feed:
        """Return a parent's pooled features on the training examples, float [batch, dim]."""
        return self._answers(role, len(self.parent(role).stages), "features", selection)

    def _answers(self, role: str, cut: int | None, kind: str, selection: Selection) -> Feed:
        if (role, cut) not in self._passes:
            identity = {"cell": self.parents[role].cell_id}
            self._passes[role, cut] = Forward(self.parent(role), cut, kind, identity, self.precision)
        forward, network, shown = self._passes[role, cut], self.parent(role), self.views.shown
        if shown is None:
            return PassedFeed(self.cache.feed(selection, self.views, network, "prepare"), forward)
        kept = source_of(*self.rows(forward, selection, self.views, "features", shown), self.device)
        return ActivationFeed(kept, shown, len(network.stages), network)

    def ahead(self, cut: int, selections: Sequence[Selection], views: Views, phase: str, shown: int) -> None:
        """Compute the activations that several selections of one split lack, all at once.

        Batches are whole, so the few that each lacks would be filled up with others.
        """
        index = np.unique(np.concatenate([selection.index for selection in selections]))
        every = Selection(selections[0].split, index, np.zeros_like(index))
        if self.keeps(cut, every, shown):
            self.cache.passed(self.prefix(cut), every, views, views.key, phase, shown)

    def rows(self, forward: Forward, selection: Selection, views: Views, phase: str, shown: int) -> tuple[Rows, Keys]:
        """Return a pass's rows and the keys of the first `shown` views; note those used for training, once a round."""
        used = self.cache.rows(forward, selection.split, views.key).id, id(selection)
        more = shown - self._priced.get(used, 0)
        found = self.cache.passed(forward, selection, views, views.key, phase, shown)
        if phase == "features" and more > 0:
            self._priced[used] = shown
            lengths = self.cache.lengths(forward, selection)
            self.used.append(Used(forward, selection.split, len(selection), more, lengths))
        return found

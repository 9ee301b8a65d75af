"""Texts: turned into ids of tokens once, as rows as long as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from bench.backbones._inputs import Inputs, TextInputs, Tokens
from bench.backbones._network import Network
from bench.datasets import Dataset
from bench.measure.clock import Clock
from bench.training.feed import ActivationFeed
from bench.training.material import Material
from bench.training.rows import Ragged
from bench.training.sources import Source, padded_lengths
from bench.training.views import Views


class Texts(Material):
    """The texts of a data set as a model's tokens, int32 [length] by split and index."""

    kind: ClassVar[str] = "tokens"

    def __init__(self, dataset: Dataset, inputs: TextInputs, artifacts: Path, clock: Clock) -> None:
        super().__init__(dataset, artifacts, clock)
        self.inputs = inputs
        self._others: dict[tuple[str, int], Texts] = {}

    def identity(self, split: str) -> dict[str, Any]:
        """Return everything that can change a token."""
        return {
            "dataset": [self.dataset.name, self.dataset.version, self.digest],
            "split": split,
            "tokenizer": self.inputs.tokenizer.digest,
            "length": self.inputs.length,
        }

    def prepare(self, split: str, index: NDArray[np.int64]) -> Ragged:
        """Return the tokens of texts, end to end."""
        examples = self.examples(split)
        ids = self.inputs.tokenizer.encode([examples.read(int(i)) for i in index], self.inputs.length)
        lengths = np.array([len(each) for each in ids], np.int64)
        return Ragged(torch.from_numpy(np.concatenate([np.array(each, np.int32) for each in ids])), lengths)

    def feed(self, source: Source, index: NDArray[np.int64], views: Views, network: Network) -> ActivationFeed:
        """Return the texts themselves: there is one view of a text."""
        return ActivationFeed(source, 1, 0, network)

    def seen_by(self, inputs: Inputs) -> Texts:
        """Return the same texts as another model's tokens: a teacher's, say."""
        assert isinstance(inputs, TextInputs)
        key = inputs.tokenizer.digest, inputs.length
        if key == (self.inputs.tokenizer.digest, self.inputs.length):
            return self
        if key not in self._others:
            self._others[key] = Texts(self.dataset, inputs, self.artifacts, self.clock)
        return self._others[key]

    def save(self) -> None:
        super().save()
        for other in self._others.values():
            other.save()


def tokens_of(texts: Sequence[str], inputs: TextInputs) -> Tokens:
    """Return texts, at least one, as a batch on the CPU: as a model is given those that it learns from."""
    ids = [torch.tensor(each, dtype=torch.int32) for each in inputs.tokenizer.encode(texts, inputs.length)]
    lengths = torch.tensor([len(each) for each in ids])
    width = int(padded_lengths(lengths.max()))
    states = torch.stack([torch.cat([each, each[-1:].expand(width - len(each))]) for each in ids])
    return Tokens(states, torch.arange(width) < lengths[:, None])

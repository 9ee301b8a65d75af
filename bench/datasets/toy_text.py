"""Tiny made-up texts: praise and blame among words that say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.cell import entropy
from bench.datasets import Examples, Facts, datasets
from bench.datasets._texts import check_max_length
from bench.errors import OptionError

CLASSES = ("negative", "positive")
MAX_EXAMPLES = 1_000_000
NEUTRAL = ("the", "a", "film", "plot", "actor", "scene", "with", "of", "and", "in", "it", "was", "had", "story", "two")
TOLD = {
    "negative": ("dull", "awful", "boring", "weak", "poor", "tired", "clumsy", "bad"),
    "positive": ("bright", "superb", "moving", "strong", "rich", "fresh", "clever", "good"),
}


@datasets.register
@dataclass(frozen=True)
class ToyText:
    """Write 4 to 36 words without meaning, and among them one in three of praise or of blame, one class each.

    For tests and first steps: a linear model of the words learns it from a few examples.
    """

    name: ClassVar[str] = "toy_text"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "text"
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "made by the harness"

    train: int = 60
    test: int = 60
    max_length: int | None = None

    def __post_init__(self) -> None:
        check_max_length(self.max_length)
        for name in ("train", "test"):
            if not len(CLASSES) <= getattr(self, name) <= MAX_EXAMPLES:
                told = f"{name} must be {len(CLASSES)}, one a class, to {MAX_EXAMPLES:,}, not {getattr(self, name)}"
                raise OptionError(told, (name,))

    def facts(self) -> Facts:
        """Return the facts, made of the options alone."""
        digest = f"{entropy('toy_text', self.version, self.train, self.test):016x}"
        return Facts(digest, CLASSES, {"train": self.train, "test": self.test})

    def fetch(self) -> None:
        """Do nothing: the texts are written when they are read."""

    def examples(self, split: str) -> Examples:
        """Return balanced classes, in turn."""
        import numpy as np

        count = {"train": self.train, "test": self.test}[split]
        labels = np.arange(count, dtype=np.int64) % len(CLASSES)

        def read(i: int) -> str:
            return write(CLASSES[labels[i]], entropy("toy_text", split, i))

        return Examples([f"{split}/{i}" for i in range(count)], labels, read)


def write(label: str, seed: int) -> str:
    """Write one text."""
    import numpy as np

    rng = np.random.default_rng(seed)
    words = [str(rng.choice(NEUTRAL)) for _ in range(int(rng.integers(4, 37)))]
    for at in rng.choice(len(words), -(-len(words) // 3), replace=False):
        words[at] = str(rng.choice(TOLD[label]))
    return " ".join(words)

"""A tiny made-up data set: bars on noise, one direction a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.cell import entropy
from bench.datasets import Examples, Facts, datasets
from bench.datasets._pictures import check_resolution
from bench.errors import OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EDGE_PX = 16
MAX_CLASSES, MAX_EXAMPLES = 1000, 1_000_000


@datasets.register
@dataclass(frozen=True)
class Toy:
    """Draw a bright bar through the middle, turned by 180 degrees / `classes` from class to class, on noise.

    For tests and first steps: a linear model learns it from a few examples. Pictures are 16 x 16 in colour.
    """

    name: ClassVar[str] = "toy"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "image"
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "made by the harness"

    classes: int = 3
    train: int = 60
    test: int = 60
    resolution: int | None = EDGE_PX

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        if not 2 <= self.classes <= MAX_CLASSES:
            raise OptionError(f"classes must be 2 to {MAX_CLASSES:,}, not {self.classes}", ("classes",))
        for name in ("train", "test"):
            if not self.classes <= getattr(self, name) <= MAX_EXAMPLES:
                told = f"{name} must be {self.classes}, one a class, to {MAX_EXAMPLES:,}, not {getattr(self, name)}"
                raise OptionError(told, (name,))

    def facts(self) -> Facts:
        """Return the facts, made of the options alone."""
        names = tuple(f"bar {180 * i / self.classes:.0f} degrees ({i})" for i in range(self.classes))
        digest = f"{entropy('toy', self.version, self.classes, self.train, self.test):016x}"
        return Facts(digest, names, {"train": self.train, "test": self.test})

    def fetch(self) -> None:
        """Do nothing: the pictures are drawn when they are read."""

    def examples(self, split: str) -> Examples:
        """Return balanced classes, in turn."""
        import numpy as np

        count = {"train": self.train, "test": self.test}[split]
        labels = np.arange(count, dtype=np.int64) % self.classes

        def read(i: int) -> NDArray[np.uint8]:
            return draw(int(labels[i]) / self.classes * np.pi, entropy("toy", split, self.classes, i))

        return Examples([f"{split}/{i}" for i in range(count)], labels, read)


def draw(angle: float, seed: int) -> NDArray[np.uint8]:
    """Draw one bar at `angle` (radians), a pixel or so off the middle, in a random bright colour."""
    import numpy as np

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:EDGE_PX, :EDGE_PX] - (EDGE_PX - 1) / 2
    across = -np.sin(angle) * x + np.cos(angle) * y - rng.normal(0, 0.7)
    bar = np.exp(-((across / 1.5) ** 2))
    picture = 150 * bar[..., None] * rng.uniform(0.7, 1.0, 3) + rng.normal(60, 20, (EDGE_PX, EDGE_PX, 3))
    drawn: NDArray[np.uint8] = picture.clip(0, 255).astype(np.uint8)
    return drawn

"""Fashion-MNIST: 70,000 grey pictures of clothes in ten classes (Xiao, Rasul and Vollgraf, 2017)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.cell import canonical
from bench.datasets import Download, Examples, Facts, datasets
from bench.datasets._cache import cache_dir
from bench.datasets._pictures import check_resolution
from bench.datasets._sources import DebianPackage, Folder, Mirror, Source, lacking, load, obtain
from bench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
COUNTS = {"train": 60_000, "test": 10_000}
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CHECKSUMS = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
# The mirrors of torchvision.datasets.FashionMNIST, repeated here because importing torchvision takes seconds.
MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
EDGE_PX = 28
# The four files, compressed.
DOWNLOAD_BYTES = 30_878_645


@datasets.register
@dataclass(frozen=True)
class FashionMnist:
    """The 60,000 + 10,000 pictures of 28 x 28, with the authors' split.

    Sources in order: the cache, torchvision's mirrors, the Debian package where it is installed, the Debian
    package fetched for this. Every file is checked each time it is read.
    """

    name: ClassVar[str] = "fashion_mnist"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "image"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/zalandoresearch/fashion-mnist"

    resolution: int | None = None

    def __post_init__(self) -> None:
        check_resolution(self.resolution)

    def facts(self) -> Facts:
        """Return the facts, which are known without the data."""
        return Facts(hashlib.sha256(canonical(CHECKSUMS)).hexdigest(), CLASSES, COUNTS)

    def fetch(self) -> None:
        """Get the four files into the cache. Raises DataError."""
        obtain(self.name, _folder(), CHECKSUMS, _sources())

    def missing(self) -> Download | None:
        """Return what `fetch` would get."""
        return lacking(_folder(), CHECKSUMS, _sources(), DOWNLOAD_BYTES)

    def examples(self, split: str) -> Examples:
        """Return one split, held in memory (47 MB for train)."""
        import numpy as np

        pictures_file, labels_file = FILES[split]
        shape = (COUNTS[split], EDGE_PX, EDGE_PX)
        pictures: NDArray[np.uint8] = np.frombuffer(self._read(pictures_file), np.uint8, offset=16).reshape(shape)
        labels = np.frombuffer(self._read(labels_file), np.uint8, offset=8).astype(np.int64)
        return Examples([f"{split}/{i}" for i in range(len(labels))], labels, lambda i: pictures[i].copy())

    def _read(self, name: str) -> bytes:
        content = load(_folder(), name, CHECKSUMS)
        if content is None:
            self.fetch()
            content = load(_folder(), name, CHECKSUMS)
        if content is None:
            raise DataError(f"{self.name}: {_folder() / name} changes while it is used; remove it and try again")
        return content


def _folder() -> Path:
    return cache_dir() / "fashion_mnist"


def _sources() -> list[Source]:
    return [
        Folder(_folder(), "the cache"),
        *(Mirror(url) for url in MIRRORS),
        Folder(PACKAGE_FOLDER, f"the Debian package {PACKAGE}"),
        DebianPackage(PACKAGE, PACKAGE_FOLDER),
    ]

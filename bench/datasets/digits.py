"""scikit-learn's handwritten digits: small, and always there."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.datasets import Examples, Facts, datasets
from bench.datasets._pictures import check_resolution
from bench.datasets._split import stratified
from bench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEST_SHARE = 0.3


@datasets.register
@dataclass(frozen=True)
class Digits:
    """1797 grey pictures of 8 x 8, in ten classes; the harness keeps 30 % of each class for test.

    The stored values 0..16 become 0..255 by round(value * 255 / 16).
    """

    name: ClassVar[str] = "digits"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "image"
    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "scikit-learn (UCI, optical recognition of handwritten digits, 1998)"

    resolution: int | None = None

    def __post_init__(self) -> None:
        check_resolution(self.resolution)

    def facts(self) -> Facts:
        """Return the facts, from the table itself (57 kB)."""
        digest, _, _, splits = _table()
        return Facts(digest, tuple("0123456789"), {name: len(rows) for name, rows in splits.items()})

    def fetch(self) -> None:
        """Check that scikit-learn's file is there. Raises DataError."""
        _table()

    def examples(self, split: str) -> Examples:
        """Return the rows of one split."""
        _, pictures, labels, splits = _table()
        rows = splits[split]
        return Examples([f"{split}/{i}" for i in rows], labels[rows], lambda i: pictures[rows[i]].copy())


@cache
def _table() -> tuple[str, NDArray[np.uint8], NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    import numpy as np

    # The package is found, not imported: importing scikit-learn takes most of a second.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("digits: scikit-learn is not installed; run: python -m pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        text = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise DataError(f"digits: cannot read {path}: {error}; install scikit-learn again") from error
    table = np.loadtxt(text.decode().splitlines(), delimiter=",", dtype=np.int64)
    pictures = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    labels = table[:, 64].copy()
    splits = stratified(labels, [str(i) for i in range(len(labels))], TEST_SHARE)
    return hashlib.sha256(text).hexdigest(), pictures, labels, splits

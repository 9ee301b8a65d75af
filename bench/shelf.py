"""What lies beside the records of a study, for a report to look at: the test predictions of its cells."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.store import Store


@dataclass(frozen=True)
class Predictions:
    """What a cell said of its test examples, one round after the other.

    `logits` float32 [n, classes], `labels` int64 [n] as each round numbers its classes, `index` int64 [n] into the test
    split, `classes` the names of each round's classes.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    index: NDArray[np.int64]
    classes: tuple[tuple[str, ...], ...]


class Shelf:
    """Reads what a store has beside the records of a suite; what is not there, or damaged, is None."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def predictions(self, cell_id: str) -> Predictions | None:
        """Return the test predictions of a cell."""
        import numpy as np

        try:
            with self.store.predictions(cell_id).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                classes = tuple(tuple(str(name) for name in names) for names in file["classes"])
                return Predictions(file["logits"], file["labels"], file["index"], classes)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None

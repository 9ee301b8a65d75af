"""What lies beside records: read as it was written, and None where it is not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.shelf import Shelf
from bench.store import Store


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    path = store.predictions("0" * 12)
    path.parent.mkdir(parents=True)
    logits = np.array([[1.0, 2.0], [3.0, 0.5]], np.float32)
    np.savez_compressed(
        path, logits=logits, labels=np.array([1, 0]), index=np.array([7, 3]), classes=np.array([["a", "b"]])
    )
    found = Shelf(store).predictions("0" * 12)
    assert found is not None
    assert found.logits.tolist() == logits.tolist()
    assert (found.labels.tolist(), found.index.tolist(), found.classes) == ([1, 0], [7, 3], (("a", "b"),))
    path.write_bytes(path.read_bytes()[:-30])
    assert Shelf(store).predictions("0" * 12) is None
    assert Shelf(store).predictions("1" * 12) is None

"""What lies beside records: read as it was written, and None where it is not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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


LOGITS = np.array([[1.0, 2.0], [3.0, 0.5]], np.float32)
WHOLE = {"logits": LOGITS, "labels": np.array([1, 0]), "index": np.array([7, 3]), "classes": np.array([["a", "b"]])}
HELD = {f"validation_{name}": WHOLE[name] for name in ("logits", "labels", "index")}


def test_what_was_held_out_and_whose_the_examples_are_is_read_where_it_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    store.predictions("0" * 12).parent.mkdir(parents=True)
    np.savez(store.predictions("0" * 12), **WHOLE, **HELD, groups=np.array([4, 9]))
    found = Shelf(store).predictions("0" * 12)
    assert found is not None
    assert found.validation is not None
    assert found.validation.logits.tolist() == LOGITS.tolist()
    assert found.groups is not None
    assert found.groups.tolist() == [4, 9]


@pytest.mark.parametrize(
    "broken",
    [
        {"labels": np.array([2, 0])},
        {"labels": np.array([-1, 0])},
        {"labels": np.array([0, 1, 1])},
        {"labels": np.array([0.5, 1])},
        {"index": np.array([3])},
        {"logits": np.array([[np.nan, 1], [0, 1]], np.float32)},
        {"logits": LOGITS[:, :1]},
        {"logits": LOGITS[0]},
        {"logits": LOGITS[:0], "labels": np.array([], int), "index": np.array([], int)},
        {"classes": np.array([["a", "b", "c"]])},
        {"classes": np.empty((0, 2), str)},
        {"groups": np.array([1])},
        {**HELD, "validation_labels": np.array([5, 0])},
    ],
)
def test_arrays_that_do_not_go_together_are_no_predictions(tmp_path: Path, broken: dict) -> None:
    store = Store(tmp_path, "s")
    store.predictions("0" * 12).parent.mkdir(parents=True)
    np.savez(store.predictions("0" * 12), **{**WHOLE, **broken})
    assert Shelf(store).predictions("0" * 12) is None

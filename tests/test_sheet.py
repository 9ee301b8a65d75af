"""Sheets of pictures, which cell is looked at closer, and the pictures that a shelf has of it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from records import cell, homework, record, study

from bench.report.board import boards
from bench.report.chosen import chosen
from bench.report.sheet import MOST_PIXELS, Tile, sheet, shrunk
from bench.report.study import sections
from bench.shelf import Shelf
from bench.store import Store


def tiles(count: int) -> list[Tile]:
    draw = np.random.default_rng(0)
    shapes = [(28, 28), (32, 32, 3), (20, 40), (300, 150, 3)]
    tones = ("", "right", "wrong")
    return [
        Tile(draw.integers(0, 256, shapes[i % 4]).astype(np.uint8), (f"true $x_{i}$ 猫", "a line " * 9), tones[i % 3])
        for i in range(count)
    ]


def test_a_sheet_has_every_picture_and_the_same_bytes_for_the_same_ones():
    made = sheet("mistakes", tiles(8), "eight pictures", "Noise.")
    assert (made.name, made.alt, made.caption) == ("mistakes", "eight pictures", "Noise.")
    assert made.svg.count(b"<image ") == 8
    assert made == sheet("mistakes", tiles(8), "eight pictures", "Noise.")
    assert made.png is not None
    wide, high = Image.open(io.BytesIO(made.png)).size
    assert wide == 2 * made.width_px > 2 * 700  # wider than what a phone would shrink
    assert 0.3 < high / wide < 0.6  # two rows of six


def test_pixels_of_a_sheet_are_those_of_its_pictures():
    made = sheet("one", [Tile(np.full((8, 8, 3), (250, 10, 90), np.uint8))], "a square", "", columns=1)
    assert made.png is not None
    shown = np.asarray(Image.open(io.BytesIO(made.png)).convert("RGB"))
    assert shown[shown.shape[0] // 2, shown.shape[1] // 2].tolist() == [250, 10, 90]


def test_a_large_picture_is_made_smaller_and_keeps_its_shape():
    assert shrunk(np.zeros((448, 224, 3), np.uint8)).shape == (MOST_PIXELS, MOST_PIXELS // 2, 3)
    assert shrunk(np.zeros((5, 7), np.uint8)).shape == (5, 7)


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="needs a picture"):
        sheet("none", [], "", "")


def test_the_best_strategy_at_the_most_labels_is_looked_at_by_its_median_seed():
    of = homework()
    found = sections(of)
    (one,) = chosen(found, [boards(s, of.primary) for s in found], of.primary)
    best = boards(found[0], of.primary)[-1].ranked[0][0]
    assert (one.line, one.size, one.dataset) == (best, 2000, "fashion_mnist")
    assert sorted(best.values(2000, "metrics.accuracy"))[1] == one.record.metrics["accuracy"]


def test_of_several_backbones_on_a_data_set_the_best_is_looked_at():
    scores = {("a", "x"): 0.7, ("a", "y"): 0.8, ("b", "x"): 0.9, ("b", "y"): 0.6}
    of = study([record(cell("scratch", 100, 0, backbone=b, dataset=d), v) for (d, b), v in scores.items()])
    found = sections(of)
    picked = chosen(found, [boards(s, of.primary) for s in found], of.primary)
    assert [(c.dataset, c.section.backbone, c.record.metrics["accuracy"]) for c in picked] == [
        ("a", "y", 0.8),
        ("b", "x", 0.9),
    ]


@pytest.fixture
def shelved(tmp_path: Path):
    """Return a shelf with prepared pixels of a record, and the pixels of its test split."""
    from bench.measure.clock import Clock
    from bench.training.rows import Rows

    torch = pytest.importorskip("torch")
    identity = {"dataset": ["toy", 1, "digest"], "split": "train", "resolution": 8, "interpolation": "bilinear"}
    store = Store(tmp_path, "s")
    clock = Clock(torch.device("cpu"))
    pixels = torch.arange(20 * 3 * 64, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(20, 3, 8, 8)
    train = Rows(store.artifacts, "pixels", identity)
    train.ensure(np.arange(4), lambda keys: pixels[keys], clock, "prepare")
    train.save()
    test = Rows(store.artifacts, "pixels", {**identity, "split": "test"})
    for keys in (np.arange(0, 12), np.arange(12, 20)):
        test.ensure(keys, lambda keys: pixels[keys], clock, "prepare")
        test.save()
    used = ({"kind": "activations", "id": "f"}, {"kind": "pixels", "id": train.id, "seconds": 0.1})
    return Shelf(store), replace(record(cell("scratch"), 0.5), artifacts=used), pixels.numpy(), test.folder


def test_pictures_come_from_the_prepared_pixels_in_the_order_asked(shelved):
    shelf, of, pixels, _ = shelved
    found = shelf.pictures(of, "test", [15, 3, 15])
    assert found.tolist() == pixels[[15, 3, 15]].transpose(0, 2, 3, 1).tolist()


def test_pictures_that_are_not_there_are_none(shelved):
    shelf, of, _, folder = shelved
    assert shelf.pictures(of, "test", [3, 20]) is None
    assert shelf.pictures(of, "test", []) is None
    assert shelf.pictures(replace(of, artifacts=()), "test", [3]) is None
    for path in folder.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-9])
    assert shelf.pictures(of, "test", [3]) is None

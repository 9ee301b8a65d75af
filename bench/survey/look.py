"""Looks at a data set and makes its survey: numpy and Pillow alone, the same findings each time."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.datasets import Examples
from bench.machine import cores
from bench.survey import CELL_PX, GAP_PX, Pair, Pictures, Size, Survey, Twins, texts
from bench.survey.twins import EDGE_PX, Prints, near, repeated, same, value_of

SPLITS = ("train", "test")
# Examples that are looked at: all of a split up to so many, fewer where pictures are large, and never fewer than LEAST.
MOST = {"train": 60_000, "test": 20_000}
MOST_PIXELS, LEAST = 2_000_000_000, 2_000
# Pictures decoded and looked at together.
TOGETHER, TOGETHER_BYTES = 1024, 8_000_000
MOST_SIZES, MOST_PAIRS = 8, 10
SAY_SECONDS = 2.0
SHEET_CLASSES, SHEET_COLUMNS = 12, 8
# What pictures of the sheet lie on where they are not square.
GROUND = (226, 228, 232)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Seen:
    """What was seen of the examples `index` of a split, int64 [n].

    `values` hashes what each holds. Of pictures: `shapes` int64 [n, 3] (height, width, channels), `thumbs` uint8
    [n, 32, 32], `mean` and `square` float64 [n, channels] of 0 to 1, `grey` and `blank` bool [n].
    """

    index: NDArray[np.int64]
    values: list[bytes]
    shapes: NDArray[np.int64]
    thumbs: NDArray[np.uint8]
    mean: NDArray[np.float64]
    square: NDArray[np.float64]
    grey: NDArray[np.bool_]
    blank: NDArray[np.bool_]


def survey(
    dataset: str, modality: str, classes: Sequence[str], examples: Mapping[str, Examples], say: Say = print
) -> tuple[Survey, bytes | None]:
    """Return the survey of a data set, and a sheet of sample pictures as PNG, a row for each of its first classes.

    `say` is told now and then how far it is. What is drawn, where not all is looked at, is the same each time.
    """
    counts = {s: tuple(np.bincount(examples[s].labels, minlength=len(classes)).tolist()) for s in SPLITS}
    pictures, read, sheet = None, None, None
    if modality == "image":
        seen = _Looking(examples, say).all()
        prints = {split: Prints(found.values, found.thumbs) for split, found in seen.items()}
        pictures = _pictures(seen, examples["train"].labels, len(classes))
        sheet = _sheet(examples["train"], len(classes))
        index = {split: found.index for split, found in seen.items()}
    else:
        index = drawn(examples)
        held = texts.read(examples, index)
        prints = {split: texts.prints_of(held[split]) for split in SPLITS}
        read = texts.looked_at(held, examples["train"].labels[index["train"]], len(classes))
    twins = _twins(prints, index, examples)
    return Survey(dataset, tuple(classes), counts, _groups(examples), pictures, twins, read), sheet


def drawn(examples: Mapping[str, Examples]) -> dict[str, NDArray[np.int64]]:
    """Return the places of the examples of each split that are looked at, where each of them is small."""
    return {split: _drawn(split, len(examples[split].labels), MOST[split]) for split in SPLITS}


class _Looking:
    """Decodes examples and looks at them, many at a time."""

    def __init__(self, examples: Mapping[str, Examples], say: Say) -> None:
        self.examples, self.say = examples, say
        first = examples["train"].read(0)
        room = max(MOST_PIXELS // max(first.shape[0] * first.shape[1], 1), LEAST)
        self.index = {s: _drawn(s, len(examples[s].labels), min(MOST[s], room)) for s in SPLITS}
        self.together = max(1, min(TOGETHER, TOGETHER_BYTES // max(first.nbytes, 1)))
        self.done, self.said = 0, time.monotonic()

    def all(self) -> dict[str, _Seen]:
        """Return what was seen of each split."""
        with ThreadPoolExecutor(cores()) as pool:
            return {split: self._split(split, pool) for split in SPLITS}

    def _split(self, split: str, pool: ThreadPoolExecutor) -> _Seen:
        index, read = self.index[split], self.examples[split].read
        parts = []
        for begin in range(0, len(index), self.together):
            chunk = index[begin : begin + self.together]
            # Small pictures are in memory: threads would only wait for each other.
            held = (
                list(map(read, chunk.tolist())) if self.together == TOGETHER else list(pool.map(read, chunk.tolist()))
            )
            parts.append(_seen(chunk, held))
            self._tell(len(chunk))
        return _joined(parts)

    def _tell(self, more: int) -> None:
        self.done += more
        if time.monotonic() - self.said > SAY_SECONDS:
            self.said = time.monotonic()
            whole = sum(len(index) for index in self.index.values())
            self.say(f"surveying the data: {self.done:,} of {whole:,} pictures")


def _drawn(split: str, count: int, most: int) -> NDArray[np.int64]:
    """Return the places of all of `count` examples, or of `most` drawn, in order; the same each time."""
    if count <= most:
        return np.arange(count)
    generator = np.random.default_rng([SPLITS.index(split), count])
    return np.sort(generator.choice(count, most, replace=False))


def _seen(index: NDArray[np.int64], pictures: Sequence[NDArray[np.uint8]]) -> _Seen:
    """Look at some pictures, those of one shape at a time."""
    shapes = [picture.shape for picture in pictures]
    places: dict[tuple[int, ...], list[int]] = {}
    for i, shape in enumerate(shapes):
        places.setdefault(shape, []).append(i)
    parts, order = [], []
    for members in places.values():
        stack = np.stack([pictures[i] for i in members])
        parts.append(_alike(index[members], stack if stack.ndim == 4 else stack[..., None]))
        order += members
    return _taken(_joined(parts), np.argsort(order))


def _alike(index: NDArray[np.int64], stack: NDArray[np.uint8]) -> _Seen:
    """Look at pictures of one shape, uint8 [n, height, width, channels]."""
    n, height, width, channels = stack.shape
    values = stack.astype(np.float32)
    grey = values[..., 0] if channels == 1 else values @ LUMA
    thumbs = _resizing(height) @ grey @ _resizing(width).T
    flat = stack.reshape(n, -1)
    head = f"{height} {width} {channels} ".encode()
    values /= 255
    return _Seen(
        index=index,
        values=[value_of(head + row.tobytes()) for row in flat],
        shapes=np.tile(np.array([height, width, channels], np.int64), (n, 1)),
        thumbs=np.rint(thumbs).clip(0, 255).astype(np.uint8),
        mean=_three(values.mean(axis=(1, 2), dtype=np.float64)),
        square=_three(np.square(values).mean(axis=(1, 2), dtype=np.float64)),
        grey=(stack == stack[..., :1]).all(axis=(1, 2, 3)) if channels == 3 else np.zeros(n, bool),
        blank=flat.min(axis=1) == flat.max(axis=1),
    )


def _three(of_channels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.broadcast_to(of_channels, (len(of_channels), 3))


def _resizing(edge: int) -> NDArray[np.float32]:
    """Return the matrix [32, edge] that averages `edge` pixels into 32, each by the part of it that it covers."""
    bounds = np.arange(EDGE_PX + 1) * edge / EDGE_PX
    pixel = np.arange(edge)
    covered = np.minimum(bounds[1:, None], pixel + 1) - np.maximum(bounds[:-1, None], pixel)
    weights: NDArray[np.float32] = (covered.clip(0) * EDGE_PX / edge).astype(np.float32)
    return weights


def _joined(parts: Sequence[_Seen]) -> _Seen:
    def every(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    arrays = {n: every(n) for n in ("index", "shapes", "thumbs", "mean", "square", "grey", "blank")}
    return _Seen(values=[value for part in parts for value in part.values], **arrays)


def _taken(seen: _Seen, order: NDArray[np.int64]) -> _Seen:
    arrays = {n: getattr(seen, n)[order] for n in ("index", "shapes", "thumbs", "mean", "square", "grey", "blank")}
    return _Seen(values=[seen.values[i] for i in order], **arrays)


def _pictures(seen: Mapping[str, _Seen], labels: NDArray[np.int64], classes: int) -> Pictures:
    shapes = np.concatenate([seen[split].shapes for split in SPLITS])
    held = Counter(map(tuple, shapes.tolist()))
    sizes = sorted(held.items(), key=lambda item: (-item[1], item[0]))
    train = seen["train"]
    channels = 3 if (train.shapes[:, 2] == 3).any() else 1
    mean = train.mean.mean(axis=0)
    std = np.sqrt(np.maximum(train.square.mean(axis=0) - mean**2, 0.0))
    own, bright = labels[train.index], train.mean.mean(axis=1)
    by_class = [float(bright[own == c].mean()) if (own == c).any() else None for c in range(classes)]
    return Pictures(
        looked={split: len(seen[split].index) for split in SPLITS},
        sizes=tuple(Size(h, w, c, count) for (h, w, c), count in sizes[:MOST_SIZES]),
        distinct=len(sizes),
        height=_spread(shapes[:, 0].tolist()),
        width=_spread(shapes[:, 1].tolist()),
        grey=int(sum(seen[split].grey.sum() for split in SPLITS)),
        blank=int(sum(seen[split].blank.sum() for split in SPLITS)),
        mean=tuple(round(float(m), 4) for m in mean[:channels]),
        std=tuple(round(float(s), 4) for s in std[:channels]),
        brightness=tuple(None if b is None else round(b, 4) for b in by_class),
    )


def _twins(
    prints: Mapping[str, Prints], index: Mapping[str, NDArray[np.int64]], examples: Mapping[str, Examples]
) -> Twins:
    labels = {split: examples[split].labels[index[split]] for split in SPLITS}
    exact = same(prints["train"], prints["test"])
    nearly = near(prints["train"], prints["test"], exact)
    twice = {split: repeated(prints[split].values) for split in SPLITS}

    def pair(test: int, train: int, is_exact: bool) -> Pair:
        of = {"test": test, "train": train}
        return Pair(**{s: examples[s].ids[int(index[s][i])] for s, i in of.items()}, exact=is_exact)

    first = [pair(i, j, True) for i, j in list(exact.items())[:MOST_PAIRS]]
    more = [pair(i, j, False) for i, j in list(nearly.items())[: MOST_PAIRS - len(first)]]
    return Twins(
        compared={split: len(index[split]) for split in SPLITS},
        exact=len(exact),
        near=len(nearly),
        other_label=sum(int(labels["test"][i] != labels["train"][j]) for i, j in (exact | nearly).items()),
        pairs=(*first, *more),
        repeated={split: len(found) for split, found in twice.items()},
        conflicting=sum(int(labels["train"][i] != labels["train"][j]) for i, j in twice["train"].items()),
    )


def _groups(examples: Mapping[str, Examples]) -> dict[str, int] | None:
    held = {split: set(groups.tolist()) for split in SPLITS if (groups := examples[split].groups) is not None}
    if len(held) < len(SPLITS):
        return None
    return {split: len(found) for split, found in held.items()} | {"both": len(held["train"] & held["test"])}


def _spread(numbers: Sequence[int]) -> tuple[int, int, int]:
    return min(numbers), int(np.median(numbers)), max(numbers)


def _sheet(train: Examples, classes: int) -> bytes:
    """Return some training pictures of each of the first classes as one PNG, a row for each class."""
    from PIL import Image

    rows = min(classes, SHEET_CLASSES)
    step = CELL_PX + GAP_PX
    sheet = Image.new("RGB", (SHEET_COLUMNS * step - GAP_PX, rows * step - GAP_PX), "white")
    for row in range(rows):
        members = np.flatnonzero(train.labels == row)
        generator = np.random.default_rng([row, len(members)])
        for column, i in enumerate(generator.permutation(members)[:SHEET_COLUMNS].tolist()):
            sheet.paste(_cell(Image.fromarray(train.read(i)).convert("RGB")), (column * step, row * step))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _cell(image: Any) -> Any:
    """Return a picture as large as fits into a square of the sheet."""
    from PIL import Image

    scale = CELL_PX / max(image.size)
    size = tuple(max(1, round(edge * scale)) for edge in image.size)
    image = image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)
    square = Image.new("RGB", (CELL_PX, CELL_PX), GROUND)
    square.paste(image, ((CELL_PX - size[0]) // 2, (CELL_PX - size[1]) // 2))
    return square

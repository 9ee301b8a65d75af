"""Examples that are there twice: value for value, or, for pictures, to the eye, and for texts word for word.

The eye is a perceptual hash of 64 bits: the signs, against their median, of the 8 x 8 lowest frequencies of the
picture in grey at 32 x 32 (Zauner, Implementation and benchmarking of perceptual image hash functions, 2010). Two
pictures whose hashes are near are compared by their 32 x 32 pixels, since simple pictures have few bits to differ in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EDGE_PX = 32
LOWEST = 8
# Nearly the same: hashes that differ in so many of 64 bits at most, and pixels that correlate so highly at least.
MOST_BITS, LEAST_CORRELATION = 4, 0.995
# Test hashes compared with all training hashes at a time, and small pictures of which something is computed at a time.
BLOCK, TOGETHER = 16, 4096
# A small picture whose grey levels deviate by less than this has no features to compare.
FLAT = 2.0


@dataclass(frozen=True)
class Prints:
    """What examples are known by: hashes of what they hold, and what tells those that are nearly the same.

    Of pictures that are small ones in grey, uint8 [n, 32, 32]; of texts hashes of their words, empty without any.
    """

    values: Sequence[bytes]
    thumbs: NDArray[np.uint8] | None
    words: Sequence[bytes] = ()


def value_of(content: bytes) -> bytes:
    """Return a hash of what an example holds."""
    return hashlib.blake2b(content, digest_size=16).digest()


def perceptual(thumbs: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the hash of each picture, uint64 [n], of thumbs [n, 32, 32]."""
    at = (2 * np.arange(EDGE_PX) + 1) * np.pi / (2 * EDGE_PX)
    waves = np.cos(at[None, :] * np.arange(LOWEST)[:, None]).astype(np.float32)
    low = np.empty((len(thumbs), LOWEST**2), np.float32)
    for part in _parts(len(thumbs)):
        low[part] = (waves @ thumbs[part].astype(np.float32) @ waves.T).reshape(-1, LOWEST**2)
    # The first is the mean: brightness is no feature.
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    packed: NDArray[np.uint64] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return packed


def same(train: Prints, test: Prints) -> dict[int, int]:
    """Return, for each test example that is in the training pool value for value, its first place there."""
    return _matched(train.values, test.values)


def _matched(train: Sequence[bytes], test: Sequence[bytes]) -> dict[int, int]:
    """Return the places of test hashes that are among the training's, each with the first place there."""
    first: dict[bytes, int] = {}
    for i, value in enumerate(train):
        first.setdefault(value, i)
    return {i: first[value] for i, value in enumerate(test) if value and value in first}


def near(train: Prints, test: Prints, without: dict[int, int]) -> dict[int, int]:
    """Return, for each further test example that is nearly a training example, the one that it is most like."""
    if train.thumbs is None or test.thumbs is None:
        return {i: j for i, j in _matched(train.words, test.words).items() if i not in without}
    found: dict[int, tuple[float, int]] = {}
    ours, theirs = _Rows(test.thumbs), _Rows(train.thumbs)
    able = np.setdiff1d(np.flatnonzero(ours.deviation >= FLAT), np.array(list(without), np.int64))
    known = np.flatnonzero(theirs.deviation >= FLAT)
    for i, j in _candidates(perceptual(test.thumbs), perceptual(train.thumbs), able, known):
        alike = ours.correlation(i, theirs, j)
        for a, b, c in zip(i.tolist(), j.tolist(), alike.tolist(), strict=True):
            if c >= LEAST_CORRELATION and (a not in found or (c, -b) > (found[a][0], -found[a][1])):
                found[a] = (c, b)
    return {i: found[i][1] for i in sorted(found)}


class _Rows:
    """Small pictures as rows, with the mean and the deviation of each."""

    def __init__(self, thumbs: NDArray[np.uint8]) -> None:
        self.pixels = thumbs.reshape(len(thumbs), -1)
        self.mean, self.deviation = (np.empty(len(thumbs), np.float32) for _ in range(2))
        for part in _parts(len(thumbs)):
            rows = self.pixels[part].astype(np.float32)
            self.mean[part], self.deviation[part] = rows.mean(axis=1), rows.std(axis=1)

    def correlation(self, i: NDArray[np.int64], other: _Rows, j: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the correlation of the pixels of each pair, float32 [n]."""
        ours = self.pixels[i].astype(np.float32) - self.mean[i, None]
        theirs = other.pixels[j].astype(np.float32) - other.mean[j, None]
        together: NDArray[np.float32] = np.einsum("nd,nd->n", ours, theirs) / self.pixels.shape[1]
        return together / (self.deviation[i] * other.deviation[j])


def _parts(count: int) -> Iterator[slice]:
    for begin in range(0, count, TOGETHER):
        yield slice(begin, begin + TOGETHER)


def repeated(values: Sequence[bytes]) -> dict[int, int]:
    """Return, for each example that repeats an earlier one, the first of them."""
    first: dict[bytes, int] = {}
    return {i: first[value] for i, value in enumerate(values) if first.setdefault(value, i) != i}


def _candidates(
    ours: NDArray[np.uint64], theirs: NDArray[np.uint64], able: NDArray[np.int64], known: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs whose hashes are near, as places in ours and in theirs."""
    hashes = theirs[known]
    for begin in range(0, len(able), BLOCK):
        rows = able[begin : begin + BLOCK]
        bits = np.bitwise_count(ours[rows][:, None] ^ hashes[None, :])
        i, j = np.nonzero(bits <= MOST_BITS)
        for part in _parts(len(i)):
            yield rows[i[part]], known[j[part]]

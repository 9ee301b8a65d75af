"""Looks at the texts of a data set: how long they are, a few of each class, and what stands in both splits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.datasets import Examples
from bench.survey import SHOWN_SIGNS, Texts
from bench.survey.twins import Prints, value_of

# Of each of so many classes so many training texts are shown.
CLASSES, OF_A_CLASS = 12, 3


def read(examples: Mapping[str, Examples], index: Mapping[str, NDArray[np.int64]]) -> dict[str, list[str]]:
    """Return the texts of `index` of each split."""
    return {split: [str(examples[split].read(int(i))) for i in places] for split, places in index.items()}


def prints_of(texts: Sequence[str]) -> Prints:
    """Return what texts are known by: nearly the same are those with the same words, whatever case and signs are."""
    words = [_words(text) for text in texts]
    return Prints([_value(text) for text in texts], None, [_value(each) if each else b"" for each in words])


def _value(text: str) -> bytes:
    return value_of(text.encode("utf-8", "surrogatepass"))


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def looked_at(texts: Mapping[str, Sequence[str]], labels: NDArray[np.int64], classes: int) -> Texts:
    """Return what is said of the texts of each split; `labels` are those of the training texts."""
    words = {split: np.array([len(text.split()) for text in held]) for split, held in texts.items()}
    generator = np.random.default_rng(len(labels))
    samples = []
    for c in range(min(classes, CLASSES)):
        own = np.flatnonzero(labels == c)
        places = np.sort(generator.choice(own, min(OF_A_CLASS, len(own)), replace=False)) if len(own) else own
        samples.append(tuple(cut(texts["train"][int(i)]) for i in places))
    return Texts({split: len(held) for split, held in texts.items()}, _spreads(words), tuple(samples))


def _spreads(words: Mapping[str, NDArray[np.int64]]) -> dict[str, tuple[int, int, int, int, int]]:
    found = {}
    for split, counts in words.items():
        least, low, median, high, most = np.quantile(counts, (0, 0.25, 0.5, 0.75, 1), method="lower").tolist()
        found[split] = int(least), int(low), int(median), int(high), int(most)
    return found


def cut(text: str) -> str:
    """Return a text on one line, no longer than is shown of it."""
    line = " ".join(text.split())
    whole = line if len(line) <= SHOWN_SIGNS else f"{line[: SHOWN_SIGNS - 1]}…"
    return whole.encode("utf-8", "replace").decode()


def excerpts(texts: Mapping[int, str]) -> bytes:
    """Return texts by their number in a split as JSON, each no longer than is shown of it."""
    return json.dumps({str(i): cut(text) for i, text in texts.items()}, ensure_ascii=False, indent=0).encode() + b"\n"

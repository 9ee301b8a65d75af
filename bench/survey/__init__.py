"""What a look at a data set found out, before anything is learnt from it: kept once for each content, for reports.

`bench.survey.look` makes a survey; this is what it is and how it is kept. Imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.cell import canonical
from bench.registry import adapter, strict

# Goes up when a survey says something else of the same data.
SCHEMA = 2
# The sheet of sample pictures: the edge of each square, and what is between them.
CELL_PX, GAP_PX = 56, 4
# No more of a text is shown.
SHOWN_SIGNS = 400
# What the file of the texts of the test split ends in, beside the survey.
TEXTS = ".texts.json"


@strict
@dataclass(frozen=True)
class Size:
    """So many pictures of one size, in pixels; `channels` is 1 or 3."""

    height: int
    width: int
    channels: int
    count: int


@strict
@dataclass(frozen=True)
class Pictures:
    """What the pictures are like that were looked at, before they are resized.

    looked      how many of each split: all, or so many drawn
    sizes       the most frequent sizes, and `distinct` how many there are in all
    height      the least, median and largest edge in pixels; `width` likewise
    grey        pictures in colour whose three channels are equal
    blank       pictures of one value throughout
    mean, std   of each channel over the training pictures, 0 to 1
    brightness  the mean over each class's training pictures, 0 to 1; None for a class that was not looked at
    """

    looked: dict[str, int]
    sizes: tuple[Size, ...]
    distinct: int
    height: tuple[int, int, int]
    width: tuple[int, int, int]
    grey: int
    blank: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    brightness: tuple[float | None, ...]


@strict
@dataclass(frozen=True)
class Texts:
    """What the texts are like that were looked at.

    looked   how many of each split: all, or so many drawn
    words    the least, the three quartiles and the most words of a text of each split
    samples  of each of the first classes some training texts, as far as they are shown
    """

    looked: dict[str, int]
    words: dict[str, tuple[int, int, int, int, int]]
    samples: tuple[tuple[str, ...], ...]


@strict
@dataclass(frozen=True)
class Pair:
    """A test example and the training example that is the same or nearly so, by their ids."""

    test: str
    train: str
    exact: bool


@strict
@dataclass(frozen=True)
class Twins:
    """Examples that are there twice.

    compared     how many of each split were compared
    exact        test examples that are in the training pool as well, value for value
    near         further test examples that nearly are: pictures to the eye, texts but for case and signs
    other_label  of both, those whose twin has another label
    pairs        some of them
    repeated     examples of each split that repeat an earlier one of the same split
    conflicting  training examples that repeat an earlier one under another label
    """

    compared: dict[str, int]
    exact: int
    near: int
    other_label: int
    pairs: tuple[Pair, ...]
    repeated: dict[str, int]
    conflicting: int


@strict
@dataclass(frozen=True)
class Survey:
    """A look at a data set: its classes and the examples of each in each split, and what else there is to be said.

    `groups` are the groups of each split and those in "both". What does not apply is None.
    """

    dataset: str
    classes: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    groups: dict[str, int] | None
    pictures: Pictures | None
    twins: Twins | None
    texts: Texts | None

    def total(self, split: str) -> int:
        """Return how many examples a split has."""
        return sum(self.counts[split])


def key(dataset: Mapping[str, Any]) -> str:
    """Return the name of the survey of a cell's data set: it hangs on the content and on nothing else."""
    content = ["survey", SCHEMA, dataset["name"], dataset["version"], dataset["digest"]]
    return hashlib.sha256(canonical(content)).hexdigest()[:16]


def dumps(survey: Survey) -> bytes:
    """Return a survey as JSON."""
    return adapter(Survey).dump_json(survey, indent=1) + b"\n"


def loads(text: bytes) -> Survey:
    """Return a survey that was written as JSON. Raises ValueError."""
    survey: Survey = adapter(Survey).validate_json(text)
    return survey

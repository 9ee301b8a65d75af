"""Data sets. A data set gives labelled examples; it knows no method. One file each.

To add one, write a frozen dataclass with the members of `Dataset` and put `@datasets.register` above it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from bench.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Facts:
    """What the planner needs to know without decoding anything.

    `digest` names the content and its order: prepared pixels are kept by it, the split and the index. Everything that
    can put another picture there, such as an option that changes the split, changes the digest.
    `classes` are the class names in label order and `counts` the examples of each split that can be used; both are
    None when they are not known before the data are fetched.
    """

    digest: str
    classes: tuple[str, ...] | None
    counts: Mapping[str, int] | None


@dataclass(frozen=True)
class Examples:
    """The labelled examples of one split.

    `labels` is int64 [n], from 0 to the number of classes less one. `read(i)` decodes example i: of modality "image"
    uint8, [height, width] or [height, width, 3], the same for all examples of the data set; of modality "text" a str.
    It is called from several threads.
    `ids` name the examples for people ("train/42", a relative file name); no two are the same, in either split.
    `groups`, int64 [n], says whose each example is, a patient's for instance, where that is known: a number stands for
    the same group in both splits, and no group is in both.
    """

    ids: Sequence[str]
    labels: NDArray[np.int64]
    read: Callable[[int], Any]
    groups: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Download:
    """What `fetch` has yet to get: from where, how many bytes over the network, None where that is not known.

    `problem` says why no source can give it now, as far as that is found out without downloading.
    """

    source: str
    size_bytes: int | None = None
    problem: str | None = None


class Dataset(Protocol):
    """The contract of a data set. Splits are "train" and "test"; training subsets are drawn from "train".

    `facts` and `examples` raise DataError, saying what to do, when the data can't be had. `facts` imports no torch and
    is quick. `fetch` gets the data from its sources, in order, or does nothing when it is there already; `examples`
    fetches by itself. One that downloads may have a method `missing() -> Download | None`, by which `bench doctor` says
    what a run would download; None means nothing.

    `modality` is "image" or "text". A data set of pictures has an option `resolution`, the edge in pixels that they are
    resized to, one of texts an option `max_length`, the tokens after which they are cut; None leaves it to the
    backbone.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    modality: ClassVar[str]
    licence: ClassVar[str]
    source: ClassVar[str]

    def facts(self) -> Facts: ...

    def examples(self, split: str) -> Examples: ...

    def fetch(self) -> None: ...


def missing(dataset: Dataset) -> Download | None:
    """Return what a data set has yet to download; None when it is here, or never downloads."""
    asked: Callable[[], Download | None] | None = getattr(dataset, "missing", None)
    return asked() if asked is not None else None


# The option by which a data set of a modality says how large its examples are to be.
EXTENTS = {"image": "resolution", "text": "max_length"}


def extent(dataset: Dataset) -> int | None:
    """Return how large a data set wants its examples: pixels or tokens; None leaves it to the backbone."""
    wanted: int | None = getattr(dataset, EXTENTS[dataset.modality])
    return wanted


datasets: Registry[Dataset] = Registry("dataset", "bench.datasets")

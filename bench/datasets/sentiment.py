"""Snippets of four domains with the sentiment that people read in them (Hutto and Gilbert, 2014)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.cell import canonical
from bench.datasets import Download, Examples, Facts, datasets
from bench.datasets._archive import Archived
from bench.datasets._cache import cache_dir
from bench.datasets._sources import Folder, Source, lacking, load, obtain
from bench.datasets._split import by_group, check_test_share, stratified
from bench.datasets._texts import check_max_length
from bench.errors import DataError, OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES = ("negative", "positive")
# The largest score is 4.
MOST = 4.0
FILES = {
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "product": "amazonReviewSnippets_GroundTruth.txt",
    "tweet": "tweets_GroundTruth.txt",
    "editorial": "nytEditorialSnippets_GroundTruth.txt",
}
CHECKSUMS = {
    "movieReviewSnippets_GroundTruth.txt": "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
    "amazonReviewSnippets_GroundTruth.txt": "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2",
    "tweets_GroundTruth.txt": "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f",
    "nytEditorialSnippets_GroundTruth.txt": "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e",
}
# The source distribution of vaderSentiment 3.3.2 on PyPI, which is where the authors publish the files.
ARCHIVE = Archived(
    url="https://files.pythonhosted.org/packages/77/8c/4a48c10a50f750ae565e341e697d74a38075a3e43ff0df6f1ab72e186902/"
    "vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    within=("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz", "hutto_ICWSM_2014"),
)
DOWNLOAD_BYTES = 2_500_000
# Training and test examples by the options' defaults, known before the files are here.
COUNTS = {"movie": (8056, 2014), "product": (2364, 604), "tweet": (2623, 656), "editorial": (2342, 589)}


@datasets.register
@dataclass(frozen=True)
class Sentiment:
    """Snippets of film reviews, product reviews, tweets or editorials, "negative" or "positive".

    About twenty people scored each from -4 to 4. A mean of `threshold` or more is positive, of -`threshold` or less
    negative, and what lies between is left out, as is a snippet with the very words of an earlier one. The harness
    keeps a fifth of each class for test; snippets of one product review or editorial are on one side. Texts are cut
    after `max_length` tokens.
    """

    name: ClassVar[str] = "sentiment"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "text"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "https://github.com/cjhutto/vaderSentiment"

    domain: Literal["movie", "product", "tweet", "editorial"] = "movie"
    threshold: float = 0.5
    test_share: float = 0.2
    max_length: int | None = 64

    def __post_init__(self) -> None:
        check_max_length(self.max_length)
        if not 0 < self.threshold < MOST:
            raise OptionError(f"threshold must be between 0 and {MOST:g}, not {self.threshold}", ("threshold",))
        check_test_share(self.test_share)

    def facts(self) -> Facts:
        """Return the facts; with other options than usual, counts are known once the files are here."""
        content = CHECKSUMS[FILES[self.domain]]
        digest = hashlib.sha256(canonical([content, self.version, self.threshold, self.test_share])).hexdigest()
        raw = load(_folder(), FILES[self.domain], CHECKSUMS)
        if raw is not None:
            return Facts(digest, CLASSES, {k: len(v.labels) for k, v in self._splits(raw).items()})
        usual = (self.threshold, self.test_share) == (Sentiment.threshold, Sentiment.test_share)
        counts = dict(zip(("train", "test"), COUNTS[self.domain], strict=True)) if usual else None
        return Facts(digest, CLASSES, counts)

    def fetch(self) -> None:
        """Get the four files into the cache. Raises DataError."""
        obtain(self.name, _folder(), CHECKSUMS, _sources())

    def missing(self) -> Download | None:
        """Return what `fetch` would get."""
        return lacking(_folder(), CHECKSUMS, _sources(), DOWNLOAD_BYTES)

    def examples(self, split: str) -> Examples:
        """Return one split, held in memory."""
        self.fetch()
        raw = load(_folder(), FILES[self.domain], CHECKSUMS)
        if raw is None:
            raise DataError(f"{self.name}: {_folder()} changes while it is used; remove it and try again")
        return self._splits(raw)[split]

    def _splits(self, raw: bytes) -> dict[str, Examples]:
        return _splits(raw, self.threshold, self.test_share)


@dataclass(frozen=True)
class Snippet:
    """A snippet by its number in the file, "42", or document and number in there, "7_3"."""

    name: str
    score: float
    text: str

    @property
    def document(self) -> str:
        return self.name.partition("_")[0]

    @property
    def words(self) -> str:
        return " ".join(re.findall(r"\w+", self.text.lower()))


def snippets(raw: bytes) -> list[Snippet]:
    """Return the snippets of a file: lines of a name, a score and a text, with tabs between them."""
    lines = [line.split("\t", 2) for line in raw.decode("utf-8").splitlines() if line]
    return [Snippet(name, float(score), text.strip()) for name, score, text in lines]


@lru_cache(maxsize=4)
def _splits(raw: bytes, threshold: float, test_share: float) -> dict[str, Examples]:
    import numpy as np

    first: dict[str, Snippet] = {}
    for snippet in snippets(raw):
        if abs(snippet.score) >= threshold and snippet.words:
            first.setdefault(snippet.words, snippet)
    kept = list(first.values())
    labels = np.array([snippet.score > 0 for snippet in kept], np.int64)
    documents, groups = np.unique([snippet.document for snippet in kept], return_inverse=True)
    whole = len(documents) < len(kept)
    names = [snippet.name for snippet in kept]
    rows = (
        by_group(labels, groups.astype(np.int64), [str(d) for d in documents], test_share)
        if whole
        else stratified(labels, names, test_share)
    )
    found = {}
    for split, index in rows.items():
        texts = [kept[i].text for i in index]
        owners: NDArray[np.int64] | None = groups[index].astype(np.int64) if whole else None
        found[split] = Examples([names[i] for i in index], labels[index], texts.__getitem__, owners)
    return found


def _folder() -> Path:
    return cache_dir() / "sentiment"


def _sources() -> list[Source]:
    return [Folder(_folder(), "the cache"), ARCHIVE]

"""Which words the best model of a data set of texts goes by: texts with their tokens shaded."""

from __future__ import annotations

import math
import re
import statistics
from typing import TYPE_CHECKING

from bench.errors import printable
from bench.report.page import Block, Paragraph, Piece, Shaded, Span, Table
from bench.report.units import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.shelf import Explained

# Tokens of a text that are shown, and from which part of the largest score on a number stands beside one.
MOST_PIECES, LEAST_SHARE = 160, 0.15


def reading(seen: Explained, prefix: str) -> tuple[str, list[Block]]:
    """Return how it is seen what a model goes by, and the texts that it had right and wrong."""
    gaps = [float(gap) for gap in seen.arrays["gap"]]
    how = (
        "Tokens are shaded by how much they speak for the class that the model named (blue) or against it (orange, "
        f"underlined): integrated gradients at the {seen.about['place']} in up to {seen.about['steps']} steps, from "
        "the text with padding in place of its words (Sundararajan et al., 2017). The numbers are parts of the class's "
        f"logit less the mean over all classes; added up they miss the whole by {_percent(statistics.median(gaps))} "
        "(median of these texts). They say what the model went by, not that it was right to."
    )
    return how, [*_texts(seen), *_tried(seen, prefix)]


def _percent(part: float) -> str:
    return f"{part:.1%}" if math.isfinite(part) else MISSING


def _texts(seen: Explained) -> Iterator[Block]:
    """Yield each text under its true class and the answer, those that were right first."""
    arrays, classes, begin = seen.arrays, seen.about["classes"], 0
    title = None
    for i, length in enumerate(arrays["lengths"].tolist()):
        scores = arrays["scores"][begin : begin + length].tolist()
        begin += length
        said, true = int(arrays["predicted"][i]), int(arrays["labels"][i])
        now = "Texts that it had right" if said == true else "Texts that it had wrong"
        if now != title:
            title = now
            yield Paragraph((Span(title, "strong"),))
        told = f"true: {classes[true]}, says: {classes[said]} {float(arrays['confidence'][i]):.2f}"
        yield Shaded((Span(f"{told} (test/{int(arrays['index'][i])})"),), _pieces(seen.about["pieces"][i], scores))


def _pieces(pieces: list[str], scores: list[float]) -> tuple[Piece, ...]:
    largest = max(map(abs, scores), default=0.0) or 1.0
    found = []
    for text, score in list(zip(pieces, scores, strict=False))[:MOST_PIECES]:
        share = score / largest
        found.append(Piece(_plain(text), share, f"{score:+.2f}" if abs(share) >= LEAST_SHARE else ""))
    return (*found, *([Piece(" …", 0.0, "")] if len(pieces) > MOST_PIECES else []))


def _plain(text: str) -> str:
    """Return a piece on one line, with a blank where there are some."""
    return printable(re.sub(r"\s+", " ", text))


def _tried(seen: Explained, prefix: str) -> Iterator[Block]:
    """Yield the test by random weights: how far the scores agree as more and more of the network is drawn anew."""
    levels = seen.about["levels"]
    rows = []
    for name, agreements in zip(levels, seen.arrays["agreement"].tolist(), strict=False):
        finite = [a for a in agreements if math.isfinite(a)]
        rows.append((Span(name), Span(f"{statistics.mean(finite):.2f}" if finite else MISSING), Span(f"{len(finite)}")))
    if rows:
        caption = (
            "Do the scores show what was learnt? Their rank correlation, mean over texts, with those of the same "
            "network with weights drawn anew: 1 for the same, 0 for nothing in common. Scores that stayed the same "
            "would say nothing of the model (Adebayo et al., 2018)."
        )
        yield Table(f"{prefix}seeing_random", ("drawn anew", "agreement", "texts"), tuple(rows), 1, caption)

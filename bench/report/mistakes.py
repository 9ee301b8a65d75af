"""The error analysis of one trained classifier: what it mixes up, how surely, and which examples are hard for all."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.quality.bootstrap import wilson
from bench.quality.errors import (
    Slice,
    by_confidence,
    by_group,
    by_length,
    confused_pairs,
    hardest,
    surest_mistakes,
    suspected_labels,
)
from bench.report.gallery import Shown, gallery
from bench.report.page import Block, Paragraph, Span, Table
from bench.report.units import MISSING

if TYPE_CHECKING:
    from bench.report.evaluation import Evaluated
    from bench.shelf import Predictions, Shelf

MOST_PAIRS, MOST_CLASSES, MOST_GROUPS = 10, 20, 10
# Of fewer examples a group says nothing.
LEAST_OF_A_GROUP = 5


def mistakes(of: Evaluated, others: Sequence[Predictions], shelf: Shelf, prefix: str) -> list[Block]:
    """Return the tables and sheets of an error analysis; `others` are all models that were asked the same examples."""
    wrong = int(of.counts.sum() - of.counts.trace())
    total = len(of.labels)
    text = f"{wrong:,} of {total:,} test examples are wrong ({wrong / total:.1%}), by {of.chosen.told}."
    blocks: list[Block] = [Paragraph((Span(text),))]
    if wrong:
        blocks += [_pairs(of), _by_class(of), _by_confidence(of), *_by_length(of, shelf), *_by_group(of)]
        blocks.append(_surest(of, shelf, prefix))
    return [*blocks, *_hard(of, others, shelf, prefix), *_suspected(of, shelf, prefix)]


def _pairs(of: Evaluated) -> Table:
    found = confused_pairs(of.counts)
    rows = [
        (Span(of.classes[p.true]), Span(of.classes[p.predicted]), Span(f"{p.count:,}"), Span(f"{p.share:.1%}"))
        for p in found[:MOST_PAIRS]
    ]
    caption = "The most confused pairs of classes."
    caption += f" The first {MOST_PAIRS} of {len(found)}." if len(found) > MOST_PAIRS else ""
    head = ("true class", "taken for", "examples", "part of the true class")
    return Table("confused", head, tuple(rows), 2, caption)


def _by_class(of: Evaluated) -> Table:
    """Return the classes with the largest part of errors first."""
    support, hits = of.counts.sum(axis=1), of.counts.diagonal()
    confidence = of.probabilities.max(axis=1)
    held = [c for c in range(len(of.classes)) if support[c]]
    held.sort(key=lambda c: (hits[c] / support[c], c))
    rows = []
    for c in held[:MOST_CLASSES]:
        bad = int(support[c] - hits[c])
        sure = confidence[(of.labels == c) & ~of.right]
        numbers = (
            f"{support[c]:,}",
            f"{bad:,}",
            _share(bad, int(support[c])),
            f"{sure.mean():.3f}" if bad else MISSING,
        )
        rows.append((Span(of.classes[c]), *(Span(text) for text in numbers)))
    caption = "Errors by class, the worst first, with 95 % intervals (Wilson)."
    caption += f" The worst {MOST_CLASSES} of {len(held)} classes." if len(held) > MOST_CLASSES else ""
    head = ("class", "examples", "wrong", "part", "mean confidence when wrong")
    return Table("errors_by_class", head, tuple(rows), 1, caption)


def _by_confidence(of: Evaluated) -> Table:
    caption = "Errors by confidence in the predicted class: a model that knows what it does not know errs at the top."
    found = by_confidence(of.probabilities, of.labels)
    return Table("errors_by_confidence", ("confidence", *SLICED), _sliced(found), 1, caption)


SLICED = ("examples", "wrong", "part")


def _by_length(of: Evaluated, shelf: Shelf) -> list[Block]:
    """Return how often short and long examples go wrong; nothing where they have no lengths."""
    lengths = shelf.lengths(of.chosen.record, "test", of.predictions.index.tolist())
    found = by_length(of.right, lengths)
    if not found:
        return []
    caption = "Errors by length, about a quarter of the test examples each: in tokens, as they were cut for the model."
    return [Table("errors_by_length", ("tokens", *SLICED), _sliced(found), 1, caption)]


def _by_group(of: Evaluated) -> list[Block]:
    """Return the groups of examples, such as patients, that go wrong most; nothing where the data set has none."""
    found = by_group(of.right, of.predictions.groups, LEAST_OF_A_GROUP)
    if not found:
        return []
    caption = (
        f"Errors by group of examples, the worst {min(MOST_GROUPS, len(found))} of the {len(found)} with at least "
        f"{LEAST_OF_A_GROUP} test examples. Those of a group are alike: intervals that count each one are too narrow."
    )
    return [Table("errors_by_group", ("group", *SLICED), _sliced(found[:MOST_GROUPS]), 1, caption)]


def _surest(of: Evaluated, shelf: Shelf, prefix: str) -> Block:
    places = surest_mistakes(of.probabilities, of.labels)
    caption = "The surest mistakes: wrong, with the highest confidence. Some of them are no mistakes of the model."
    shown = [_shown(of, int(place)) for place in places]
    return gallery("surest-mistakes", shown, caption, shelf, of.chosen.record, prefix)


def _hard(of: Evaluated, others: Sequence[Predictions], shelf: Shelf, prefix: str) -> list[Block]:
    """Return the examples that most models of this data set and size get wrong; nothing of a single model."""
    answers = [other.logits.argmax(axis=1) for other in others]
    if len(answers) < 2:
        return []
    places, wrong = hardest([given == of.labels for given in answers])
    if not len(places):
        return []
    every = sum(int(n) == len(answers) for n in wrong)
    shown = [
        Shown(int(of.predictions.index[at]), {"true": of.classes[of.labels[at]], "wrong": f"{n} of {len(answers)}"}, "")
        for at, n in zip(places, wrong, strict=True)
    ]
    caption = (
        f"Hard examples: wrong by the most of the {len(answers)} models of all strategies, backbones and seeds at "
        f"n = {of.chosen.size}. {every:,} of {len(of.labels):,} are wrong by every one."
    )
    return [gallery("hard-examples", shown, caption, shelf, of.chosen.record, prefix)]


def _suspected(of: Evaluated, shelf: Shelf, prefix: str) -> list[Block]:
    """Return test labels that are likely wrong; where cleanlab is not installed, how to get it."""
    if importlib.util.find_spec("cleanlab") is None:
        words = (Span("Suspected label errors are found by cleanlab: "), Span("pip install cleanlab", "code"))
        return [Paragraph(words, "note")]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            places = suspected_labels(of.labels, of.probabilities)
    except ValueError as error:
        return [Paragraph((Span(f"Suspected label errors: not known: {' '.join(str(error).split())}"),), "note")]
    if not len(places):
        return [Paragraph((Span("Suspected label errors: none, by confident learning."),), "note")]
    caption = (
        f"Suspected label errors: {len(places):,} of {len(of.labels):,} test labels, the least likely first "
        "(confident learning: Northcutt et al., 2021, by cleanlab). A hard example looks the same: look, then relabel."
    )
    shown = [_shown(of, int(place)) for place in places]
    return [gallery("suspected-labels", shown, caption, shelf, of.chosen.record, prefix)]


def _shown(of: Evaluated, place: int) -> Shown:
    said = int(of.predicted[place])
    words = {
        "true": of.classes[of.labels[place]],
        "said": of.classes[said],
        "confidence": f"{of.probabilities[place, said]:.3f}",
    }
    return Shown(int(of.predictions.index[place]), words, "right" if said == of.labels[place] else "wrong")


def _sliced(found: Sequence[Slice]) -> tuple[tuple[Span, ...], ...]:
    return tuple(
        (Span(one.name), Span(f"{one.count:,}"), Span(f"{one.wrong:,}"), Span(_share(one.wrong, one.count)))
        for one in found
    )


def _share(part: int, whole: int) -> str:
    bounds = wilson(part, whole)
    assert bounds is not None
    return f"{part / whole:.1%} [{bounds.low:.1%}, {bounds.high:.1%}]"

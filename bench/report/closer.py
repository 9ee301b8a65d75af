"""A closer look at one cell of each data set: its evaluation and its errors, from predictions beside the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.report.board import Board
from bench.report.chosen import Chosen, chosen
from bench.report.page import Block, Heading, Paragraph, Span
from bench.report.study import Section, Study

if TYPE_CHECKING:
    from bench.shelf import Predictions, Shelf


def closer(study: Study, found: Sequence[Section], standings: Sequence[Sequence[Board]], most: int) -> list[Block]:
    """Return the evaluation and the error analysis of a cell for each data set, of at most so many data sets.

    Nothing where there is no store, and of tasks of many rounds, whose predictions are of other classes in each.
    """
    picked = chosen(found, standings, study.primary)
    if study.shelf is None or len(picked) > most:
        return []
    blocks: list[Block] = []
    for number, one in enumerate(picked, 1):
        if one.record.details.get("rounds", 1) != 1:
            continue
        several = len(picked) > 1
        title, prefix = (f": {one.dataset}", f"{number}-") if several else ("", "")
        predictions = study.shelf.predictions(one.record.cell_id)
        if predictions is None:
            words = f"The predictions of {one.told} are not kept with these results: nothing is told of them."
            blocks += [Heading(f"Evaluation{title}"), Paragraph((Span(words),), "note")]
        else:
            blocks += _closer(one, predictions, found, study.shelf, title, prefix)
    return blocks


def _closer(
    one: Chosen, own: Predictions, found: Sequence[Section], shelf: Shelf, title: str, prefix: str
) -> list[Block]:
    # Numpy takes a tenth of a second to load, and a report of records alone needs none.
    from bench.report.evaluation import Evaluated, evaluation
    from bench.report.mistakes import mistakes

    of = Evaluated(one, own)
    return [
        Heading(f"Evaluation{title}"),
        *evaluation(of, prefix),
        Heading(f"Errors{title}"),
        *mistakes(of, _others(found, one, own, shelf), shelf, prefix),
    ]


def _others(found: Sequence[Section], one: Chosen, own: Predictions, shelf: Shelf) -> list[Predictions]:
    """Return what all cells of the data set and size said of the same test examples, the chosen one's own among it."""
    import numpy as np

    ids = dict.fromkeys(
        record.cell_id
        for section in found
        if section.dataset == one.dataset
        for line in section.lines
        for record in line.at(one.size)
        if record.status == "ok"
    )
    held = [predictions for cell_id in ids if (predictions := shelf.predictions(cell_id)) is not None]
    return [
        p
        for p in held
        if p.classes == own.classes and np.array_equal(p.index, own.index) and np.array_equal(p.labels, own.labels)
    ]

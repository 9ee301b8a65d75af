"""Single examples on a page: a sheet of pictures or a table of texts where the store has them, else their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.record import Record
from bench.report.page import Block, Span, Table
from bench.report.sheet import Tile, sheet
from bench.shelf import Shelf

# Two rows of a sheet.
MOST = 12


@dataclass(frozen=True)
class Shown:
    """An example of a split by its number, and what there is to say of it, by few words for each."""

    index: int
    words: Mapping[str, str]
    tone: Literal["", "right", "wrong"] = ""


def gallery(
    name: str, shown: Sequence[Shown], caption: str, shelf: Shelf, record: Record, prefix: str, split: str = "test"
) -> Block:
    """Return the examples, at least one, as the model of a record saw them; each must have the same words.

    Nothing is decoded for it: where pictures or texts are not kept, the numbers of the examples stand in a table.
    """
    shown = shown[:MOST]
    pictures = shelf.pictures(record, split, [one.index for one in shown])
    if pictures is not None:
        tiles = [
            Tile(picture, (*(f"{key}: {text}" for key, text in one.words.items()), f"{split}/{one.index}"), one.tone)
            for picture, one in zip(pictures, shown, strict=True)
        ]
        first = ", ".join(f"{key} {text}" for key, text in shown[0].words.items())
        alt = f"{len(tiles)} pictures of the {split} split with words under them; the first: {first}."
        return sheet(f"{prefix}{name}", tiles, alt, caption)
    texts = shelf.texts(record, split, [one.index for one in shown])
    rows = tuple((Span(f"{split}/{one.index}"), *(Span(text) for text in one.words.values())) for one in shown)
    head = ("example", *shown[0].words)
    if texts is None:
        caption = f"{caption} Their pictures or texts are not kept with these results."
        return Table(name, head, rows, len(head), caption)
    rows = tuple((*row, Span(text)) for row, text in zip(rows, texts, strict=True))
    return Table(name, (*head, "text"), rows, len(head) + 1, caption)

"""The model of a page: what Markdown and HTML are both rendered from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

Style = Literal["", "strong", "em", "code"]


@dataclass(frozen=True)
class Span:
    """A run of plain text in one style, which renderers escape; `cells` are the ids of the records behind a number."""

    text: str
    style: Style = ""
    cells: tuple[str, ...] = ()


Words = tuple[Span, ...]


@dataclass(frozen=True)
class Heading:
    kind: ClassVar[str] = "heading"
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """`tone` is "lead" for the headline, "note" for small print."""

    kind: ClassVar[str] = "paragraph"
    words: Words
    tone: Literal["", "lead", "note"] = ""


@dataclass(frozen=True)
class Bullets:
    kind: ClassVar[str] = "bullets"
    items: tuple[Words, ...]


@dataclass(frozen=True)
class Table:
    """Cells by row. The first `texts` columns hold text, the others numbers; `notes` are numbered from 1."""

    kind: ClassVar[str] = "table"
    name: str
    head: tuple[str, ...]
    rows: tuple[tuple[Span, ...], ...]
    texts: int = 1
    caption: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A picture, as SVG and, unless it is one of very many, as PNG. `width_px` is its natural width on a screen."""

    kind: ClassVar[str] = "figure"
    name: str
    alt: str
    caption: str
    svg: bytes
    png: bytes | None
    width_px: int


@dataclass(frozen=True)
class Verbatim:
    kind: ClassVar[str] = "verbatim"
    text: str


class Piece(NamedTuple):
    """A piece of a text, with the blank before it; `share` is from -1, against, to 1, for, and `told` a number."""

    text: str
    share: float
    told: str


@dataclass(frozen=True)
class Shaded:
    """A text whose pieces are shaded, under words about it."""

    kind: ClassVar[str] = "shaded"
    words: Words
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Fold:
    """Blocks that a reader opens."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: tuple[Block, ...]


Block = Heading | Paragraph | Bullets | Table | Figure | Verbatim | Shaded | Fold


@dataclass(frozen=True)
class Page:
    """A whole page: the question, what was studied, the answer, the rest."""

    title: str
    facts: tuple[str, ...]
    answer: tuple[Block, ...]
    blocks: tuple[Block, ...]

    def figures(self) -> tuple[Figure, ...]:
        """Return the figures in the order of the page."""
        return tuple(b for b in self.blocks if isinstance(b, Figure))

    def tables(self) -> tuple[Table, ...]:
        """Return the tables in the order of the page, those in folds too."""
        return tuple(_tables((*self.answer, *self.blocks)))


def _tables(blocks: tuple[Block, ...]) -> list[Table]:
    found: list[Table] = []
    for block in blocks:
        if isinstance(block, Table):
            found.append(block)
        elif isinstance(block, Fold):
            found.extend(_tables(block.blocks))
    return found


class Notes:
    """The footnotes of one table while it is made: each text once, numbered from 1."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, text: str) -> str:
        """Return the marker of a footnote, adding it when it is new."""
        if text not in self.texts:
            self.texts.append(text)
        return f"[{self.texts.index(text) + 1}]"

"""Markdown for GitHub: tables by tabulate, figures as relative links, all text escaped."""

from __future__ import annotations

import html
import re

from bench.report.page import (
    Block,
    Bullets,
    Figure,
    Fold,
    Heading,
    Page,
    Paragraph,
    Shaded,
    Span,
    Table,
    Verbatim,
    Words,
)

MARKS = {"": "", "strong": "**", "em": "*", "code": "`"}


def render(page: Page) -> str:
    """Return the page as Markdown; figures are looked for in figures/ beside it."""
    parts = [f"# {escape(page.title)}", escape(" · ".join(page.facts))]
    parts += [_block(b) for b in (*page.answer, *page.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown and HTML show as it is, on one line."""
    flat = html.escape(re.sub(r"\s+", " ", text), quote=False)
    flat = re.sub(r"([\\`*\[\]|~!#])", r"\\\1", flat)
    # An underscore inside a word is plain in GitHub's Markdown; escaping it would only hurt the eye.
    flat = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", flat)
    # A bare address would become a link.
    return flat.replace("://", ":&#8203;//").replace("www.", "www&#8203;.")


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {escape(block.text)}"
        case Paragraph():
            text = _words(block.words)
            return f"<sub>{text}</sub>" if block.tone == "note" else text
        case Bullets():
            return "\n".join(f"- {_words(item)}" for item in block.items)
        case Table():
            return _table(block)
        case Figure():
            return f"![{escape(block.alt)}](figures/{block.name}.svg)\n\n<sub>{escape(block.caption)}</sub>"
        case Verbatim():
            fence = "`" * max(3, max((len(run) for run in re.findall(r"`+", block.text)), default=0) + 1)
            return f"{fence}text\n{block.text.rstrip()}\n{fence}"
        case Shaded():
            pieces = (f"{escape(p.text)}({escape(p.told)})" if p.told else escape(p.text) for p in block.pieces)
            return f"<sub>{_words(block.words)}</sub><br>{''.join(pieces)}"
        case Fold():
            inside = "\n\n".join(_block(b) for b in block.blocks)
            title = html.escape(block.title)
            return f"<details>\n<summary>{title}</summary>\n\n{inside}\n\n</details>"


def _words(words: Words) -> str:
    return "".join(_span(span) for span in words)


def _span(span: Span) -> str:
    if span.style == "code" and "`" not in span.text and "|" not in span.text:
        return f"`{' '.join(span.text.split())}`"
    text, mark = escape(span.text), MARKS[span.style] if span.style != "code" else ""
    return f"{mark}{text}{mark}" if text.strip() else text


def _table(table: Table) -> str:
    from tabulate import tabulate

    cells = [[_span(span) for span in row] for row in table.rows]
    align = ["left"] * table.texts + ["right"] * (len(table.head) - table.texts)
    head = [escape(text) for text in table.head]
    text = tabulate(cells, head, tablefmt="pipe", colalign=align, disable_numparse=True)
    notes = "<br>".join(f"\\[{i}] {escape(note)}" for i, note in enumerate(table.notes, 1))
    parts = [f"<sub>{escape(table.caption)}</sub>" if table.caption else "", text]
    return "\n\n".join(p for p in (*parts, f"<sub>{notes}</sub>" if notes else "") if p)

"""Blocks of a page as plain text for a terminal."""

from __future__ import annotations

import textwrap

from bench.report.page import Block, Bullets, Heading, Paragraph, Words


def render(blocks: tuple[Block, ...], width: int) -> str:
    """Return headings, paragraphs and bullets as text of at most `width` columns; tables and figures have none."""
    return "\n\n".join(text for block in blocks if (text := _block(block, width)))


def _block(block: Block, width: int) -> str:
    match block:
        case Heading():
            return block.text
        case Paragraph():
            return textwrap.fill(_words(block.words), width, break_long_words=False)
        case Bullets():
            return "\n".join(
                textwrap.fill(_words(item), width, initial_indent="- ", subsequent_indent="  ", break_long_words=False)
                for item in block.items
            )
        case _:
            return ""


def _words(words: Words) -> str:
    return "".join(span.text for span in words)

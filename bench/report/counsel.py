"""What to take, for someone at a terminal or for another program: the report's answer, within limits, at one size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bench.report import advice, plain
from bench.report.board import Board, boards
from bench.report.choice import Limits
from bench.report.page import Block, Heading, Paragraph, Span
from bench.report.study import Section, Study, sections


@dataclass(frozen=True)
class Counsel:
    """What to take on one data set and backbone."""

    blocks: tuple[Block, ...]
    json: dict[str, Any]

    def text(self, width: int) -> str:
        """Return it as text of at most `width` columns."""
        return plain.render(self.blocks, width)


def advised(study: Study, limits: Limits, size: int | None) -> list[Counsel]:
    """Return what to take on each data set and backbone, at every size or at the measured one nearest to `size`."""
    return [_counsel(section, study.primary, limits, size) for section in sections(study)]


def _counsel(section: Section, primary: str, limits: Limits, size: int | None) -> Counsel:
    standing = boards(section, primary)
    blocks: list[Block] = [Heading(section.title)]
    if size is not None:
        standing = (min(standing, key=lambda board: _distance(board, size)),)
        if standing[0].size != size:
            told = f"n = {size} was not measured; the nearest size that was is {standing[0].size}."
            blocks.append(Paragraph((Span(told),)))
    blocks += advice.answer(section, standing, primary, limits)
    where = {"dataset": section.dataset, "backbone": section.backbone, "metric": primary}
    return Counsel(tuple(blocks), {**where, "sizes": advice.to_json(standing, limits)})


def _distance(board: Board, size: int) -> tuple[bool, float]:
    """Return how far a size is in log n; sizes without a result come last."""
    return not board.ranked, abs(math.log(board.size / size)) if board.size > 0 else math.inf

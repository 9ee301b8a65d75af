"""What to take, for someone at a terminal or for another program: the report's answer, within limits, at one size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.compare.statistics import Comparison
from bench.report import advice, evidence, plain
from bench.report.board import Board, boards
from bench.report.choice import Choice, Limits, choose, rule_of_thumb
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
    missing = evidence.not_run(study)
    return [_counsel(section, study.primary, limits, size, missing) for section in sections(study)]


def _counsel(section: Section, primary: str, limits: Limits, size: int | None, missing: tuple[Block, ...]) -> Counsel:
    standing = boards(section, primary)
    blocks: list[Block] = [Heading(section.title), *missing]
    if size is not None:
        standing = (min(standing, key=lambda board: _distance(board, size)),)
        if standing[0].size != size:
            told = f"n = {size} was not measured; the nearest size that was is {standing[0].size}."
            blocks.append(Paragraph((Span(told),)))
    blocks += advice.answer(section, standing, primary, limits)
    where = {"dataset": section.dataset, "backbone": section.backbone, "metric": primary}
    return Counsel(tuple(blocks), {**where, "sizes": _to_json(standing, limits)})


def _distance(board: Board, size: int) -> tuple[bool, float]:
    """Return how far a size is in log n; sizes without a result come last."""
    return not board.ranked, abs(math.log(board.size / size)) if board.size > 0 else math.inf


def _to_json(standing: Sequence[Board], limits: Limits) -> list[dict[str, Any]]:
    """Return the choice at each size as plain JSON."""
    made = []
    for board in standing:
        choice, rule = choose(board, limits), rule_of_thumb(board)
        best, second = (_told(choice, place) for place in (0, 1))
        made.append(
            {
                "size": choice.size,
                "recommended": best,
                "runner_up": second,
                "margin": _margin_json(choice.comparison),
                "as_good_for_less": choice.cheaper.label if choice.cheaper else None,
                "excluded": dict(choice.excluded),
                "rule_of_thumb": {"because": rule[0], "says": advice.KINDS[rule[1]]} if rule else None,
            }
        )
    return made


def _told(choice: Choice, place: int) -> dict[str, Any] | None:
    if len(choice.ranked) <= place:
        return None
    line, summary = choice.ranked[place]
    found = {"strategy": line.label, "mean": summary.mean, "sd": summary.sd, "seeds": summary.n}
    seconds = line.median(choice.size, "seconds.standalone")
    return {**found, "standalone_seconds": seconds, "timing_valid": line.timed(choice.size)}


def _margin_json(comparison: Comparison | None) -> dict[str, Any] | None:
    d = comparison.difference if comparison else None
    if comparison is None or d is None:
        return None
    told = {"mean": d.mean, "low": d.low, "high": d.high, "p_adjusted": comparison.p_adjusted}
    return {**told, "verdict": comparison.verdict}

"""The cells that are looked at closer: of each data set the best strategy, at the most labels, the median seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.record import Record
from bench.report.board import Board
from bench.report.study import Line, Section, value


@dataclass(frozen=True)
class Chosen:
    """One cell to look at: `record` is the one of `line` at `size`, in `section`, whose score is the median."""

    section: Section
    line: Line
    size: int
    record: Record

    @property
    def dataset(self) -> str:
        """The data set, as the section's title has it."""
        return self.section.dataset

    @property
    def told(self) -> str:
        """What was chosen, for a sentence."""
        cell = self.record.cell
        return f"{self.line.label} on {self.section.backbone} at n = {self.size}, seed {cell.seed}"


def chosen(found: Sequence[Section], standings: Sequence[Sequence[Board]], primary: str) -> tuple[Chosen, ...]:
    """Return one cell for each data set, in the order of the sections; none where no cell ended ok.

    The strategy is the one that the answer names: the best mean on test over seeds, at the largest size that has one,
    over all backbones. One trained model is looked at, not all seeds in a heap: their test examples are the same ones,
    and would be counted again with each. Of an even number of seeds it is the lower of the middle two.
    """
    path = f"metrics.{primary}"
    best: dict[str, tuple[tuple[int, float], Section, Line]] = {}
    for section, standing in zip(found, standings, strict=True):
        for board in standing:
            if not board.ranked:
                continue
            line, summary = board.ranked[0]
            rank = (board.size, summary.mean)
            if section.dataset not in best or rank > best[section.dataset][0]:
                best[section.dataset] = (rank, section, line)
    made = []
    for (size, _), section, line in best.values():
        ok = [r for r in line.at(size) if r.status == "ok" and value(r, path) is not None]
        ok.sort(key=lambda record: (value(record, path), record.cell.seed))
        made.append(Chosen(section, line, size, ok[(len(ok) - 1) // 2]))
    return tuple(made)

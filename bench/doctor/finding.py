"""What a check finds, and how findings are told."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from bench.errors import printable_lines

State = Literal["ok", "note", "problem"]
# Each reads without colour too.
MARKS: dict[State, str] = {"ok": "  ok", "note": "! note", "problem": "x problem"}
COLOURS: dict[State, str] = {"ok": "32", "note": "33", "problem": "1;31"}
MARK_WIDTH, GAP = 9, "  "


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its name, how it is, what was found, and what to do about it.

    A "problem" would stop a run or make its numbers worthless; a "note" is worth knowing.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def text(findings: Sequence[Finding], width: int, colours: bool = False) -> str:
    """Return findings in three columns that fit `width`, what to do below what was found, and a last line."""
    wide = max((len(f.name) for f in findings), default=0)
    room = width - MARK_WIDTH - wide - 2 * len(GAP)
    lines = []
    for f in findings:
        advice = [("→ " if i == 0 else "  ") + line for i, line in enumerate(_wrapped(f.advice, room - 2))]
        mark = f"{MARKS[f.state]:<{MARK_WIDTH}}"
        marks = [f"\x1b[{COLOURS[f.state]}m{mark}\x1b[0m" if colours else mark]
        rows = zip_longest(marks, [f.name], [*_wrapped(f.found, room), *advice])
        lines += [
            GAP.join((mark or " " * MARK_WIDTH, f"{name or '':<{wide}}", told or "")).rstrip()
            for mark, name, told in rows
        ]
    return "\n".join([*lines, "", summary(findings)])


def _wrapped(words: str, width: int) -> list[str]:
    # Commands are copied: a word that is cut is none.
    return textwrap.wrap(printable_lines(words), max(width, 24), break_long_words=False, break_on_hyphens=False)


def summary(findings: Sequence[Finding]) -> str:
    """Say how many findings there are in each state."""
    problems, notes = (sum(f.state == state for f in findings) for state in ("problem", "note"))
    told = ", ".join(
        [counted(problems, "problem") if problems else "no problem", *[counted(notes, "note")] * bool(notes)]
    )
    return f"{told}: {'a run would stop, or its numbers be worthless' if problems else 'ready to run'}"


def counted(count: int, noun: str) -> str:
    """Return a number of things: "1 note", "2 notes"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def size(count: float) -> str:
    """Return a number of bytes in the unit that people would use."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 9.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"

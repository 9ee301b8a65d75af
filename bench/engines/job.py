"""What an engine sends to a worker for one cell, and the messages that come back meanwhile. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What an engine sends for one cell: plain JSON.

    `parents` maps a role to the cell that plays it: `{"record": ..., "weights": PATH}`. `predictions` is the file for
    the test predictions, `weights` the one for the trained weights, if they are kept; with `weights_above` only where
    the cell trains one model and its score is more. `progress` is the file to which curve points are appended as JSON
    lines, and `artifacts` the folder that cells share. Of a batch, at most `at_once` examples are taken at once, and
    their gradients added up; None for all.
    """

    suite: str
    cell: Mapping[str, Any]
    parents: Mapping[str, Mapping[str, Any]]
    artifacts: str
    predictions: str
    weights: str | None
    progress: str
    device: str
    at_once: int | None = None
    weights_above: float | None = None

    def tell(self, kind: str, message: Mapping[str, Any]) -> None:
        """Append one message to the progress."""
        tell(self.progress, kind, message)


def tell(progress: str, kind: str, message: Mapping[str, Any]) -> None:
    """Append one message to a file of them; where there is no room for it, none."""
    with suppress(OSError), Path(progress).open("a", encoding="utf-8") as handle:
        handle.write(json.dumps({"kind": kind, **message}) + "\n")


def one_line(error: BaseException) -> str:
    """Return an error as a reason: its type and its text, at most 300 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]

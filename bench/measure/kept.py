"""What is measured once for a machine or an architecture, and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.files import parse_json, replacing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Measured = TypeVar("Measured", bound="DataclassInstance")


def kept(path: Path, read: Callable[[Any], Measured], measure: Callable[[], Measured], **notes: Any) -> Measured:
    """Return what `read` makes of a JSON file, or measure it, a dataclass, and write it there with notes beside it.

    A file that is damaged is no file. Nothing is written when `measure` raises.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        return read(parse_json(path.read_text(encoding="utf-8")))
    measured = measure()
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**asdict(measured), **notes}), encoding="utf-8")
    return measured

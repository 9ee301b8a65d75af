"""A baseline: what the gate needs of records, one cell a line, as text that belongs in git."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from bench.errors import StoreError
from bench.naming import titles
from bench.record import Record, loads

KEPT_DETAILS = ("asked", "right", "calibration")
KEPT_FACTS = ("fingerprint", "cpu", "gpu", "cores", "threads", "torch", "python", "git_commit", "git_dirty")


def slim(record: Record) -> Record:
    """Return a record without what the gate does not look at: curve, artifacts, most details and packages."""
    details = {key: record.details[key] for key in KEPT_DETAILS if key in record.details}
    facts = {key: record.environment.get(key) for key in KEPT_FACTS if key in record.environment}
    latency = tuple(entry for entry in record.latency if entry.batch == 1)
    return replace(record, curve=(), artifacts=(), latency=latency, details=details, environment=facts)


def text(records: Iterable[Record]) -> str:
    """Return a baseline's text, sorted by what its cells are called: a line of a diff in git is one cell."""
    kept = [slim(record) for record in records]
    named = titles([record.cell for record in kept])
    lines = [
        json.dumps(record.to_json(), sort_keys=True, allow_nan=False, separators=(",", ":"))
        for record in sorted(kept, key=lambda record: (named[record.cell_id], record.cell_id))
    ]
    return "".join(f"{line}\n" for line in lines)


def read(given: str, where: str) -> list[Record]:
    """Return the records of a baseline's text. Raises StoreError with the line that is none."""
    found: list[Record] = []
    for number, line in enumerate(given.splitlines(), 1):
        try:
            found.append(loads(line))
        except ValueError as error:
            raise StoreError(f"{where}:{number}: is no record of a baseline: {error}") from None
    return found

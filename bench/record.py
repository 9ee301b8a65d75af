"""A record: what was measured for one cell. A failure is a record too.

A number that could not be had is None, and `reasons` says why under its dotted path ("metrics.auroc"); it is never 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from pydantic import ValidationError

from bench.cell import Cell
from bench.files import parse_json
from bench.registry import adapter

SCHEMA = 1
Status = Literal["ok", "failed", "oom", "timeout", "diverged", "skipped", "interrupted"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Seconds:
    """Where the time of a cell went. Wall seconds; None where nothing was measured.

    prepare     decoding and resizing this cell's own training examples
    setup       building the model, compiling, autotuning
    train       optimiser steps, closed-form fits and selection on validation, without monitoring
    evaluate    predictions on test and monitor, and their scores: apart from every total
    measure     cost and latency measurement: apart from every total
    shared      the price of the artifacts used: a feature pass over this cell's own examples, the teacher
    parents     the part of `shared` that is the training of parent cells (a teacher), less what this cell pays anyway
    marginal    what this run spent for this cell
    standalone  what a user who runs only this cell pays for the trained model: prepare + setup + train + shared
    """

    prepare: float | None = None
    setup: float | None = None
    train: float | None = None
    evaluate: float | None = None
    measure: float | None = None
    shared: float | None = None
    parents: float | None = None
    marginal: float | None = None
    standalone: float | None = None


@dataclass(frozen=True)
class Cost:
    """What the model needs. Counts of the full deployed model for one input; `flops_train` for the whole training.

    FLOPs are 2 x MACs; both are stored. `peak_memory_bytes` is the peak resident size of the worker process on a CPU,
    and the peak allocation on a GPU, while the cell ran. `weights_bytes` is the trained model stored in its precision.
    """

    params_total: int | None = None
    params_trained: int | None = None
    macs_forward: int | None = None
    flops_forward: int | None = None
    flops_train: int | None = None
    peak_memory_bytes: int | None = None
    weights_bytes: int | None = None


@dataclass(frozen=True)
class Point:
    """One point of a learning curve, at the end of an epoch: losses in nats, accuracies in [0, 1], training seconds."""

    epoch: float
    step: int
    train_loss: float | None
    train_accuracy: float | None
    monitor_loss: float | None
    monitor_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class Latency:
    """Latency of the full model at one batch size: percentiles in milliseconds, raw samples, examples per second.

    `iqr_ms` is the distance between the quartiles. `device_p50_ms` is the median by a GPU's own clock, without what the
    host adds; None on a CPU.
    """

    device: str
    threads: int
    batch: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    samples_ms: tuple[float, ...]
    throughput_per_second: float
    iqr_ms: float | None = None
    device_p50_ms: float | None = None


@dataclass(frozen=True)
class Record:
    """What was measured for one cell (schema 1).

    `details` has what needs no column of its own; of a classifier `right`, whether each test example was, one bit each
    in base64, of how many were `asked`, and `classes` and `confusion`, counts [true][predicted].
    """

    cell_id: str
    suite: str
    cell: Cell
    status: Status
    reason: str | None = None
    attempt: int = 1
    started_at: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    curve: tuple[Point, ...] = ()
    seconds: Seconds = field(default_factory=Seconds)
    timing_valid: bool = True
    cost: Cost = field(default_factory=Cost)
    latency: tuple[Latency, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[Mapping[str, Any], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Read a record back. Raises ValueError when it is not a record of this schema."""
        return loads(json.dumps(data))


# What is no number is not read, as it is never written.
for _part in (Seconds, Cost, Point, Latency, Record):
    _part.__pydantic_config__ = {"allow_inf_nan": False}  # type: ignore[union-attr]


class NewerSchema(ValueError):
    """A record that a later version of the harness wrote."""


def dumps(record: Record) -> str:
    """Return the text of a record's file: one top-level key a line, so that a change in git can be read."""
    # Not by asdict, which copies every latency sample on its own and takes ten times as long.
    body = _fields(record)
    lines = (f"  {json.dumps(k)}: {json.dumps(body[k], allow_nan=False, default=_fields)}" for k in sorted(body))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _fields(data: Any) -> dict[str, Any]:
    return {f.name: getattr(data, f.name) for f in fields(data)}


def loads(text: str | bytes) -> Record:
    """Read the text of a record's file, every field by its type. Raises NewerSchema or ValueError."""
    try:
        record: Record = adapter(Record).validate_json(text, strict=True)
    except ValidationError as error:
        _check_schema(parse_json(text))
        first = error.errors()[0]
        raise ValueError(": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))) from None
    # Gone through a second time, which takes as long as the first, only where it may name no schema of its own.
    names_it = '"schema": 1' in text if isinstance(text, str) else b'"schema": 1' in text
    if record.schema != SCHEMA or not names_it:
        _check_schema(parse_json(text))
    return record


def _check_schema(data: Any) -> None:
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerSchema(f"schema {schema}, this version reads {SCHEMA}")
    if schema != SCHEMA:
        raise ValueError(f"schema {schema!r}, this version reads {SCHEMA}")

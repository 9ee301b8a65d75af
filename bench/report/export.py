"""The numbers behind the page, for other programs: one row a cell."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.record import Record
from bench.report import elsewhere
from bench.report.evidence import strategy_labels
from bench.report.page import Page
from bench.report.study import Study, place_labels

if TYPE_CHECKING:
    import pandas as pd


def rows(records: Sequence[Record], parents: frozenset[str]) -> list[dict[str, Any]]:
    """Return one flat mapping for each record, in the order given; all have the same keys."""
    made = []
    named = elsewhere.names(records)
    labels = zip(strategy_labels(records), place_labels(records), strict=True)
    for record, (label, (dataset, backbone)) in zip(records, labels, strict=True):
        cell = record.cell
        row: dict[str, Any] = {
            "cell_id": record.cell_id,
            "status": record.status,
            "reason": record.reason,
            "parent": record.cell_id in parents,
            "task": cell.task.get("name"),
            "dataset": dataset,
            "size": cell.size,
            "backbone": backbone,
            "weights": cell.backbone.get("weights"),
            "strategy": label,
            "seed": cell.seed,
            "timing_valid": record.timing_valid,
            "environment": record.environment.get("fingerprint"),
        }
        row |= {f"metrics.{k}": v for k, v in sorted(record.metrics.items())}
        row |= elsewhere.columns(record, named)
        row |= {f"seconds.{k}": v for k, v in vars(record.seconds).items()}
        row |= {f"cost.{k}": v for k, v in vars(record.cost).items()}
        for entry in record.latency:
            stem = f"latency.{entry.device}.batch{entry.batch}"
            for name in ("p50_ms", "p90_ms", "p99_ms", "throughput_per_second"):
                row[f"{stem}.{name}"] = getattr(entry, name)
        made.append(row)
    keys = list(dict.fromkeys(key for row in made for key in row))
    return [{key: row.get(key) for key in keys} for row in made]


def frame(records: Sequence[Record], parents: frozenset[str] = frozenset()) -> pd.DataFrame:
    """Return the rows as a pandas frame; what could not be had is None."""
    import pandas as pd

    # Objects, so that a count stays a whole number in a column with gaps.
    return pd.DataFrame(rows(records, parents), dtype=object)


def csv_text(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV; what could not be had is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(cells[0] if cells else ())
    writer.writerows(row.values() for row in cells)
    return text.getvalue()


def json_text(study: Study, page: Page, cells: Sequence[Mapping[str, Any]]) -> str:
    """Return rows and the page's tables as JSON."""
    tables = [
        {
            "name": table.name,
            "caption": table.caption,
            "head": list(table.head),
            "rows": [[span.text for span in row] for row in table.rows],
            "notes": list(table.notes),
        }
        for table in page.tables()
    ]
    # The rows are nearly all of it, and flat: laid out by their separators they are written in C, ten times as fast.
    flat = json.JSONEncoder(separators=(",\n   ", ": "), allow_nan=False, ensure_ascii=False)
    rows = ",\n  ".join(f"{{\n   {flat.encode(row)[1:-1]}\n  }}" for row in cells)
    body = {
        "suite": _laid_out(study.suite),
        "primary": _laid_out(study.primary),
        "cells": f"[\n  {rows}\n ]",
        "tables": _laid_out(tables),
    }
    return "{\n" + ",\n".join(f' "{key}": {text}' for key, text in body.items()) + "\n}\n"


def _laid_out(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False).replace("\n", "\n ")

"""The numbers behind the page, for other programs: one row a cell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.record import Record
from bench.report.evidence import strategy_labels
from bench.report.page import Page
from bench.report.study import Study

if TYPE_CHECKING:
    import pandas as pd


def rows(records: Sequence[Record], parents: frozenset[str]) -> list[dict[str, Any]]:
    """Return one flat mapping for each record, in the order given; all have the same keys."""
    made = []
    for record, label in zip(records, strategy_labels(records), strict=True):
        cell = record.cell
        row: dict[str, Any] = {
            "cell_id": record.cell_id,
            "status": record.status,
            "reason": record.reason,
            "parent": record.cell_id in parents,
            "task": cell.task.get("name"),
            "dataset": cell.dataset.get("name"),
            "size": cell.size,
            "backbone": cell.backbone.get("name"),
            "weights": cell.backbone.get("weights"),
            "strategy": label,
            "seed": cell.seed,
            "timing_valid": record.timing_valid,
            "environment": record.environment.get("fingerprint"),
        }
        row |= {f"metrics.{k}": v for k, v in sorted(record.metrics.items())}
        row |= {f"seconds.{k}": v for k, v in asdict(record.seconds).items()}
        row |= {f"cost.{k}": v for k, v in asdict(record.cost).items()}
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


def csv_text(study: Study) -> str:
    """Return the rows as CSV; what could not be had is an empty field."""
    return frame(study.records, study.parents).to_csv(index=False, lineterminator="\n")


def json_text(study: Study, page: Page) -> str:
    """Return the rows and the page's tables as JSON."""
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
    body = {
        "suite": study.suite,
        "primary": study.primary,
        "cells": rows(study.records, study.parents),
        "tables": tables,
    }
    return json.dumps(body, indent=1, allow_nan=False, ensure_ascii=False, sort_keys=False) + "\n"

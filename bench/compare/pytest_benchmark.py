"""Latencies as pytest-benchmark writes them, both ways: its files as records, and records as one of its files."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.cell import Cell
from bench.files import parse_json
from bench.naming import titles
from bench.record import Latency, Record

VERSION = "5.1.0"


def records(text: str) -> list[Record]:
    """Return the benchmarks of a file as records that have a latency and nothing else.

    Raises ValueError when it is none: no list of benchmarks with their data.
    """
    try:
        data = parse_json(text)
        named = {str(b.get("fullname") or b["name"]): _samples(b) for b in data["benchmarks"]}
        facts = dict(data.get("machine_info") or data.get("environment") or {})
        commit = dict(data.get("commit_info") or {})
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"it has no list of benchmarks with their data: {error}") from None
    machine = facts.get("fingerprint") or _fingerprint(facts)
    environment = {"fingerprint": machine, "git_commit": commit.get("id") or facts.get("git_commit")}
    return [_timed(name, samples, environment) for name, samples in named.items() if samples]


def text(found: Iterable[Record]) -> str:
    """Return the latencies of records as such a file: one benchmark a cell and batch size."""
    held = [record for record in found if record.latency]
    named = titles([record.cell for record in held])
    made = [
        {
            "group": record.suite,
            "name": f"{named[record.cell_id]} · batch {entry.batch}",
            "fullname": f"{record.suite}::{record.cell_id}::batch{entry.batch}",
            "params": None,
            "param": None,
            "extra_info": {"cell_id": record.cell_id, "device": entry.device, "threads": entry.threads},
            "options": {"disable_gc": False, "timer": "perf_counter", "min_rounds": 50, "warmup": True},
            "stats": _stats([ms / 1000 for ms in entry.samples_ms]),
        }
        for record in held
        for entry in record.latency
        if entry.samples_ms
    ]
    facts = held[-1].environment if held else {}
    body = {
        "machine_info": {
            "node": "",
            "machine": facts.get("system"),
            "python_version": facts.get("python"),
            "cpu": {"brand_raw": facts.get("cpu")},
            "fingerprint": facts.get("fingerprint"),
        },
        "commit_info": {"id": facts.get("git_commit"), "dirty": facts.get("git_dirty")},
        "benchmarks": made,
        "datetime": held[-1].started_at if held else None,
        "version": VERSION,
    }
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def _stats(seconds: Sequence[float]) -> dict[str, Any]:
    """Return the statistics that its tools show."""
    ordered, mean = sorted(seconds), statistics.fmean(seconds)
    many = len(ordered) > 1
    q1, median, q3 = statistics.quantiles(ordered, method="inclusive") if many else (ordered * 3)[:3]
    low, high, iqr = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1), q3 - q1
    deviation = statistics.stdev(ordered) if many else 0.0
    beyond = sum(not low <= s <= high for s in ordered)
    far = sum(abs(s - mean) > deviation for s in ordered)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": len(ordered),
        "median": median,
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond,
        "stddev_outliers": far,
        "outliers": f"{far};{beyond}",
        "ld15iqr": next(s for s in ordered if s >= low),
        "hd15iqr": next(s for s in reversed(ordered) if s <= high),
        "ops": 1 / mean if mean else 0.0,
        "total": math.fsum(ordered),
        "data": list(seconds),
        "iterations": 1,
    }


def _samples(benchmark: Mapping[str, Any]) -> tuple[float, ...]:
    found = benchmark["seconds"] if "seconds" in benchmark else benchmark["stats"]["data"]
    return tuple(1000.0 * float(x) for x in found if math.isfinite(x))


def _timed(name: str, samples: tuple[float, ...], environment: Mapping[str, Any]) -> Record:
    parts: dict[str, Any] = {
        "task": {"name": "benchmark"},
        "dataset": {"name": "none"},
        "size": 0,
        "recipe": {},
        "seed": 0,
    }
    cell = Cell(**parts, backbone={"name": "none", "weights": None}, strategy={"name": name})
    middle, ordered = statistics.median(samples), sorted(samples)
    p90, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.9, 0.99))
    latency = Latency("host", 0, 1, middle, p90, p99, samples, 1000.0 / middle if middle else 0.0)
    return Record(cell.id, "benchmarks", cell, "ok", latency=(latency,), environment=environment)


def _fingerprint(facts: Mapping[str, Any]) -> str:
    """Return what names the machine of a file that does not say it: its processor, system and Python."""
    cpu = facts.get("cpu")
    brand = cpu.get("brand_raw") if isinstance(cpu, Mapping) else cpu
    told = [facts.get(k) for k in ("machine", "system", "python_version")]
    return hashlib.sha256(json.dumps([brand, *told], default=str).encode()).hexdigest()[:12]

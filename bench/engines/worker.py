"""The worker: turns one cell's JSON into one record's JSON. Device half; a warm process runs many cells.

It knows the protocols of data sets, backbones, tasks and strategies, and asks them in turn: what is to be learnt, what
learns it, what it cost. Whatever goes wrong in a cell becomes the status of its record.
"""

from __future__ import annotations

import math
import os
import re
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch

from bench.cell import Cell
from bench.engines.account import untimed
from bench.engines.job import Job, one_line
from bench.engines.memory import give_back, keep_freed_memory, keep_what_is_there
from bench.engines.session import Session
from bench.errors import BenchError, Skip
from bench.machine import cores
from bench.measure.calibration import calibrate
from bench.measure.contention import Contention
from bench.measure.environment import environment
from bench.record import Point, Record, Status
from bench.training.loop import Diverged


def prepare(device: str, deterministic: bool = False) -> None:
    """Have ready, before any cell is timed, what all cells share: threads, the device's context, lazy imports.

    The first step of an optimiser imports torch's compiler, 1 to 2 s that would be the first cell's training; scoring
    imports scikit-learn, as long, within its deadline.
    """
    import sklearn.metrics  # noqa: F401

    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # the library reads it with its first product
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    keep_freed_memory()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores())
    layer = torch.nn.Linear(1, 1, device=device)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.zeros(1, 1, device=device)).sum().backward()
    optimizer.step()
    calibrate(torch.device(device))
    environment(torch.device(device).type)
    keep_what_is_there()


def run(data: Mapping[str, Any]) -> dict[str, Any]:
    """Run one job and return its record as JSON. Never raises for what a cell can do wrong.

    `device_is_broken` is added when the device answers to nothing any more, so that this process is of no further use.
    """
    job = Job(**data)
    cell, device = Cell.from_json(job.cell), torch.device(job.device)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    where = environment(device.type)
    record = Record(cell.id, job.suite, cell, "failed", started_at=started, environment=where)
    job.tell("begun", {"pid": os.getpid(), "started_at": started, "environment": where})
    points: list[Point] = []
    contention = Contention()
    try:
        record = Session(job, cell, points).run(record)
    except Skip as skip:
        record = replace(record, status="skipped", reason=str(skip))
    except Diverged as error:
        record = replace(record, status="diverged", reason=str(error))
    except BenchError as error:
        record = replace(record, reason=str(error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        record = replace(record, status="oom", reason=one_line(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a cell that raises is a record; the others go on
        record = replace(record, status=_status(error), reason=one_line(error))
        record = replace(record, details={"traceback": traceback.format_exc()})
    shared = contention.explain()
    if shared is not None:
        record = untimed(record, shared)
    ended = finite(replace(record, curve=record.curve or tuple(points)).to_json())
    return {**ended, "device_is_broken": not _clean_up(device)}


def finite(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record's JSON with None, and a reason under the dotted path, for each number that is not finite."""
    reasons: dict[str, str] = dict(record["reasons"])

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            return {k: walk(v, f"{path}.{k}" if path else k) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [walk(v, f"{path}.{i}") for i, v in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            reasons[path] = f"it is not a finite number: {value}"
            return None
        return value

    return {**walk(record, ""), "reasons": reasons}


def _clean_up(device: torch.device) -> bool:
    """Give memory back, so that a cell's peak is its own; return whether the device still works.

    After an illegal access or a failed assertion on a GPU, every later call in this process fails.
    """
    try:
        give_back(device)
    except RuntimeError:
        return False
    return True


# How allocators say in other errors that memory ran out: the CPU's, the system's, those of CUDA and its libraries.
NO_MEMORY = re.compile(r"not enough memory|out of memory|can(no|')t allocate memory|ALLOC_FAILED", re.IGNORECASE)


def _status(error: BaseException) -> Status:
    """Tell running out of memory from other failures."""
    return "oom" if NO_MEMORY.search(str(error)) else "failed"

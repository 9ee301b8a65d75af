"""The local engine: one warm worker process for the device, with hard deadlines. Control half.

The worker is a fresh process (spawn): it imports torch once and runs cell after cell. One that dies or passes its
deadline is killed and replaced, and the cell becomes a record that says so.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import wait
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

POLL_SECONDS = 0.2


class LocalEngine:
    """Runs jobs one at a time on one device of this machine; use it as a context.

    `run` returns the record's JSON, or `{"status": "timeout" | "failed", "reason": ...}` when the worker did not live
    to write one. `watch` is given each point of the learning curve while the cell runs.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))

    def __enter__(self) -> LocalEngine:
        from pebble import ProcessPool

        self.pool = ProcessPool(
            max_workers=1,
            context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=[os.getpid()],
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.pool.close()
        else:
            self.stop()
        self.pool.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        """Kill the worker and forget what it was doing."""
        self.pool.stop()

    def run(
        self, job: Mapping[str, Any], deadline_seconds: float | None, watch: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Run one job to its end or to its deadline."""
        from pebble import ProcessExpired

        progress = self.folder / f"{job['cell']['seed']}-{os.urandom(4).hex()}.jsonl"
        progress.touch()
        future = self.pool.schedule(_run_job, args=[{**job, "progress": str(progress), "device": self.device}],
                                    timeout=deadline_seconds)  # fmt: skip
        with progress.open(encoding="utf-8") as lines:
            while not future.done():
                wait([future], timeout=POLL_SECONDS)
                for point in _points(lines):
                    watch(point)
        progress.unlink()
        try:
            result: dict[str, Any] = future.result()
        except FutureTimeout:
            return {"status": "timeout", "reason": f"passed its deadline of {deadline_seconds:g} s"}
        except ProcessExpired as death:
            return {"status": "failed", "reason": _cause(death.exitcode)}
        return result


def _points(lines: TextIO) -> Iterator[dict[str, Any]]:
    """Yield the points written since the last look; half a line waits for its end."""
    while True:
        place = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(place)
            return
        yield json.loads(line)


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"the worker process was killed by {signal.Signals(-exit_code).name}"
    return f"the worker process ended with exit code {exit_code}"


def resolve_device(name: str) -> str:
    """Return "cuda" or "cpu" for auto, without importing torch: auto takes a GPU when its driver is there."""
    if name != "auto":
        return name
    return "cuda" if Path("/proc/driver/nvidia/version").exists() else "cpu"


def _start_worker(parent: int) -> None:
    """Prepare a worker: Ctrl-C is the parent's to handle, and the worker ends when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # PR_SET_PDEATHSIG is 1 on Linux: the kernel ends this process with its parent, even after kill -9.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(1)


def _run_job(job: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    from bench.engines import worker

    warnings.simplefilter("ignore")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return worker.run(job)

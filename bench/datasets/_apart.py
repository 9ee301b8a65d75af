"""A data set fetched by a process of its own: a library that crashes on a damaged file takes its process along."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from typing import Protocol

from bench.datasets import Dataset, datasets
from bench.errors import BenchError, DataError
from bench.registry import plain

log = logging.getLogger("bench")


class Fetched(Dataset, Protocol):
    """A data set that `fetch_apart` fetches: `fetch_here` does it, in the process that it is called in."""

    def fetch_here(self) -> None: ...


def fetch_apart(dataset: Fetched, title: str) -> None:
    """Fetch a data set in a process that ends with it. `title` begins the message of a DataError, also of a crash."""
    command = [sys.executable, "-m", __name__]
    job = json.dumps({"name": dataset.name, **plain(dataset)})
    # Modules are found there as they are here, in a notebook too.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(command, input=job, stdout=subprocess.PIPE, env=environment, text=True, check=False)
    if ended.returncode < 0:
        how = signal.Signals(-ended.returncode).name
        raise DataError(f"{title}: what reads it was killed by {how}: a file is damaged, or there is too little memory")
    ended.check_returncode()
    told = json.loads(ended.stdout)
    for level, line in told["log"]:
        log.log(level, "%s", line)
    if told["error"] is not None:
        raise DataError(told["error"])


class _Kept(logging.Handler):
    """What is logged, to be said by the process that asked."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))


def _serve() -> None:
    """Fetch the data set that standard input describes, and say on standard output how it went."""
    # Ctrl-C reaches every process of a terminal; the one that asked ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kept, error = _Kept(), None
    log.addHandler(kept)
    log.setLevel(logging.INFO)
    log.propagate = False
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        datasets.create(json.load(sys.stdin)).fetch_here()  # type: ignore[attr-defined]
    except BenchError as problem:
        error = str(problem)
    answers.write(json.dumps({"log": kept.lines, "error": error}))
    answers.close()


if __name__ == "__main__":
    _serve()

"""A warm process for one side, and the way to talk to it: a task as a line of JSON in, a result as a line out.

One side does not disturb another's memory, threads or caches, and a side that waits sleeps. `python -m benchmarks.side
NAME`, started in the folder of the tests, runs tasks until its input ends.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any

TESTS = Path(__file__).parents[1]
SIDES = {
    "naive": "benchmarks.textbook",
    "tuned": "benchmarks.tuned",
    "lightning": "benchmarks.lightning_peer",
    "sklearn": "benchmarks.sklearn_peer",
    "trainer": "benchmarks.trainer_peer",
    "tuned_trainer": "benchmarks.tuned_trainer",
}


class Side:
    """One side's process; use it as a context. What it prints goes to `log`."""

    def __init__(self, name: str, log: Path) -> None:
        self.name, self.log = name, log

    def __enter__(self) -> Side:
        self._output: IO[bytes] = self.log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side", self.name],
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()
        self._output.close()

    def run(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Have one task trained and scored: `{"seconds": {...}, "accuracy", "notes"}`. Raises RuntimeError.

        `seconds` are `setup` (building the networks), `work` (all else up to the trained model), their sum `total`, and
        `wall`, seen from here, with evaluation.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        began = time.perf_counter()
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            said = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
            raise RuntimeError(f"the {self.name} side has ended:\n" + "\n".join(said))
        result: dict[str, Any] = json.loads(line)
        result["seconds"]["wall"] = time.perf_counter() - began
        return result


def measure(module: ModuleType, data: Mapping[str, Any]) -> dict[str, Any]:
    """Train one task on a side's clock and score it off the clock."""
    import torch
    from benchmarks.task import Task

    from bench.backbones._network import Network

    task = Task.from_json(data)
    for part in (task, task.teacher):
        if part is not None:
            _ = part.round  # the raw data are in memory before the clock starts, as they are for the harness
    probed = module.prepare(task) if hasattr(module, "prepare") else 0.0
    began = time.perf_counter()
    learnt = module.learn(task)
    if task.device.type == "cuda":
        torch.cuda.synchronize()
    total = time.perf_counter() - began
    built = task.setup_seconds + (task.teacher.setup_seconds if task.teacher else 0.0)
    seen = learnt if isinstance(learnt, Network) else task.network()
    began = time.perf_counter()
    accuracy = task.accuracy(learnt, seen)
    scored = time.perf_counter() - began
    seconds = {"setup": built + probed, "work": total - built, "total": total + probed, "evaluate": scored}
    notes = module.choose(task).describe() if hasattr(module, "choose") else None
    return {"seconds": seconds, "accuracy": accuracy, "notes": notes}


def main(name: str) -> None:
    """Run tasks from the input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    module = importlib.import_module(SIDES[name])
    for line in sys.stdin:
        answers.write(json.dumps(measure(module, json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])

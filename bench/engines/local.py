"""The local engine: one warm worker process for the device, with hard deadlines. Control half.

The worker is a fresh process (spawn): it imports torch once and runs cell after cell. One that dies or passes its
deadline is killed and replaced, and the cell becomes a record that says so.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import logging
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from bench.engines.errands import Errand
from bench.engines.process import Deadline, Gone, Late, Process, Raised, how_it_ended
from bench.errors import EngineError
from bench.machine import is_alive
from bench.schedule import Watch

# How often messages are looked for; an answer is there at once.
POLL_SECONDS = 0.2
# Importing torch and making a device's context takes seconds; on a cold and busy disk, minutes.
START_SECONDS = 600.0
OUTPUT_LINES = 20
STALE_SECONDS = 24 * 3600
# No look at a data set is worth more.
SURVEY_SECONDS = 600.0


class LocalEngine:
    """Runs jobs one at a time on one device of this machine, "cpu" or "cuda"; use it as a context.

    `check` and `run` give `watch` each message: `{"kind": "starting"}` when there is no warm worker, `{"kind": "note",
    "text"}` when a plugin logs something (a download), `{"kind": "begun", "pid", "started_at", "environment"}` when the
    worker takes up a job, and `{"kind": "point", ...}` for each point of the curve. With `deterministic` nothing is
    chosen by the clock, and a kernel whose sums have no fixed order fails its cell.
    """

    def __init__(self, device: str, deterministic: bool = False) -> None:
        self.device, self.deterministic = device, deterministic
        self.warm = False

    def __enter__(self) -> LocalEngine:
        self.folder = _own_folder()
        try:
            self._start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def check(self, cells: Sequence[Mapping[str, Any]], watch: Watch) -> dict[str, Any] | None:
        """Return the first mistake of the user's that would fail one of these cells (see `trial`), or None.

        Raises EngineError when no worker can be started.
        """
        try:
            found: dict[str, Any] | None = self._call(_run_trial, [list(cells)], None, watch)
        except _Died:
            return None  # what ends a worker is for a cell's record to say
        return found

    def run(self, job: Mapping[str, Any], deadline_seconds: float | None, watch: Watch) -> dict[str, Any]:
        """Run one job to its end or to its deadline, which begins when a warm worker takes it up.

        Returns the record's JSON; when the worker did not live to write one, its status, its reason and, as a detail,
        what the worker printed last. Raises EngineError when no worker can be started.
        """
        killed_before = out_of_memory_kills()
        sent = {**job, "progress": str(self.folder / "progress.jsonl"), "device": self.device}
        try:
            result: dict[str, Any] = self._call(_run_job, [sent], deadline_seconds, watch)
        except Late:
            return {"status": "timeout", "reason": f"passed its deadline of {deadline_seconds:g} s"}
        except Raised as error:  # a bug of ours: `worker.run` sees to what a cell can do wrong
            return {"status": "failed", "reason": error.text[:300], "details": {"traceback": error.traceback}}
        except _Died as death:
            status, reason = cause_of_death(death.exit_code, out_of_memory_kills() - killed_before)
            return {"status": status, "reason": reason, "details": {"output": death.output} if death.output else {}}
        if result.pop("device_is_broken", False):
            self._restart()
        return result

    def survey(self, spec: Mapping[str, Any], path: Path, watch: Watch) -> str | None:
        """Have the survey of a data set written to `path` (see `surveyor`); return why there is none, or None."""
        try:
            problem: str | None = self._call(_run_survey, [dict(spec), str(path)], SURVEY_SECONDS, watch)
        except Late:
            return f"it was not done in {SURVEY_SECONDS:g} s"
        except Raised as error:
            return error.text
        except _Died as death:
            return f"the worker process {how_it_ended(death.exit_code)}"
        except EngineError as error:
            return str(error)
        return problem

    def ask(self, errand: Errand, job: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
        """Have the worker run an errand. Raises EngineError when the worker does not live through it."""
        sent = {**job, "progress": str(self.folder / "progress.jsonl"), "device": self.device}
        try:
            answer: dict[str, Any] = self._call(errand, [sent], None, watch)
        except Raised as error:
            raise EngineError(error.text) from error
        except _Died as death:
            raise EngineError(f"the worker process {how_it_ended(death.exit_code)}") from None
        return answer

    def _call(
        self, function: Callable[..., Any], args: Sequence[Any], deadline_seconds: float | None, watch: Watch
    ) -> Any:
        """Call a function in the worker. Raises Raised, Late, and _Died or EngineError when the worker is gone.

        A worker that was gone before it began is replaced once.
        """
        try:
            return self._attempt(function, args, deadline_seconds, watch)
        except _Died as death:
            if death.begun:
                raise
        try:
            return self._attempt(function, args, deadline_seconds, watch)
        except _Died as death:
            if death.begun:
                raise
            hint = 'a script that calls bench.run does so under if __name__ == "__main__":'
            said = death.output[-1] if death.output else hint
            raise EngineError(f"the worker process cannot be started: {said}") from None

    def _attempt(
        self, function: Callable[..., Any], args: Sequence[Any], deadline_seconds: float | None, watch: Watch
    ) -> Any:
        progress = self.folder / "progress.jsonl"
        try:
            self.said = self._log.stat().st_size
            progress.write_text("", encoding="utf-8")
            os.utime(self.folder)  # a sign of life for `_own_folder` of other runs
        except OSError as error:
            raise EngineError(f"{self.folder}: cannot be written: {error.strerror}") from None
        with progress.open(encoding="utf-8") as lines:
            call = _Follower(self.worker, lines, watch)
            try:
                if not self.warm:
                    watch({"kind": "starting"})
                    call.ended(Deadline(START_SECONDS))
                    self.warm = True
                self.worker.send(function, args)
                return call.ended(Deadline(deadline_seconds))
            except (Late, Raised) as error:
                if isinstance(error, Raised) and self.warm:
                    raise
                starting = not self.warm
                self._restart()
                if starting:
                    why = error.text if isinstance(error, Raised) else f"not in {START_SECONDS:g} s"
                    raise EngineError(f"the worker process cannot be started: {why}") from None
                raise
            except Gone as gone:
                said = self._output()
                self._restart()
                raise _Died(call.begun, gone.exit_code, said) from None

    def _output(self) -> list[str]:
        """Return the last lines that the worker printed in this call."""
        text = self._log.read_bytes()[self.said :].decode("utf-8", "replace")
        return [line for line in text.splitlines() if line.strip()][-OUTPUT_LINES:]

    def _start(self) -> None:
        self.warm = False
        self._log = self.folder / "worker.log"
        self._log.write_bytes(b"")
        self.worker = Process(_start_worker, [os.getpid(), str(self.folder), self.device, self.deterministic])

    def _stop(self) -> None:
        """End the worker, whatever it is doing."""
        self.worker.end()

    def _restart(self) -> None:
        self._stop()
        self._start()


class _Follower:
    """Waits for the worker, and passes on what it says meanwhile; `begun` says whether it has taken up a job."""

    def __init__(self, worker: Process, lines: TextIO, watch: Watch) -> None:
        self._worker, self._lines, self._watch = worker, lines, watch
        self.begun = False

    def ended(self, deadline: Deadline) -> Any:
        """Return what the worker answers. Raises Raised, Late and Gone."""
        try:
            while not self._worker.answered(POLL_SECONDS):
                self._pass_on()
                if deadline.passed():
                    raise Late
            return self._worker.answer()
        finally:  # however it ends, what was said before is passed on
            self._pass_on()

    def _pass_on(self) -> None:
        for message in _messages(self._lines):
            self.begun = self.begun or message["kind"] == "begun"
            self._watch(message)


class _Died(Exception):
    """The worker is gone: whether it had begun a job, its exit code if known, and the last lines that it printed."""

    def __init__(self, begun: bool, exit_code: int | None, output: list[str]) -> None:
        self.begun, self.exit_code, self.output = begun, exit_code, output
        super().__init__(exit_code)


def cause_of_death(exit_code: int | None, out_of_memory_kills: int) -> tuple[str, str]:
    """Return the status and the reason of a cell whose worker died; `out_of_memory_kills` came in the meantime."""
    if exit_code == -signal.SIGKILL and out_of_memory_kills > 0:
        return "oom", "the system ran out of memory and killed the worker process"
    return "failed", f"the worker process {how_it_ended(exit_code)}"


def out_of_memory_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since it started; 0 where it doesn't say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _own_folder() -> Path:
    """Make a folder for what passes between the processes, and remove those of processes that were killed."""
    for old in Path(tempfile.gettempdir()).glob("bench-*-*"):
        owner = old.name.split("-")[1]
        with suppress(OSError):
            stale = time.time() - old.stat().st_mtime > STALE_SECONDS
            if stale and owner.isdecimal() and not is_alive(int(owner)):
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"bench-{os.getpid()}-"))


def _messages(lines: TextIO) -> Iterator[dict[str, Any]]:
    """Yield the messages written since the last look; half a line waits for its end."""
    while True:
        place = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(place)
            return
        yield json.loads(line)


def _start_worker(parent: int, folder: str, device: str, deterministic: bool) -> None:
    """Prepare a worker: it ends when the parent does, prints to a file, and has imported everything before it is timed.

    What libraries print would otherwise run through the progress bar, or the JSON on the parent's output; what plugins
    log is passed on as notes.
    """
    with suppress(OSError, AttributeError):
        # PR_SET_PDEATHSIG is 1 on Linux: the kernel ends this process with its parent, even after kill -9.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    output = os.open(Path(folder) / "worker.log", os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable()
    warnings.simplefilter("ignore")
    log = logging.getLogger("bench")
    log.setLevel(logging.INFO)
    log.addHandler(_Notes(Path(folder) / "progress.jsonl"))
    from bench.engines import worker

    worker.prepare(device, deterministic)


class _Notes(logging.Handler):
    """Passes on what is logged in the worker."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Append one note to the messages; where there is no room for it, none."""
        with suppress(OSError), self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"kind": "note", "text": record.getMessage()}) + "\n")


def _run_trial(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    from bench.engines import trial

    logging.getLogger("bench").info("trying weights and data")
    return trial.first_mistake(cells)


def _run_survey(spec: Mapping[str, Any], path: str) -> str | None:
    from bench.engines import surveyor

    return surveyor.make(spec, Path(path))


def _run_job(job: Mapping[str, Any]) -> dict[str, Any]:
    from bench.engines import worker

    return worker.run(job)

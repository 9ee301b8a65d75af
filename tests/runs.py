"""Real runs of the command line, each in a process group of its own, as a terminal would start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Tests share few cores: one thread each is faster than several that wait for each other.
WHOLE = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
LIMIT_SECONDS = 240


def environment(of: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with more in it; a PYTHONPATH is put before the one that is there."""
    paths = [found["PYTHONPATH"] for found in (extra, of) if found.get("PYTHONPATH")]
    return {**of, **extra, "PYTHONPATH": os.pathsep.join(paths)}


# What most runs of tests are in: the latency of a network is measured for a moment. WHOLE leaves it as it is.
ENVIRONMENT = environment(WHOLE, {"PYTHONPATH": str(Path(__file__).parent / "quick")})


def start(
    folder: Path, *arguments: str | Path, extra: Mapping[str, str] | None = None, of: Mapping[str, str] = ENVIRONMENT
) -> subprocess.Popen[str]:
    """Start `bench` with arguments in a folder, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=folder,
        env=environment({**of, "TMPDIR": str(folder)}, extra or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_listen_to_ctrl_c,
    )


def _listen_to_ctrl_c() -> None:
    """Take Ctrl-C as at a terminal, also where the tests run in the background of a shell, which has them ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def bench(
    folder: Path, *arguments: str | Path, extra: Mapping[str, str] | None = None, of: Mapping[str, str] = ENVIRONMENT
) -> subprocess.CompletedProcess[str]:
    """Run `bench` to its end, and see to it that it leaves no process behind."""
    process = start(folder, *arguments, extra=extra, of=of)
    try:
        out, err = process.communicate(timeout=LIMIT_SECONDS)
        assert gone(process.pid), f"it left processes behind: {alive(process.pid)}"
    finally:
        for pid in alive(process.pid):
            os.kill(pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def records(folder: Path, suite: str) -> dict[str, dict[str, Any]]:
    """Return the records of a suite as plain JSON, by cell id."""
    paths = [p for p in (folder / "results" / suite).glob("*.json") if len(p.stem) == 12]
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths)}


def alive(session: int) -> list[int]:
    """Return the processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = path.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[:4]
        except (OSError, ValueError):
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def gone(session: int) -> bool:
    """Say whether all processes of a session end within ten seconds."""
    return eventually(lambda: not alive(session), 10)


def eventually(condition: Callable[[], bool], seconds: float = LIMIT_SECONDS) -> bool:
    """Wait until something is so, or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()

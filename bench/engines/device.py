"""Which device cells run on, found without importing torch into this process. Control half."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.errors import UsageError

# Device files of NVIDIA's driver, of Windows' subsystem for Linux, of Jetson boards and of AMD's compute driver.
_GPU_FILES = ("nvidia[0-9]*", "dxg", "nvhost-gpu", "nvgpu", "kfd")
_USE_GPU = "import torch; torch.zeros(1, device='cuda')"
_ANSWER_SECONDS = 120
DEVICES = ("auto", "cpu", "cuda")
NO_GPU = "no GPU was found on this machine"


def resolve_device(name: str) -> str:
    """Return "cpu" or "cuda" for one of DEVICES. Raises UsageError for another word, and for cuda without a GPU to use.

    Where the system shows a GPU at all, another process is asked whether torch can use it, which takes some seconds: a
    driver may be too old, or torch be built without CUDA.
    """
    if name not in DEVICES:
        raise UsageError(f"--device {name}: choose {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")
    if name == "cpu":
        return name
    missing = why_no_gpu()
    if missing is None:
        return "cuda"
    if name == "cuda":
        raise UsageError(f"--device cuda: {missing}; use --device cpu")
    return "cpu"


def why_no_gpu(devices: Path = Path("/dev")) -> str | None:
    """Return why torch has no GPU to use here, or None when it has one. `devices` is the folder of device files."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES is {visible.strip()!r}, which hides every GPU"
    if not any(found for pattern in _GPU_FILES for found in devices.glob(pattern)):
        return NO_GPU
    command = [sys.executable, "-W", "ignore", "-c", _USE_GPU]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"torch did not say within {_ANSWER_SECONDS} s whether it can use the GPU"
    if asked.returncode == 0:
        return None
    said = [line.strip() for line in asked.stderr.splitlines() if line.strip()]
    return f"torch cannot use the GPU ({said[-1] if said else f'exit code {asked.returncode}'})"

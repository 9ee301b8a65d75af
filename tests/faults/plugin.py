"""A third party's strategy that trains as usual for some steps, and then does what its option `how` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import packages

SOURCE = '''
import ctypes, os, resource, signal, subprocess, sys, time
from dataclasses import dataclass
from typing import ClassVar
from bench.strategies import Strategy

taken = 0

@dataclass(frozen=True)
class Fault(Strategy):
    name: ClassVar[str] = "fault"
    version: ClassVar[int] = 1
    how: str

    def phases(self, stages):
        global taken
        taken = 0
        if self.how == "phases":
            raise RuntimeError("no phases today")
        return super().phases(stages)

    def loss(self, step):
        global taken
        taken += 1
        if taken > 2:
            found = getattr(self, self.how)(step)
            if found is not None:
                return found
        return super().loss(step)

    def segfault(self, step):
        ctypes.string_at(0)

    def hang(self, step):
        """Hang in native code with the interpreter's lock held, deaf to SIGTERM, with a child that hangs too."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "3600"])
        open(os.environ["PIDS"], "w").write(f"{os.getpid()} {child.pid}")
        ctypes.PyDLL(None).sleep(3600)

    def leak(self, step):
        now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 256 * 2**20, resource.getrlimit(resource.RLIMIT_AS)[1]))
        try:
            held = []
            while True:
                held.append(bytearray(16 * 2**20))
        finally:
            held.clear()
            resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)

    def infinite(self, step):
        return step.logits.sum() * float("inf")

    def crowded(self, step):
        """Have room for three examples at once."""
        import torch
        if len(step.labels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def full(self, step):
        import torch
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def leave(self, step):
        sys.exit(1)

    def nothing(self, step):
        return None

    def bug(self, step):
        raise KeyError("no such thing")

    def memory(self, step):
        __import__("torch").empty(10**15)

    def chatter(self, step):
        print("not JSON")

    def killed(self, step):
        print("about to die", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def silent(self, step):
        os._exit(0)

    def gate(self, step):
        """Wait while a file is there."""
        open(os.environ["GATE"] + ".reached", "w").close()
        while os.path.exists(os.environ["GATE"]):
            time.sleep(0.05)

    def forever(self, step):
        time.sleep(3600)
'''


def install(folder: Path) -> dict[str, str]:
    """Install the plugin into a folder, behind an entry point; return the environment of a process that has it."""
    return packages.install(
        folder, "bench-fault", "strategies", {"fault": "bench_fault:Fault"}, {"bench_fault": SOURCE}
    )


def fault(how: str) -> dict[str, Any]:
    """Return the strategy as a suite names it."""
    return {"name": "fault", "how": how}


def suite_of(*strategies: Any, **other: Any) -> dict[str, Any]:
    """Return a suite of two steps an epoch: a fault comes in the second epoch."""
    recipe = {"epochs": 2, "batch_size": 6, "curve_points": 2}
    return {"matrix": {"strategy": list(strategies)}, "recipe": recipe, **other}

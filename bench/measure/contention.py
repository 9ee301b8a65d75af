"""Whether a cell had the processor to itself, seen from inside its process."""

from __future__ import annotations

from pathlib import Path

# A quiet machine shows 1 to 2 %: the harness itself wakes up five times a second.
WAITED_LIMIT = 0.1

_TASKS = Path("/proc/self/task")


class Contention:
    """How long, since this was made, the threads of this process waited for a core that others held.

    Linux counts for each thread the nanoseconds it ran and those it was ready to run but had no core (schedstat). It
    holds in containers as well, where the load of the whole machine says little. Threads that have ended are left out.
    """

    def __init__(self) -> None:
        self._before = _threads()

    def waited_share(self) -> float | None:
        """Return waited / (ran + waited), in [0, 1]; None where the system does not say."""
        ran = waited = 0
        for thread, (run, wait) in _threads().items():
            run_before, wait_before = self._before.get(thread, (0, 0))
            ran, waited = ran + run - run_before, waited + wait - wait_before
        return waited / (ran + waited) if ran + waited > 0 else None

    def explain(self) -> str | None:
        """Return why timings of this stretch are not valid, or None when nothing speaks against them."""
        share = self.waited_share()
        if share is None or share <= WAITED_LIMIT:
            return None
        return f"other work held the processor: its threads waited for a core {share:.0%} of the time they were ready"


def _threads() -> dict[str, tuple[int, int]]:
    """Return (ran, waited) in nanoseconds of each thread."""
    found: dict[str, tuple[int, int]] = {}
    for path in _TASKS.glob("*/schedstat"):
        try:
            run, wait, _ = path.read_text(encoding="utf-8").split()
        except (OSError, ValueError):  # the thread has ended, or this kernel does not count
            continue
        found[path.parent.name] = int(run), int(wait)
    return found

"""What this process may use of the machine. Imports no torch."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


def cores() -> int:
    """Return how many cores this process may use, by its affinity and by its container's quota."""
    from joblib import cpu_count

    return int(cpu_count())


def is_alive(pid: int) -> bool:
    """Say whether there is a process of that number on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


@contextmanager
def many_objects() -> Iterator[None]:
    """Pause the search for cycles while many objects are made that stay.

    It would go through all of them again and again: 10,000 records are read in a third of the time.
    """
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()

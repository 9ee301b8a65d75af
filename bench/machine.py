"""What this process may use of the machine. Imports no torch."""

from __future__ import annotations


def cores() -> int:
    """Return how many cores this process may use, by its affinity and by its container's quota."""
    from joblib import cpu_count

    return int(cpu_count())

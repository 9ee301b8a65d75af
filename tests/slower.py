"""What makes a code slower when it is put at the end of one of its files."""

from __future__ import annotations


def step(share: float) -> str:
    """Have a training step (of bench/training/step.py) be followed by a wait of a share of it."""
    return f"""
import time as _time
_call = Eager.__call__
def _slow(self, *given):
    began = _time.perf_counter()
    found = _call(self, *given)
    end = _time.perf_counter() + {share} * (_time.perf_counter() - began)
    while _time.perf_counter() < end:
        pass
    return found
Eager.__call__ = _slow
"""

"""Timings of a process that had to share its core are told from those of one that had it alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux's schedstat"),
]

# Burns half a second of wall time on one core, beside as many processes as asked that do the same on that core.
CODE = """
import os, subprocess, sys, time
from bench.measure.contention import Contention
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(int(sys.argv[1]))]
contention, end = Contention(), time.monotonic() + 0.5
while time.monotonic() < end: pass
for other in others: other.kill(); other.wait()
print(contention.waited_share(), contention.explain() is not None)
"""


def waited(beside: int) -> tuple[float, bool]:
    done = subprocess.run([sys.executable, "-c", CODE, str(beside)], capture_output=True, text=True, check=True)
    share, explained = done.stdout.split()
    return float(share), explained == "True"


def test_a_process_that_shares_its_core_with_two_others_waits_about_two_thirds_of_the_time_and_says_so():
    share, explained = waited(2)
    assert 0.4 < share < 1
    assert explained


def test_a_process_waits_less_the_fewer_share_its_core():
    assert waited(0)[0] < waited(3)[0]

"""What each technique gains, one by one; see techniques.py."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.side import TESTS


def test_each_technique_against_its_absence(pytestconfig: Any, quick: bool, benchmark: Any) -> None:
    command = [sys.executable, "-m", "benchmarks.techniques", pytestconfig.bench_device]
    command += ["1", "quick"] if quick else ["2"]

    def measured() -> list[dict[str, Any]]:
        done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    found = benchmark.pedantic(measured, rounds=1)
    benchmark.extra_info.update(kind="techniques", techniques=found)
    for technique in found:
        off, on = (technique[way]["accuracy"] for way in ("off", "on"))
        assert quick or abs(off - on) <= 0.05, technique

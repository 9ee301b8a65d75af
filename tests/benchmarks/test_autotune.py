"""Autotune against trying everything for longer: never wrong by more than a tenth."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from benchmarks.side import TESTS

CASES = (("tf_efficientnet_lite0", 64), ("resnet18", 64), ("tf_efficientnet_lite0", 128))
LIMIT = 1.10


@pytest.mark.parametrize(("backbone", "resolution"), CASES, ids=[f"{name}-{edge}px" for name, edge in CASES])
def test_the_verdict_is_near_the_best(
    backbone: str, resolution: int, pytestconfig: Any, quick: bool, benchmark: Any
) -> None:
    command = [sys.executable, "-m", "benchmarks.try_all", backbone, str(32 if quick else resolution)]
    command += [pytestconfig.bench_device, "1" if quick else "8"]

    def tried() -> dict[str, Any]:
        done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    found = benchmark.pedantic(tried, rounds=1)
    benchmark.extra_info.update(kind="autotune", backbone=backbone, resolution=resolution, limit=LIMIT, **found)
    for verdict in found["verdicts"].values():
        longer = {k: v for k, v in verdict["longer"].items() if v is not None}
        assert quick or longer[verdict["chosen"]] <= LIMIT * min(longer.values())

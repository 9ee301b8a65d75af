"""The fixed work around a cell: what it takes, what counts as drift, and what a cell whose machine drifted says."""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import count

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import suites
from bench.engines.job import Job
from bench.engines.worker import run as run_cell
from bench.measure import calibration, latency
from bench.measure.calibration import DRIFT_LIMIT, Kernels, calibrate, drift, explain_drift
from bench.measure.contention import Contention
from bench.planner import expand
from bench.suite import load

CPU = torch.device("cpu")
MILLISECONDS = st.floats(1e-3, 1e3)
KERNELS = st.builds(Kernels, MILLISECONDS, MILLISECONDS)


@given(KERNELS, KERNELS)
def test_drift_is_by_how_much_the_slower_run_took_longer_whichever_came_first(before, after):
    found = drift(before, after)
    assert found == drift(after, before) >= drift(before, before) == 0
    assert found == pytest.approx(
        max(
            abs(after.matmul_ms - before.matmul_ms) / min(after.matmul_ms, before.matmul_ms),
            abs(after.copy_ms - before.copy_ms) / min(after.copy_ms, before.copy_ms),
        )
    )


def test_a_drift_above_the_limit_is_explained_and_one_below_it_is_not():
    assert explain_drift(drift(Kernels(2.0, 1.0), Kernels(2.0, 1.0 + DRIFT_LIMIT - 0.01))) is None
    why = explain_drift(drift(Kernels(2.0, 1.0), Kernels(3.0, 1.0)))
    assert why is not None
    assert "differed by 50%" in why


def test_the_first_run_does_not_count():
    runs = count()

    def work() -> None:
        time.sleep(0.05 if next(runs) == 0 else 0.0005)

    assert 0.5 <= calibration._fastest(work, CPU) < 50


@pytest.mark.alone
@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 1 + calibration.REPEATS), (0.02, 2)])
def test_slow_work_is_repeated_less_so_that_calibration_stays_short(seconds, expected):
    runs = count(1)
    calibration._fastest(lambda: (time.sleep(seconds), next(runs)), CPU)
    assert next(runs) - 1 == expected


def test_the_fixed_work_is_a_product_and_a_copy():
    found = calibrate(CPU)
    flops, moved = 2 * calibration.EDGE["cpu"] ** 3, 2 * calibration.COPY_BYTES["cpu"]
    assert 1e8 < flops / (found.matmul_ms / 1000) < 1e14
    assert 1e7 < moved / (found.copy_ms / 1000) < 1e13


@pytest.mark.gpu
def test_the_fixed_work_of_a_gpu_is_waited_for():
    gpu = torch.device("cuda")
    found = calibrate(gpu)
    # 137 GFLOP: no GPU does it in less than a tenth of a millisecond.
    assert 0.1 < found.matmul_ms < 1000
    assert 0.05 < found.copy_ms < 1000


def cell_beside(folder, monkeypatch, others: str | None) -> dict:
    """Return the record of a toy cell; `others` is what the scheduler says of other work."""
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(Contention, "explain", lambda self: others)
    (entry,) = expand(load(suites.write(folder))).runnable
    files = {"predictions": str(folder / "predictions"), "progress": str(folder / "progress")}
    return run_cell(asdict(Job("toy", entry.cell.to_json(), {}, str(folder), weights=None, device="cpu", **files)))


def test_a_cell_whose_machine_drifted_has_metrics_but_no_valid_times_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "DRIFT_LIMIT", -1.0)
    found = cell_beside(tmp_path, monkeypatch, "others worked")
    assert found["status"] == "ok"
    assert found["metrics"]["accuracy"] is not None
    assert not found["timing_valid"]
    first, second = found["reasons"]["timing_valid"].split("; ")
    assert first.startswith("the machine's speed changed while the cell ran")
    assert second == "others worked"


def test_a_cell_of_a_quiet_machine_has_valid_times(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "DRIFT_LIMIT", 1e9)
    found = cell_beside(tmp_path, monkeypatch, None)
    assert found["timing_valid"]
    assert "timing_valid" not in found["reasons"]
    seconds = found["seconds"]
    assert seconds["standalone"] == pytest.approx(sum(seconds[k] for k in ("prepare", "setup", "train", "shared")))
    assert seconds["measure"] > found["details"]["calibration"]["matmul_ms"][0] / 1000

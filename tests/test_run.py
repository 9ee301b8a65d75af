"""The whole way on toy data: `bench run` in a process of its own, its records, and what a second run does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
import pytest
import runs

import bench
import suites
from bench.cli import main
from bench.engines.device import resolve_device, why_no_gpu
from bench.errors import StoreError, UsageError
from bench.record import Record, loads

STRATEGIES = [
    "scratch",
    "feature_extract",
    {"name": "partial_finetune", "unfreeze": 1},
    {"name": "distill", "teacher": {"strategy": "full_finetune"}},
    "full_finetune",
]
SUITE: dict[str, Any] = {
    "suite": "five",
    "matrix": {"size": [12, 30], "strategy": STRATEGIES},
    "recipe": {"epochs": 3, "augment": {"flip": True}, "curve_points": 3},
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Five strategies at two sizes, run from an empty store; the folder and what the command said."""
    folder = tmp_path_factory.mktemp("run")
    suites.write(folder, SUITE)
    return folder, runs.bench(folder, "run", "toy.yaml", "--json", of=runs.WHOLE)


@pytest.fixture
def folder(first: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> Path:
    """A copy of the finished run, to do harm to."""
    return shutil.copytree(first[0], tmp_path / "run")


@pytest.fixture(scope="module")
def records(first: tuple[Path, subprocess.CompletedProcess[str]]) -> dict[str, dict[str, Any]]:
    return runs.records(first[0], "five")


def of(records: dict[str, dict[str, Any]], strategy: str, size: int) -> dict[str, Any]:
    return next(r for r in records.values() if r["cell"]["strategy"]["name"] == strategy and r["cell"]["size"] == size)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that must end with exit code 2 and one line; return the line."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1), err
    return err


# From an empty store


def test_all_five_strategies_end_ok_and_the_teacher_is_a_cell_that_was_already_there(first, records):
    _, done = first
    assert done.returncode == 0, done.stderr
    assert {r["status"] for r in records.values()} == {"ok"}
    assert len(records) == 10  # five strategies, two sizes: the teacher is the full_finetune of the matrix
    for size in (12, 30):
        teacher = of(records, "full_finetune", size)
        assert of(records, "distill", size)["cell"]["parents"] == {"teacher": teacher["cell_id"]}


def test_json_is_the_only_thing_on_standard_output_and_progress_goes_to_standard_error(first, records):
    _, done = first
    said = json.loads(done.stdout)
    assert said["ran"] == 10
    assert {r["cell_id"] for r in said["records"]} == set(records)
    assert "starting the worker" in done.stderr
    assert "[10/10]" in done.stderr


def test_the_report_is_written_at_the_end(first):
    folder, _ = first
    for name in ("index.html", "index.md", "cells.csv", "cells.json"):
        assert (folder / "reports" / "five" / name).stat().st_size > 0


def test_every_number_of_a_record_is_there_or_has_a_reason(records):
    for record in records.values():
        for group in ("metrics", "seconds", "cost"):
            missing = [f"{group}.{name}" for name, number in record[group].items() if number is None]
            assert [path for path in missing if path not in record["reasons"]] == []
        assert [entry["batch"] for entry in record["latency"]] == [1, 32]
        assert [point["epoch"] for point in record["curve"]] == [1, 2, 3]
        assert record["environment"]["fingerprint"]
        assert record["attempt"] == 1
        assert record["started_at"]


def test_accuracy_can_be_computed_again_from_the_stored_predictions(first, records):
    for cell_id, record in records.items():
        with np.load(first[0] / "results" / "five" / "predictions" / f"{cell_id}.npz") as kept:
            accuracy = (kept["logits"].argmax(axis=1) == kept["labels"]).mean()
            assert len(kept["index"]) == 30
        assert accuracy == pytest.approx(record["metrics"]["accuracy"])


def test_standalone_is_the_sum_of_its_parts(records):
    for record in records.values():
        s = record["seconds"]
        assert s["standalone"] == pytest.approx(s["prepare"] + s["setup"] + s["train"] + s["shared"])
        priced = {a["kind"]: a["seconds"] for a in record["artifacts"]}
        assert s["prepare"] == priced.pop("pixels")
        assert s["shared"] == pytest.approx(sum(priced.values()))


def test_a_child_pays_for_its_teacher_but_only_once_for_the_pixels_of_both(records):
    for size in (12, 30):
        child, teacher = of(records, "distill", size), of(records, "full_finetune", size)
        pixels = next(a for a in teacher["artifacts"] if a["kind"] == "pixels")
        assert pixels["id"] in {a["id"] for a in child["artifacts"]}
        assert child["seconds"]["parents"] == pytest.approx(teacher["seconds"]["standalone"] - pixels["seconds"])
        assert child["seconds"]["shared"] >= child["seconds"]["parents"] > 0


def test_the_first_cell_does_not_pay_for_imports(records):
    """Without warming up, the first cell's set-up and first step took a second or two each."""
    first = min(records.values(), key=lambda r: r["started_at"])
    others = [r["seconds"]["setup"] for r in records.values() if r is not first]
    assert first["seconds"]["setup"] < 20 * max(others)


def test_only_parents_keep_their_weights(first, records):
    kept = {path.stem for path in (first[0] / "results" / "artifacts" / "weights").iterdir()}
    assert kept == {of(records, "full_finetune", size)["cell_id"] for size in (12, 30)}


def test_a_run_leaves_nothing_half_written_and_no_folder_of_its_own(first):
    folder, _ = first
    assert [p for p in folder.rglob("*") if p.name.endswith(".tmp")] == []
    assert list(folder.glob("bench-*")) == []  # where TMPDIR is
    assert {p.name for p in (folder / "results" / "five").iterdir() if p.suffix != ".json"} == {
        ".claims",
        "predictions",
        "weights",
    }


# A second time


def test_a_second_run_runs_nothing_and_writes_the_same_report(folder):
    before = (folder / "reports" / "five" / "index.html").read_bytes()
    times = {p: p.stat().st_mtime_ns for p in (folder / "results" / "five").rglob("*.json")}
    done = runs.bench(folder, "run", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert "\n0 cells run; in all 10 ok\nreport: " in done.stdout
    assert (folder / "reports" / "five" / "index.html").read_bytes() == before
    assert {p: p.stat().st_mtime_ns for p in (folder / "results" / "five").rglob("*.json")} == times


def test_what_is_lost_or_damaged_is_made_again_and_nothing_else(folder, records):
    """A fresh clone has records without predictions; disks and hands do the rest."""
    results = folder / "results" / "five"
    alone, half = of(records, "scratch", 12)["cell_id"], of(records, "feature_extract", 12)["cell_id"]
    child, teacher = of(records, "distill", 30)["cell_id"], of(records, "full_finetune", 30)["cell_id"]
    gone = of(records, "partial_finetune", 30)["cell_id"]
    (results / "predictions" / f"{alone}.npz").unlink()
    half_record = (results / f"{half}.json").read_bytes()[:300]
    (results / f"{half}.json").write_bytes(half_record)
    (results / f"{child}.json").unlink()
    (results / f"{gone}.json").unlink()
    half_written = results / f".{gone}.json.123-a.tmp"
    half_written.write_text("half a record of a run that was killed", encoding="utf-8")
    os.utime(half_written, (0, 0))
    for path in (folder / "results" / "artifacts").rglob("*.*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)

    done = runs.bench(folder, "run", "toy.yaml", "--no-report")

    assert done.returncode == 0, done.stderr
    assert "without predictions" in done.stdout.splitlines()[1]
    assert f"{half}.json is not a readable record" in done.stderr
    assert "5 cells run; in all 10 ok" in done.stdout
    assert (results / f"{half}.corrupt").read_bytes() == half_record
    assert list(results.glob(".*.tmp")) == []
    again = runs.records(folder, "five")
    attempts = {cell_id: record["attempt"] for cell_id, record in again.items() if record != records[cell_id]}
    assert attempts == {alone: 2, teacher: 2, half: 1, child: 1, gone: 1}
    assert {i: r["metrics"] for i, r in again.items()} == {i: r["metrics"] for i, r in records.items()}


# As functions


@pytest.fixture(scope="module")
def forced(first, tmp_path_factory) -> dict[str, Record]:
    """Three cells run again by the Python functions: their records are there, but no artifact of any cell."""
    folder = tmp_path_factory.mktemp("forced")
    shutil.copytree(first[0] / "results" / "five", folder / "results" / "five")
    suite = bench.load_suite(suites.write(folder, SUITE))
    planned = bench.plan(suite, only="strategy=partial_finetune|distill,size=30")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        return bench.run(planned, folder / "results", device="cpu", force=True)


def test_the_functions_are_functions_whichever_modules_are_imported():
    for module in iter_modules(bench.__path__):
        if module.name != "__main__":
            import_module(f"bench.{module.name}")
    assert all(callable(getattr(bench, name)) for name in bench.__all__)


def test_forced_cells_run_again_with_their_teacher_as_another_attempt(forced):
    again = {r.cell.strategy["name"]: r.attempt for r in forced.values()}
    assert again == {"partial_finetune": 2, "full_finetune": 2, "distill": 2}


def test_what_a_cell_says_does_not_depend_on_which_cells_ran_before_it(forced, records):
    """Determinism, and the fair clock: other cells had computed artifacts for it the first time, and none had now."""
    for cell_id, again in forced.items():
        before = loads(json.dumps(records[cell_id]))
        assert again.metrics == before.metrics
        assert [replace(p, seconds=0.0) for p in again.curve] == [replace(p, seconds=0.0) for p in before.curve]
        assert replace(again.cost, peak_memory_bytes=0) == replace(before.cost, peak_memory_bytes=0)
        assert [(a["kind"], a["id"]) for a in again.artifacts] == [(a["kind"], a["id"]) for a in before.artifacts]


def test_records_are_a_frame_with_one_row_a_cell(first, records):
    frame = bench.records("five", first[0] / "results").set_index("cell_id")
    assert set(frame.index) == set(records)
    row = of(records, "feature_extract", 12)
    shown = frame.loc[row["cell_id"]]
    assert (shown["strategy"], shown["size"], shown["status"]) == ("feature_extract", 12, "ok")
    assert shown["metrics.accuracy"] == row["metrics"]["accuracy"]


def test_records_of_a_suite_that_never_ran_are_an_error_that_names_the_nearest(first):
    with pytest.raises(StoreError, match=r"no records of a suite here; did you mean 'five'\?"):
        bench.records("fiv", first[0] / "results")


# Refused, with nothing written


def test_a_results_path_that_is_a_file_is_refused_before_anything_runs(tmp_path, capsys):
    suite = suites.write(tmp_path)
    (tmp_path / "results").write_text("", encoding="utf-8")
    assert "is not a folder" in refused(capsys, "run", suite, "--results", tmp_path / "results")
    assert "is not a folder" in refused(capsys, "run", suite, "--results", tmp_path / "results" / "below")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results", "toy.yaml"]


def test_a_gpu_that_is_not_there_is_refused_in_one_line_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    suite = suites.write(tmp_path)
    said = refused(capsys, "run", suite, "--device", "cuda", "--results", tmp_path / "results")
    assert said == "error: --device cuda: CUDA_VISIBLE_DEVICES is '', which hides every GPU; use --device cpu\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy.yaml"]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_auto_takes_the_cpu_when_every_gpu_is_hidden(hidden, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(UsageError, match="hides every GPU"):
        resolve_device("cuda")


def test_no_gpu_is_seen_where_there_is_no_device_file(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert why_no_gpu(tmp_path) == "no GPU was found on this machine"


def test_a_device_file_that_torch_can_do_nothing_with_is_no_gpu(tmp_path, monkeypatch):
    """A container may show the driver of its host without the use of it."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("here torch can use the GPU")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidia0").touch()
    assert str(why_no_gpu(tmp_path)).startswith("torch cannot use the GPU (")


def test_the_control_half_of_a_run_imports_no_torch(folder):
    code = (
        "import sys; from bench.cli import main\n"
        "try: main(['run', 'toy.yaml'])\n"
        "except SystemExit as ended: assert ended.code == 0, ended.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=runs.ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

"""Damaged files, folders that can't be written, full disks, clocks that jump, and runs beside each other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from typing import Any

import packages
import pytest
import runs

import suites
from bench.store import Store
from bench.tensors import UNSEALED, is_whole, seal

TEACHER = {"name": "distill", "teacher": {"strategy": "full_finetune"}}
CHANGES = {"matrix": {"strategy": ["feature_extract", {"name": "partial_finetune", "unfreeze": 1}, TEACHER]}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite that was run undisturbed."""
    folder = tmp_path_factory.mktemp("plain")
    suites.write(folder, CHANGES)
    done = runs.bench(folder, "run", "toy.yaml", "--no-report")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(plain, tmp_path / "copy"))


def numbers(folder: Path) -> dict[str, Any]:
    """Return what must be the same however a run went: metrics, costs, curves without their times, and predictions."""
    import numpy as np

    found = {}
    for cell_id, record in runs.records(folder, "toy").items():
        curve = [{k: v for k, v in point.items() if k != "seconds"} for point in record["curve"]]
        cost = {k: v for k, v in record["cost"].items() if k != "peak_memory_bytes"}
        with np.load(Store(folder / "results", "toy").predictions(cell_id)) as kept:
            logits = kept["logits"].tobytes().hex()
        found[cell_id] = (record["status"], record["metrics"], cost, curve, logits)
    return found


def damage(path: Path, how: str) -> None:
    """Damage a file: cut it in half, flip a bit near its end, or empty it."""
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[-8] ^= 1
    path.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "empty": b""}[how])


# Damaged files


def test_damaged_artifacts_are_noticed_and_made_again(plain, folder):
    tensors = sorted((folder / "results" / "artifacts").rglob("*.safetensors"))
    assert len(tensors) >= 3  # pixels, activations, the teacher's weights
    for path, how in zip(tensors, cycle(["cut", "flipped", "empty"]), strict=False):
        damage(path, how)
    for record in runs.records(folder, "toy"):
        (folder / "results" / "toy" / f"{record}.json").unlink()
    done = runs.bench(folder, "run", "toy.yaml", "--no-report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert numbers(folder) == numbers(plain)


def test_a_childs_teacher_is_trained_again_when_its_weights_are_damaged(plain, folder):
    child = next(r for r in runs.records(folder, "toy").values() if r["cell"]["strategy"]["name"] == "distill")
    (folder / "results" / "toy" / f"{child['cell_id']}.json").unlink()
    (weights,) = (folder / "results" / "artifacts" / "weights").iterdir()
    damage(weights, "flipped")
    done = runs.bench(folder, "run", "toy.yaml", "--no-report")
    assert "2 cells run" in done.stdout
    assert numbers(folder) == numbers(plain)


@pytest.mark.parametrize("how", ["cut", "flipped", "empty"])
def test_a_file_of_tensors_tells_any_damage(tmp_path, how):
    import numpy as np
    from safetensors.numpy import save_file

    path = tmp_path / "t.safetensors"
    save_file({"a": np.arange(1000.0), "b": np.ones((3, 5), np.int8)}, path, UNSEALED)
    seal(path)
    assert is_whole(path)
    damage(path, how)
    assert not is_whole(path)
    assert not is_whole(tmp_path / "none")


CONTENTS = ("", "{", '{"schema": 1}', "\x00\x00")


def test_damaged_records_are_set_aside_and_named_and_nothing_is_lost(plain, folder):
    results = folder / "results" / "toy"
    victims = dict(zip(sorted(runs.records(folder, "toy")), CONTENTS, strict=True))
    for number in ("", "1"):
        for victim, content in victims.items():
            (results / f"{victim}.json").write_text(content, encoding="utf-8")
        done = runs.bench(folder, "run", "toy.yaml", "--no-report")
        assert done.returncode == 0, done.stderr
        for victim, content in victims.items():
            assert f"{victim}.json is not a readable record" in done.stderr
            assert (results / f"{victim}.corrupt{number}").read_text(encoding="utf-8") == content
    assert numbers(folder) == numbers(plain)


# Places


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_results_are_said_before_anything_runs(folder):
    (folder / "results" / "toy").chmod(0o500)
    done = runs.bench(folder, "run", "toy.yaml", "--force")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def small_disk(folder: Path, megabytes: float, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which ./disk is a small disk of its own."""
    script = f"mount -t tmpfs -o size={int(megabytes * 1024)}k tmpfs disk && {' '.join(words)}"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    return subprocess.run(
        command,
        cwd=folder,
        env={**runs.ENVIRONMENT, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
def test_a_disk_that_fills_up_is_said_and_what_is_finished_is_kept(plain, tmp_path):
    (tmp_path / "disk").mkdir()
    if small_disk(tmp_path, 1, "true").returncode != 0:
        pytest.skip("no disk can be mounted here")
    suites.write(tmp_path, CHANGES)
    run = f"{sys.executable} -m bench run toy.yaml --no-report --results disk/results"
    # The disk holds some cells and not all; then there is room, and the same command goes on.
    script = (
        f"fallocate -l 900k disk/ballast; {run} >first.out 2>first.err; echo $? >first.rc; "
        f"rm disk/ballast; {run} >second.out 2>second.err; echo $? >second.rc; cp -r disk/results results"
    )
    done = small_disk(tmp_path, 1.0, script)
    said = {name: (tmp_path / name).read_text(encoding="utf-8") for name in ("first.rc", "first.err", "first.out")}
    assert done.returncode == 0, done.stderr
    assert said["first.rc"] == "3\n", said
    assert "No space left on device" in said["first.err"] + said["first.out"], said
    assert "Traceback" not in said["first.err"] + said["first.out"], said
    assert (tmp_path / "second.rc").read_text(encoding="utf-8") == "0\n", (tmp_path / "second.err").read_text()
    assert numbers(tmp_path) == numbers(plain)


JUMPY = """
import time
real, calls = time.time, [0]
def jumpy():
    calls[0] += 1
    return real() + 86400 * (-1) ** calls[0]
time.time = jumpy
"""


def test_a_clock_that_jumps_a_day_to_and_fro_changes_nothing(plain, tmp_path):
    environment = packages.install(tmp_path / "jumpy", "jumpy", "strategies", {}, {"sitecustomize": JUMPY})
    suites.write(tmp_path, {**CHANGES, "deadline_seconds": 60})
    done = runs.bench(tmp_path, "run", "toy.yaml", "--no-report", extra=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert numbers(tmp_path) == numbers(plain)
    for record in runs.records(tmp_path, "toy").values():
        assert all(0 <= s < 60 for s in record["seconds"].values() if s is not None)


# Two runs at once, and numbers that do not hang on the way


MANY = {"matrix": {"strategy": ["full_finetune", TEACHER], "seed": list(range(6))}, "recipe": {"epochs": 40}}


@pytest.mark.slow
def test_a_run_that_waits_for_another_goes_on_when_that_is_killed(tmp_path):
    suites.write(tmp_path, MANY)
    first = runs.start(tmp_path, "run", "toy.yaml", "--no-report")
    assert runs.eventually(lambda: bool(runs.records(tmp_path, "toy")))
    second = runs.start(tmp_path, "run", "toy.yaml", "--no-report")
    before = len(runs.records(tmp_path, "toy"))
    runs.eventually(lambda: len(runs.records(tmp_path, "toy")) > before + 1, 30)
    first.kill()
    first.communicate(timeout=60)
    assert runs.gone(first.pid)
    out, err = second.communicate(timeout=runs.LIMIT_SECONDS)
    assert second.returncode == 0, out + err
    found = runs.records(tmp_path, "toy").values()
    assert (len(found), {record["status"] for record in found}) == (12, {"ok"})


@pytest.mark.slow
def test_a_child_waits_for_the_teacher_that_another_run_trains(tmp_path):
    suites.write(tmp_path, {**MANY, "matrix": {**MANY["matrix"], "strategy": [TEACHER], "seed": [0]}})
    both = [runs.start(tmp_path, "run", "toy.yaml", "--no-report", "--json") for _ in range(2)]
    said = [process.communicate(timeout=runs.LIMIT_SECONDS) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(json.loads(out)["ran"] for out, _ in said) == 2, said


def test_two_runs_share_the_cells_and_compute_none_twice(tmp_path):
    suites.write(tmp_path, MANY)
    both = [runs.start(tmp_path, "run", "toy.yaml", "--no-report", "--json") for _ in range(2)]
    said = [process.communicate(timeout=runs.LIMIT_SECONDS) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    ran = [json.loads(out)["ran"] for out, _ in said]
    assert sum(ran) == 12, said
    assert min(ran) > 0, said
    assert all(record["attempt"] == 1 for record in runs.records(tmp_path, "toy").values())


def test_a_deterministic_run_says_so_and_gives_the_same_bits(plain, tmp_path):
    suites.write(tmp_path, CHANGES)
    done = runs.bench(tmp_path, "run", "toy.yaml", "--no-report", "--deterministic")
    assert done.returncode == 0, done.stderr
    assert all(r["details"]["deterministic"] is True for r in runs.records(tmp_path, "toy").values())
    assert numbers(tmp_path) == numbers(plain)


@pytest.mark.slow
def test_order_resume_and_cache_change_no_bit(plain, tmp_path):
    suites.write(tmp_path, CHANGES)
    for cell_id in sorted(runs.records(plain, "toy"), reverse=True):  # one by one, in another order, each in a process
        done = runs.bench(tmp_path, "run", "toy.yaml", "--no-report", "--only", f"cell={cell_id}")
        assert done.returncode == 0, done.stderr
        shutil.rmtree(tmp_path / "results" / "artifacts" / "pixels", ignore_errors=True)
    assert numbers(tmp_path) == numbers(plain)


def test_rows_have_the_same_bits_however_many_were_missing_with_them(tmp_path):
    """A smaller batch may be summed in another order: what was cached before must not be seen in the numbers."""
    import numpy as np
    import torch
    from learners import learner

    from bench.recipe import Augment
    from bench.strategies.feature_extract import FeatureExtract
    from bench.tasks import Selection
    from bench.training.views import Views

    def rows(folder: Path, counts: tuple[int, ...]) -> torch.Tensor:
        made = learner(folder, FeatureExtract(), backbone="resnet10t")
        for count in counts:
            index = np.arange(count)
            selection = Selection("train", index, np.zeros(count, np.int64))
            found, keys = made.cache.passed(
                made.supply.prefix(made.depth), selection, Views(Augment(), 0), {}, "features", 1
            )
        return found.take(keys)

    assert torch.equal(rows(tmp_path / "a", (1, 2, 5, 17, 40)), rows(tmp_path / "b", (40,)))

"""The command line: what answers without torch, what `plan`, `why` and `show` say, and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli import main
from bench.planner import Plan, expand
from bench.record import Record, Seconds
from bench.store import Store
from bench.suite import load
from suites import write

ROOT = Path(__file__).parents[1]
WATCH = """
import sys
from bench.cli import main
try:
    main(sys.argv[1:])
finally:
    print(sorted({"torch", "torchvision", "timm"} & set(sys.modules)), file=sys.stderr)
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["plan", str(ROOT / "suites" / "homework1.yaml")],
        ["plan", str(ROOT / "suites" / "few_shot.yaml"), "--json"],
        ["list", "strategies"],
        ["list", "tasks"],
        ["list", "datasets"],
        ["schema"],
        ["show", "0000"],
        ["why", "0000", "--suite", str(ROOT / "suites" / "homework1.yaml")],
        ["report", str(ROOT / "suites" / "homework1.yaml")],
    ],
    ids=" ".join,
)
def test_the_control_half_answers_without_torch(arguments: list[str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WATCH, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stderr.splitlines()[-1] == "[]"
    assert ended.returncode == (2 if arguments[0] in ("show", "why", "report") else 0)


@pytest.mark.alone
def test_help_comes_in_less_than_400_milliseconds(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("bench")
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        said = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
        seconds.append(time.perf_counter() - start)
        if seconds[-1] < 0.4:
            break
    assert "plan" in said
    assert min(seconds) < 0.4


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_a_command_without_its_verb_shows_its_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert "Usage: bench" in out + err
    assert "error" not in out + err


@pytest.mark.parametrize("arguments", ["schema", "list tasks"])
def test_a_pipe_whose_reader_has_seen_enough_is_no_traceback(arguments: str) -> None:
    command = f"{sys.executable} -m bench {arguments} | true"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == ("", "")


def planned(folder: Path, **changes: Any) -> Plan:
    return expand(load(write(folder, changes)))


def keep(plan: Plan, number: int, status: str = "ok", reason: str | None = None, folder: str = "results") -> str:
    """Store a record of the plan's cell with that number, as a run would have."""
    cell = plan.entries[number].cell
    store = Store(folder, plan.suite.suite)
    seconds = Seconds(marginal=3.0 * cell.size, evaluate=0.0, measure=0.0) if status == "ok" else Seconds()
    store.write(Record(cell.id, plan.suite.suite, cell, status, reason, seconds=seconds))  # type: ignore[arg-type]
    if status == "ok":
        store.predictions(cell.id).parent.mkdir(exist_ok=True)
        np.savez(store.predictions(cell.id), logits=np.zeros((2, 3)))
    return cell.id


SEVERAL = {
    "matrix": {
        "size": [6, 12, 24],
        "strategy": ["scratch", {"name": "distill", "teacher": {"strategy": "full_finetune", "backbone": "resnet18"}}],
    },
    "exclude": [{"when": {"strategy": "distill", "size": 6}, "reason": "six examples make no teacher"}],
}


def test_plan_says_what_is_cached_to_run_or_skipped_and_what_it_will_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, **SEVERAL)
    cached = keep(plan, 0)
    code, out, _ = run(capsys, "plan", "toy.yaml")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["cell", "state", "what", "expected"]
    assert lines[1].split() == [cached, "cached", "scratch", "·", "n=6"]
    assert lines[2].split()[1:] == ["skipped", "distill", "·", "n=6"]
    assert lines[3].strip() == "six examples make no teacher"
    assert lines[4].split()[1:] == ["to", "run", "scratch", "·", "n=12", "36", "s"]
    assert lines[5].split()[1:-2] == ["to", "run", "full_finetune", "·", "resnet18", "·", "n=12", "(teacher)"]
    assert lines[-2:] == [
        "8 cells: 1 cached, 6 to run, 1 skipped; 2 only as a parent of others",
        "about 5 min to run",
    ]
    code, out, _ = run(capsys, "plan", "toy.yaml", "--json")
    found = json.loads(out)
    assert [c["state"] for c in found["cells"]] == ["cached", "skipped", *["to run"] * 6]
    assert [c["cell_id"] for c in found["cells"]] == [e.cell.id for e in plan.entries]
    assert found["cells"][1]["reason"] == "six examples make no teacher"
    assert found["cells"][3]["role"] == "teacher"
    totals = {"cells": 8, "cached": 1, "to_run": 6, "skipped": 1}
    assert {k: found["totals"][k] for k in totals} == totals
    assert found["totals"]["estimate_seconds"] == pytest.approx(3 * 36 + 6 * 36)


def test_plan_says_how_a_failed_cell_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(planned(tmp_path), 0, "oom", "out of memory")
    _, out, _ = run(capsys, "plan", "toy.yaml")
    assert out.splitlines()[2].strip() == "last time: oom, out of memory"
    assert "1 cell: 0 cached, 1 to run, 0 skipped" in out


@pytest.mark.parametrize("suite", sorted((ROOT / "suites").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plan_of_a_shipped_suite_reads_well_in_80_columns(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "plan", str(suite))
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80


def test_show_finds_a_record_by_the_beginning_of_its_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(tmp_path, matrix={"seed": list(range(20))})
    ids = [keep(plan, i) for i in range(20)]
    code, out, _ = run(capsys, "show", ids[3].upper())
    assert (code, json.loads(out)["cell_id"]) == (0, ids[3])
    assert json.loads(run(capsys, "show", ids[5][:9])[1])["cell_id"] == ids[5]
    first = next(i[0] for i in ids if sum(other[0] == i[0] for other in ids) > 1)
    code, out, err = run(capsys, "show", first)
    alike = sorted(i for i in ids if i[0] == first)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {len(alike)} cells in results begin with '{first}': {alike[0]}, {alike[1]}")
    code, _, err = run(capsys, "show", ids[3][:-1] + "x")
    assert (code, err.count("\n")) == (2, 1)
    assert f"did you mean '{ids[3]}'" in err


def test_a_cell_of_two_suites_is_not_ambiguous(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(tmp_path)
    keep(plan, 0)
    again = planned(tmp_path, suite="other")
    assert keep(again, 0) == plan.entries[0].cell.id
    assert run(capsys, "show", plan.entries[0].cell.id)[0] == 0


def test_why_names_the_field_that_sets_a_cell_apart_from_the_nearest_stored_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = keep(planned(tmp_path), 0)
    keep(planned(tmp_path, matrix={"strategy": ["scratch"], "size": [24]}, suite="far"), 0)
    changed = planned(tmp_path, recipe={"lr": 0.5}).entries[0].cell
    code, out, _ = run(capsys, "why", changed.id, "--suite", "toy.yaml")
    said, end = json.JSONDecoder().raw_decode(out)
    assert code == 0
    assert said == {"cell_id": changed.id, "identity_version": 1, **changed.identity()}
    assert out[end:].strip().splitlines() == [f"nearest stored cell: {stored}", "  recipe.lr: 0.5, there 0.001"]
    code, _, err = run(capsys, "why", changed.id)
    assert (code, err.startswith(f"error: no cell '{changed.id}' in results")) == (2, True)
    assert run(capsys, "why", stored)[0] == 0


def test_a_report_without_records_is_a_mistake_that_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(tmp_path)
    code, _, err = run(capsys, "report", "toy.yaml")
    assert (code, err.count("\n")) == (2, 1)
    assert "there are no records of this suite yet; `bench run toy.yaml` makes them" in err
    assert [p.name for p in tmp_path.iterdir()] == ["toy.yaml"]


def test_a_run_with_nothing_left_to_do_starts_no_worker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(planned(tmp_path), 0)
    start = time.monotonic()
    code, out, _ = run(capsys, "run", "toy.yaml", "--no-report")
    assert (code, out) == (0, "1 cell done already\n0 cells run; in all 1 ok\n")
    assert time.monotonic() - start < 3


def test_a_bug_is_a_traceback_and_no_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import overview

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    planned(tmp_path)
    monkeypatch.setattr(overview, "rows", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["plan", "toy.yaml"])


@pytest.mark.parametrize("kind", ["strategies", "tasks"])
def test_a_list_keeps_to_the_terminals_width(kind, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main(["list", kind])
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 100
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        main(["list", kind])
    wide = capsys.readouterr().out
    assert sorted(wide.replace("-", "").split()) == sorted(narrow.replace("-", "").split())
    assert len(wide.splitlines()) < len(narrow.splitlines())


def test_advise_refuses_a_limit_that_is_none(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["advise", "suites/homework1.yaml", "--max-seconds", "0"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: --max-seconds must be a number above 0, not 0\n"

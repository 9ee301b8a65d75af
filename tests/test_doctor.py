"""`bench doctor`: what each check says of a small real situation, what --fix does, and that nothing else is written."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from runs import bench

from bench import schedule
from bench.asked import Asked
from bench.claims import claims
from bench.cli import main
from bench.datasets import Download, datasets, missing
from bench.datasets import fashion_mnist as fashion
from bench.datasets._sources import DebianPackage, Folder, Mirror, lacking
from bench.doctor import Places, examine, fix, machine, needs, storage, text
from bench.doctor.child import Child
from bench.doctor.finding import Finding, size, summary
from bench.errors import DataError
from bench.planner import Plan, expand
from bench.record import Record, dumps
from bench.store import STALE_SECONDS, Store
from bench.suite import load
from suites import write

ROOT = Path(__file__).parents[1]
# Above the most that Linux numbers a process with.
NOBODY = 2**22 + 1


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every folder that is looked at be a fresh one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def planned(**changes: object) -> Plan:
    return expand(load(write(Path(), changes)))


def keep(plan: Plan, **changes: object) -> Record:
    cell = plan.entries[0].cell
    record = Record(cell.id, plan.suite.suite, cell, "ok", started_at="2026-02-03T04:05:06+00:00", **changes)  # type: ignore[arg-type]
    Store("results", plan.suite.suite).write(record)
    return record


def old(path: Path, seconds: float = STALE_SECONDS + 60) -> Path:
    """Have a file be there that was last written so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


# ---- the installation and the machine


def test_an_old_python_is_a_problem():
    assert machine.python((3, 10, 4)).state == "problem"
    assert machine.python().state == "ok"


def test_a_package_in_a_wrong_version_is_named_with_the_command_that_mends_it():
    found = machine.packages(["numpy>=99", "pytest>=1", "no-such-thing>=2", 'also-none>=1; extra == "test"'])
    assert found.state == "problem"
    assert re.fullmatch(r"numpy \S+ is installed, >=99 is asked for; no-such-thing is not installed", found.found)
    assert found.advice == 'python -m pip install "numpy>=99" "no-such-thing>=2"'
    assert machine.packages(["pytest>=1"]).state == "ok"
    assert machine.packages(None).state == "note"


def test_what_the_installed_bench_asks_for_is_there():
    assert machine.packages(machine.asked_for()).state == "ok"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ImportError('libcudart.so.12: no such file')", "ImportError: libcudart.so.12: no such file"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import time; time.sleep(60)", "no answer within 5 s"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("import os; os._exit(7)", "ended with exit code 7"),
    ],
    ids=["raises", "exits", "sleeps", "is killed", "ends"],
)
def test_a_broken_torch_is_a_line_and_no_hang(source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "torch.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "stub")
    with Child(seconds=5) as child:
        (found,) = machine.libraries(child)
        assert found.state == "problem"
        assert said in found.found
        assert "pip install" in found.advice
        assert child.ask("library", "json")["version"]  # another process answers the next question


def test_torch_that_works_says_what_it_computes_on():
    with Child() as child:
        found = machine.libraries(child)
    assert [(f.name, f.state) for f in found] == [("torch", "ok"), ("torchvision", "ok"), ("timm", "ok")]
    assert "1 thread" in found[0].found


@pytest.mark.parametrize(
    ("wanted", "state", "advice"),
    [(None, "ok", ""), ("1", "ok", ""), ("64", "note", "export OMP_NUM_THREADS=2"), ("all", "note", "unset")],
)
def test_more_threads_than_cores_are_noted(wanted: str | None, state: str, advice: str):
    found = machine.threads({} if wanted is None else {"OMP_NUM_THREADS": wanted}, available=2)
    assert found.state == state
    assert found.advice.startswith(advice)


def test_a_gpu_that_is_hidden_is_noted_and_a_machine_without_one_is_well(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with Child() as child:
        assert machine.device(child).state == "note"
        monkeypatch.setattr(machine, "why_no_gpu", lambda: machine.NO_GPU)
        assert machine.device(child).state == "ok"


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({"name": "H100", "free": 79e9, "total": 80e9}, "ok"),
        ({"name": "H100", "free": 9e9, "total": 80e9}, "note"),
        ({"error": "CUDA error: an illegal memory access"}, "problem"),
    ],
)
def test_a_gpu_is_tried_and_its_free_memory_told(
    answer: dict[str, object], state: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "why_no_gpu", lambda: None)
    found = machine.device(SimpleNamespace(ask=lambda question: answer))  # type: ignore[arg-type]
    assert (found.state, found.found.startswith("cuda: ")) == (state, True)


def test_free_memory_is_the_least_of_the_machine_and_of_the_container(tmp_path: Path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    5000000 kB\n")
    assert machine.free_memory(tmp_path) == 5_000_000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("700000000\n")
    assert machine.free_memory(tmp_path) == 5_000_000 * 1024
    (group / "memory.max").write_text("1000000000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 200000000\n")
    assert machine.free_memory(tmp_path) == 500_000_000
    assert machine.memory(500_000_000).state == "problem"
    assert machine.memory(1_500_000_000).state == "note"
    assert machine.memory(machine.free_memory()).state == "ok"
    assert machine.memory(machine.free_memory(tmp_path / "nowhere")).state == "note"


def test_a_clock_in_the_past_is_told():
    assert machine.clock(time.time(), {}).state == "ok"
    assert machine.clock(86_400.0, {}).state == "problem"
    found = machine.clock(time.time(), {"the newest record": time.time() + 86_400})
    assert found.state == "note"
    assert "before the newest record" in found.found


def test_a_clock_that_stands_still_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    assert machine.clock(time.time(), {}).state == "problem"


def test_a_record_that_bears_no_date_tells_nothing_of_the_clock():
    plan = planned()
    keep(plan)
    path = Store("results", "toy").path(plan.entries[0].cell.id)
    path.write_text(path.read_text().replace("2026-02-03T04:05:06+00:00", "~~~ soon"))
    assert storage.stock(Places().stores()).newest == "~~~ soon"
    assert next(f for f in examine(Places()).findings if f.name == "clock").state == "ok"


def test_no_git_is_noted(monkeypatch: pytest.MonkeyPatch):
    assert machine.git().state == "ok"
    monkeypatch.setenv("PATH", "")
    assert machine.git().state == "note"
    assert machine.last_commit() is None


# ---- disk


def test_a_full_disk_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    assert [f.state for f in storage.disk(Places(), {})] == ["ok"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5e9))
    (enough,) = storage.disk(Places(), {"results": 4e9})
    (short,) = storage.disk(Places(), {"results": 4e9, "cache": 2e9})
    assert enough.state == "ok"
    assert short.state == "problem"
    assert "5.0 GB free for results, reports, cache, temporary; the suite needs 6.0 GB at most" in short.found
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1e8))
    assert storage.disk(Places(), {})[0].state == "problem"


def test_a_file_in_the_place_of_a_folder_is_a_problem_for_a_run():
    Path("results").write_text("")
    found = {f.name: f for f in storage.access(Places(reports=Path("results/deeper")))}
    assert found["results"].state == found["reports"].state == "problem"
    assert "--results" in found["results"].advice
    assert found["cache"].state == found["temporary"].state == "ok"
    assert not Path("cache").exists()


def test_a_folder_that_cannot_be_written_is_a_problem_but_for_a_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    states = {f.name: f.state for f in storage.access(Places())}
    assert states == {"results": "problem", "reports": "problem", "cache": "note", "temporary": "problem"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_problem(tmp_path: Path):
    (tmp_path / "results").mkdir(mode=0o500)
    assert storage.access(Places())[0].state == "problem"


def test_what_killed_runs_left_is_named_and_only_removed_when_asked(tmp_path: Path):
    gone = [
        old(Path(f"results/toy/.a.json.{NOBODY}.tmp")),
        old(Path(f"results/artifacts/pixels/1/.b.safetensors.{NOBODY}.tmp")),
        old(Path(f"cache/torchvision/.cifar10.{NOBODY}.tmp/half")).parent,
        old(Path(f"tmp/bench-{NOBODY}-abc/worker.log"), seconds=100_000).parent,
    ]
    for folder in gone[2:]:
        os.utime(folder, (time.time() - 100_000,) * 2)
    stays = [
        old(Path(f"results/toy/.now.json.{NOBODY}.tmp"), seconds=60),
        old(Path(f"results/toy/.mine.json.{os.getpid()}.tmp")),
        old(Path("results/toy/.notes.tmp")),
        old(Path("tmp/bench-other-1/file")),
        old(Path(f"tmp/bench-{NOBODY}-new/worker.log")),
    ]
    before = tree(tmp_path)
    found = storage.leftovers(Places())
    assert (found.state, found.found[:41]) == ("note", "4 half-written files of killed runs, 16 B")
    assert "--fix" in found.advice
    assert tree(tmp_path) == before
    done = [line for line in fix.mended(Places()) if line.startswith("removed")]
    assert len(done) == 4
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in stays)
    assert storage.leftovers(Places()).state == "ok"


def test_nothing_is_removed_where_a_run_is(tmp_path: Path):
    with claims(Store("results", "toy").folder) as mine:
        mine.take("0123456789ab")
        path = old(Path(f"results/toy/.a.json.{NOBODY}.tmp"))
        assert storage.leftovers(Places()).state == "ok"
        list(fix.mended(Places()))
        assert path.exists()


def test_damaged_cache_entries_are_removed_when_asked_and_records_never():
    plan = planned()
    record = keep(plan)
    store = Store("results", "toy")
    store.path("0" * 12).write_text("no record")
    store.path(record.cell_id).with_suffix(".corrupt").write_text("set aside")
    damaged = [
        old(Path("results/artifacts/weights/a.safetensors")),
        old(Path("results/artifacts/autotune/b.json")),
        old(Path("cache/folders/c.json")),
        old(Path("cache/torchvision/cards/d.json")),
    ]
    data = old(Path("cache/torchvision/somebody/annotations.json"))
    found = storage.unreadable(Places())
    assert (found.state, found.found.split(":")[0]) == ("note", "4 files cannot be read")
    records = storage.records(storage.stock(Places().stores()))
    assert (records.state, records.found.split(":")[0]) == ("note", "1 record, and 2 that cannot be read")
    done = list(fix.mended(Places()))
    assert sum(line.startswith("removed") for line in done) == 4
    assert not any(path.exists() for path in damaged)
    assert data.exists()
    assert len(list(store.folder.glob("*.json"))) + len(list(store.folder.glob("*.corrupt"))) == 3
    assert storage.unreadable(Places()).state == "ok"


def test_a_damaged_index_is_built_again_when_asked():
    plan = planned()
    keep(plan)
    index = Path("results/artifacts/index/toy.json")
    schedule.status(plan, Store("results", "toy"))
    whole = index.read_text()
    index.write_text(whole[:-20])
    assert storage.indexes(Places()).state == "note"
    assert "built the index of toy again: 1 record" in list(fix.mended(Places()))
    assert index.read_text() == whole
    assert storage.indexes(Places()).state == "ok"


def test_a_record_of_a_later_bench_is_a_problem():
    plan = planned()
    record = keep(plan)
    path = Store("results", "toy").path(record.cell_id)
    path.write_text(dumps(record).replace('"schema": 1', '"schema": 99'))
    found = storage.records(storage.stock(Places().stores()))
    assert (found.state, path.name in found.found) == ("problem", True)


def test_results_that_a_run_has_cells_of_are_named_with_its_process():
    store = Store("results", "toy")
    assert not store.held()
    with claims(store.folder) as mine:
        assert not store.held()
        assert mine.take("0123456789ab")
        assert store.held()
        found = storage.other_runs(Places())
        assert found.state == "note"
        assert f"cells of toy are with process {os.getpid()} (" in found.found
    assert not store.held()
    assert storage.other_runs(Places()).state == "ok"


# ---- a suite


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()


def test_a_source_says_without_a_download_whether_it_can_give_the_files(tmp_path: Path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.gz").write_bytes(b"not looked at")
    with server(tmp_path / "www") as address:
        assert Mirror(address).problem(["a"]) is None
        assert Mirror(address).problem(["b"]) == "File not found"
        assert lacking(tmp_path / "kept", {"a": ""}, [Mirror(address)], 5) == Download(address, 5)
    assert Mirror(address, 1.0).problem(["a"]) is not None
    assert Folder(tmp_path / "www", "it").problem(["a"]) is None
    assert Folder(tmp_path / "www", "it").problem(["a", "b"]) == "it has no b"
    assert Folder(tmp_path / "none", "it").problem(["a"]) == "not there"
    assert not (tmp_path / "kept").exists()


def test_a_package_manager_that_is_not_there_is_a_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert DebianPackage("a", Path("/b")).problem(["a"]) == "there is no apt-get on this machine"


def test_data_that_cannot_be_had_are_a_problem_and_data_that_can_a_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    plan = planned(matrix={"dataset": ["fashion_mnist"]})
    monkeypatch.setattr(fashion, "_sources", lambda: [Folder(tmp_path / "none", "a folder")])
    (found,) = needs.data(plan)
    assert found.state == "problem"
    assert f"a folder ({tmp_path / 'none'}): not there" in found.found
    (tmp_path / "some").mkdir()
    for name in fashion.CHECKSUMS:
        (tmp_path / "some" / name).write_bytes(b"wrong")
    monkeypatch.setattr(fashion, "_sources", lambda: [Folder(tmp_path / "some", "a folder")])
    (found,) = needs.data(plan)
    assert found.state == "note"
    assert "about 31 MB" in found.found
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert needs.data(plan)[0].state == "problem"


def test_data_that_are_always_here_are_well():
    (found,) = needs.data(planned())
    assert (found.state, found.found) == ("ok", "toy: here, 60 train + 60 test examples")
    assert missing(datasets.create({"name": "cifar10"})) is not None


def test_fix_fetches_what_is_missing_and_says_why_it_could_not():
    fetched = []

    class Far:
        name = "far"

        def missing(self) -> Download | None:
            return None if fetched else Download("afar")

        def fetch(self) -> None:
            fetched.append(self)

    class Lost(Far):
        def missing(self) -> Download | None:
            return Download("nowhere")

        def fetch(self) -> None:
            raise DataError("lost: it is nowhere")

    done = list(fix.fetched([Far(), Far(), Lost()]))  # type: ignore[list-item]
    assert done == ["fetched the data set far", "could not fetch lost: it is nowhere"]
    assert len(fetched) == 1


def test_weights_are_here_or_it_is_said_where_they_come_from(monkeypatch: pytest.MonkeyPatch):
    plan = planned(matrix={"backbone": ["toy_cnn", "tf_efficientnet_lite0", "resnet18"]})

    class Told:
        def ask(self, question: str, spec: dict[str, str]) -> dict[str, object]:
            assert question == "weights"
            return {"here": False, "at": "hf://a/b", "unreachable": reason, "params": 1_000_000}

    reason: str | None = "no connection to b"
    found, params = needs.weights(plan, Told())  # type: ignore[arg-type]
    assert [f.state for f in found] == ["ok", "ok", "problem"]
    assert "no connection to b" in found[-1].found
    assert params["resnet18"] == 1_000_000
    reason = None
    assert needs.weights(plan, Told())[0][-1].state == "note"  # type: ignore[arg-type]
    assert "about 4.0 MB, from hf://a/b" in needs.weights(plan, Told())[0][-1].found  # type: ignore[arg-type]
    assert [f.state for f in needs.weights(plan, None)[0]] == ["ok", "ok", "note"]


def test_the_room_that_a_suite_needs_grows_with_its_sizes_up_to_the_whole_data():
    def room(**matrix: object) -> float:
        return needs.room(planned(matrix=matrix), {})["results"]

    assert room(size=[12]) < room(size=[12, 24]) < room(size=[12, 24], seed=[0, 1])
    assert room(size=[12]) == pytest.approx((12 + 40) * 16 * 16 * 3 * 5 + needs.CELL_BYTES)
    assert room(size=[40], seed=[0, 1, 2]) == pytest.approx(120 * 16 * 16 * 3 * 5 + 3 * needs.CELL_BYTES)


def test_a_suite_is_only_looked_at(tmp_path: Path):
    plan = planned(matrix={"seed": [0, 1]})
    keep(plan)
    Store("results", "toy").path(plan.entries[1].cell.id).write_text("no record")
    before = tree(tmp_path)
    found = {f.name: f for f in examine(Places(), Asked(Path("toy.yaml"))).findings}
    assert tree(tmp_path) == before
    assert found["suite toy"].found.startswith("2 cells: 0 cached, 2 to run")
    assert found["records"].state == "note"


# ---- the command


def test_findings_fit_the_terminal_and_read_without_colour():
    findings = [
        Finding("disk", "ok", "68 GB free"),
        Finding("a long name", "note", "words " * 60, "do " * 60),
        Finding("torch", "problem", "x" * 40, "python -m pip install torch"),
    ]
    for width in (80, 200):
        lines = text(findings, width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines[0] == "  ok       disk         68 GB free"
        assert sum(line.startswith("! note     a long name  words") for line in lines) == 1
        assert "x problem  torch        " + "x" * 40 in lines
        assert "\x1b" not in "".join(lines)
        assert lines[-1] == "1 problem, 1 note: a run would stop, or its numbers be worthless"
        coloured = text(findings, width, colours=True)
        assert "\x1b[1;31mx problem\x1b[0m" in coloured
        assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == "\n".join(lines)
    assert summary(findings[:1]) == "no problem: ready to run"
    assert [size(n) for n in (5, 1500, 999_600, 20e6, 3e13)] == ["5 B", "1.5 kB", "1.0 MB", "20 MB", "30.0 TB"]


def test_a_bad_suite_and_wrong_usage_end_with_2_and_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    write(Path(), {"recipe": {"epoch": 2}})
    before = tree(tmp_path)
    for arguments in (["toy.yaml", "--fix"], ["none.yaml"], ["--profile", "smoke"], ["--set", "recipe.epochs=2"]):
        code, out, err = run(capsys, *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
    assert tree(tmp_path) == before


def test_a_problem_ends_with_3_and_json_has_the_same_findings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    write(Path())
    told = [Finding("memory", "ok", "much")]
    monkeypatch.setattr(machine, "libraries", lambda child: [Finding("torch", "ok", "2.11")])
    monkeypatch.setattr(machine, "memory", lambda free: told[0])
    assert run(capsys, "toy.yaml")[0] == 0
    told[0] = Finding("memory", "problem", "none", "buy some")
    code, out, _ = run(capsys, "toy.yaml", "--fix", "--json")
    found = json.loads(out)
    assert code == 3
    assert {"name": "memory", "state": "problem", "found": "none", "advice": "buy some"} in found["findings"]
    assert any(line.startswith("made ") and line.endswith("cache") for line in found["done"])
    code, out, _ = run(capsys, "toy.yaml")
    assert [f["name"] for f in found["findings"]] == [
        re.split("  +", line[11:])[0] for line in out.splitlines() if re.match("(  ok|! note|x prob)", line)
    ]


def test_the_command_finds_a_healthy_machine_well_and_writes_nothing(tmp_path: Path):
    work = tmp_path / "work"
    write(work)
    before = tree(work)
    # Torch makes an empty folder of its own among the temporary files.
    extra = {"BENCH_CACHE": str(work / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    ended = bench(work, "doctor", "toy.yaml", extra=extra)
    assert (ended.returncode, ended.stderr) == (0, "")
    # A path that is longer than the room is not cut.
    assert all(len(line) <= 80 or "/" in line for line in ended.stdout.splitlines())
    assert "\x1b" not in ended.stdout
    assert tree(work) == before


def test_the_command_survives_a_broken_torch_and_never_imports_it(tmp_path: Path):
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "torch.py").write_text("raise OSError('libtorch.so: cannot open')")
    path = os.pathsep.join([str(tmp_path / "stub"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = bench(tmp_path, "doctor", "--json", extra={"PYTHONPATH": path})
    assert ended.returncode == 3
    (found,) = (f for f in json.loads(ended.stdout)["findings"] if f["name"] == "torch")
    assert found["found"] == "cannot be used: OSError: libtorch.so: cannot open"
    code = "import sys, bench.doctor, bench.doctor.needs, bench.doctor.fix; print({'torch', 'timm'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"


def test_a_package_that_the_checks_need_and_is_missing_is_a_line(tmp_path: Path):
    code = "import sys; sys.modules['safetensors'] = None; from bench.cli import main; main(['doctor'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert ended.stderr == "x problem  safetensors is not installed: python -m pip install transfer-bench\n"


def test_a_full_disk_while_fixing_is_a_line(monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    done = list(fix.mended(Places()))
    assert [line.rpartition(": ")[2] for line in done] == ["No space left on device"] * 3

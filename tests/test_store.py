"""Records on disk: whole or not at all, read back as they were, and never lost to a file that is damaged."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import runs
from records import cell, record
from safetensors.numpy import save_file

import suites
from bench import schedule
from bench.cell import Cell
from bench.claims import claims
from bench.errors import StoreError
from bench.files import replacing
from bench.index import Brief
from bench.planner import Plan, expand
from bench.record import Record, dumps
from bench.store import Store
from bench.suite import load
from bench.terminal import Silent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", "toy")


def made(strategy: str = "scratch", **other: object) -> Record:
    return replace(record(cell(strategy), 0.8), suite="toy", **other)


# Reading and writing


def test_a_record_is_read_back_as_it_was_written(store):
    written = made()
    store.write(written)
    assert store.read(written.cell_id) == written
    assert store.read_all([written.cell_id, "0" * 12]) == {written.cell_id: written}
    assert list(store.every()) == [written]


def test_nothing_is_created_before_the_first_write(store):
    store.check(writing=True)
    assert store.read("0" * 12) is None
    assert list(store.every()) == []
    assert not store.root.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"ok"', '"fine"'),
        lambda text: text.replace('"attempt": 1', '"attempt": "1"'),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "cell"}),
        lambda text: text.replace('"schema": 1', '"schema": 0'),
        lambda text: "\udcff",
    ],
    ids=["half", "empty", "list", "status", "type", "missing", "schema", "bytes"],
)
def test_a_file_that_is_no_record_is_set_aside_and_said(store, damage, caplog):
    written = made()
    store.write(written)
    path = store.path(written.cell_id)
    content = damage(path.read_text(encoding="utf-8")).encode("utf-8", "surrogateescape")
    path.write_bytes(content)
    assert store.read(written.cell_id) is None
    assert not path.exists()
    assert path.with_suffix(".corrupt").read_bytes() == content
    assert f"{path} is not a readable record" in caplog.text
    assert "\n" not in caplog.messages[0]
    assert list(store.every()) == []


def test_the_record_of_another_cell_under_this_name_is_no_record_of_it(store):
    written = made()
    store.write(written)
    store.path(written.cell_id).rename(store.path("0" * 12))
    assert store.read("0" * 12) is None
    assert store.path("0" * 12).with_suffix(".corrupt").exists()


def test_a_record_of_a_later_version_is_refused_and_left_alone(store):
    written = made()
    store.write(written)
    path = store.path(written.cell_id)
    later = path.read_text(encoding="utf-8").replace('"schema": 1', '"schema": 2')
    path.write_text(later, encoding="utf-8")
    with pytest.raises(StoreError, match="is of a later version of bench"):
        store.read(written.cell_id)
    assert path.read_text(encoding="utf-8") == later


def test_every_record_of_a_folder_is_read_but_not_the_files_beside_them(store):
    first, second = made(), made("full_finetune")
    for each in (first, second):
        store.write(each)
    store.write_suite({"suite": "toy"})
    assert {r.cell_id for r in store.every()} == {first.cell_id, second.cell_id}
    assert json.loads((store.folder / "suite.json").read_text(encoding="utf-8")) == {"suite": "toy"}


# Whole or not at all


@contextmanager
def files_no_larger_than(count: int) -> Iterator[None]:
    """Have every write fail that would make a file larger than `count` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_half_way_leaves_the_old_record_and_no_other_file(store):
    old = made()
    store.write(old)
    with files_no_larger_than(1000), pytest.raises(StoreError, match="cannot be written: File too large"):
        store.write(replace(old, attempt=2))
    assert store.read(old.cell_id) == old
    assert [path.name for path in store.folder.iterdir()] == [f"{old.cell_id}.json"]


def test_a_block_that_raises_leaves_nothing_behind(tmp_path):
    def write_half() -> None:
        with replacing(tmp_path / "file") as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_killed_at_any_moment_a_writer_leaves_whole_records(store):
    """Records are written over and over in a process that is killed; what is there can always be read."""
    written = made()
    code = (
        "import sys; from pathlib import Path; from bench.record import loads; from bench.store import Store\n"
        "record, store = loads(sys.stdin.read()), Store(sys.argv[1], 'toy')\n"
        "print('ready', flush=True)\n"
        "while True: store.write(record)"
    )
    for patience in (0.0, 0.05, 0.1):
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdin is not None
        assert writer.stdout is not None
        with writer, writer.stdin as text:
            text.write(dumps(written))
            text.close()
            assert writer.stdout.readline() == "ready\n"
            assert runs.eventually(store.path(written.cell_id).exists, 30)
            time.sleep(patience)
            writer.kill()
        assert store.read(written.cell_id) == written
    for path in store.folder.glob(".*.tmp"):
        os.utime(path, (0, 0))
    store.sweep()
    assert {path.name for path in store.folder.iterdir()} == {f"{written.cell_id}.json"}


# Folders that will not do


def test_a_folder_that_cannot_be_used_is_said_before_anything_runs(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="is not a folder"):
            Store(root, "toy").check(writing=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_to_write_can_still_be_reported_on(store):
    written = made()
    store.write(written)
    store.folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        store.check()
        assert list(store.every()) == [written]
        with pytest.raises(StoreError, match="cannot be read and written"):
            store.check(writing=True)
    finally:
        store.folder.chmod(stat.S_IRWXU)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder where not even root can make files")
def test_a_place_where_nothing_can_be_made_is_one_line():
    with pytest.raises(StoreError, match=r"^/proc/results/toy: cannot be written: "):
        claims(Store("/proc/results", "toy").folder).__enter__()


# Two runs


ONE, OTHER = "0123456789ab", "ffffffffffff"


def test_a_cell_is_with_one_run_at_a_time(store):
    with claims(store.folder) as mine, claims(store.folder) as theirs, claims(store.root / "other") as elsewhere:
        assert mine.take(ONE)
        assert not theirs.take(ONE)
        assert theirs.take(OTHER)
        assert elsewhere.take(ONE)
        mine.give(ONE)
        assert theirs.take(ONE)
    with claims(store.folder) as mine:
        assert mine.take(ONE)
        assert mine.take(OTHER)


def test_a_claim_ends_with_its_process(store):
    code = "import sys; from pathlib import Path; from bench.claims import claims; c = claims(Path(sys.argv[1]))\n"
    code += f"print(c.__enter__().take({ONE!r}), flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(store.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder, claims(store.folder) as mine:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not mine.take(ONE)
        holder.kill()
        holder.wait()
        assert mine.take(ONE)


def test_a_run_clears_up_after_one_that_was_killed_and_leaves_what_another_is_writing(store):
    new = ("toy/.a.json.1-a.tmp", "artifacts/pixels/x/.new.2-b.tmp", "toy/keep.json")
    old = ("toy/predictions/.b.npz.1-c.tmp", "artifacts/pixels/x/.old.2-d.tmp")
    for name in (*new, *old):
        path = store.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (0, 0) if name in old else None)
    store.sweep()
    assert {p.relative_to(store.root).as_posix() for p in store.root.rglob("*") if p.is_file()} == set(new)


# What a run still has to do


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    """A teacher and its child, and a cell of its own."""
    distill = {"name": "distill", "teacher": {"strategy": "full_finetune"}}
    return expand(load(suites.write(tmp_path, {"matrix": {"strategy": [distill, "scratch"]}})))


def names(found: schedule.Status) -> list[str]:
    return [entry.cell.strategy["name"] for entry in found.missing]


def keep(store: Store, plan: Plan, **statuses: str) -> None:
    """Write what a run would leave behind: records, predictions of those that ended ok, weights of the parent."""
    for entry in plan.runnable:
        status = statuses.get(entry.cell.strategy["name"], "ok")
        store.write(replace(record(entry.cell, 0.8), suite="toy", status=status, reason=None))
        if status == "ok":
            predictions = store.predictions(entry.cell.id)
            predictions.parent.mkdir(parents=True, exist_ok=True)
            np.savez(predictions, logits=np.zeros(1))
    (parent,) = {p for e in plan.runnable for p in e.cell.parents.values()}
    store.weights(parent).parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.zeros(100)}, store.weights(parent))


def test_what_ended_ok_or_was_skipped_is_done(store, planned):
    assert names(schedule.status(planned, store)) == ["full_finetune", "distill", "scratch"]
    keep(store, planned, scratch="skipped")
    assert names(schedule.status(planned, store)) == []
    assert names(schedule.status(planned, store, force=True)) == ["full_finetune", "distill", "scratch"]
    assert schedule.status(planned, store, force=True).alone == frozenset()


@pytest.mark.parametrize("status", ["failed", "oom", "timeout", "interrupted"])
def test_what_did_not_end_ok_is_run_again(store, planned, status):
    keep(store, planned, scratch=status)
    assert names(schedule.status(planned, store)) == ["scratch"]


def test_records_that_came_without_whole_predictions_are_measured_again(store, planned):
    keep(store, planned)
    first, second = (e.cell.id for e in planned.runnable if e.cell.strategy["name"] != "full_finetune")
    store.predictions(first).unlink()
    os.truncate(store.predictions(second), 40)
    found = schedule.status(planned, store)
    assert names(found) == ["distill", "scratch"]
    assert found.alone == {first, second}


def test_a_teacher_whose_weights_are_lost_or_damaged_runs_again_only_when_a_child_needs_it(store, planned):
    keep(store, planned)
    teacher, child, _ = (e.cell.id for e in planned.runnable)
    os.truncate(store.weights(teacher), 200)
    assert names(schedule.status(planned, store)) == []
    store.path(child).unlink()
    assert names(schedule.status(planned, store)) == ["full_finetune", "distill"]
    assert schedule.status(planned, store).alone == frozenset()


def test_a_skipped_teacher_is_not_run_again_for_its_weights(store, planned):
    keep(store, planned, full_finetune="skipped", distill="failed")
    assert names(schedule.status(planned, store)) == ["distill"]


def test_estimates_come_from_the_records_most_alike_and_grow_with_the_work():
    slow, fast = made("full_finetune"), made("feature_extract")
    rates = schedule.Rates()
    assert rates.seconds(slow.cell) is None
    for each in (slow, fast):
        rates.add(each.cell, Brief.of(each, predicted=True))
    known = [rates.seconds(cell) for cell in (slow.cell, fast.cell)]
    spent = [sum(filter(None, (r.seconds.marginal, r.seconds.evaluate, r.seconds.measure))) for r in (slow, fast)]
    assert known == pytest.approx(spent)
    larger = rates.seconds(cell("full_finetune", size=1000))
    assert larger == pytest.approx(10 * spent[0])
    assert schedule.total([1.0, None]) is None
    assert schedule.total([1.0, 2.0]) == 3.0


# What is known of records without reading them


def known(store: Store) -> Path:
    return store.artifacts / "index" / "toy.json"


def test_a_record_that_did_not_change_is_not_read_again_and_one_that_did_is(store):
    written = made()
    store.write(written)
    first = store.briefs([written.cell_id])
    assert first == {written.cell_id: Brief.of(written, predicted=False)}
    path = store.path(written.cell_id)
    before = path.stat()
    with path.open("r+", encoding="utf-8") as file:  # the same size, time and file: only reading it would show
        file.write("[")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.briefs([written.cell_id]) == first
    store.write(replace(written, status="failed", reason="it broke", attempt=2))
    assert store.briefs([written.cell_id]) == {written.cell_id: Brief("failed", "it broke", 2, None, False)}


def test_a_damaged_record_is_set_aside_although_the_index_knew_it_whole(store, caplog):
    written = made()
    store.write(written)
    store.briefs([written.cell_id])
    os.truncate(store.path(written.cell_id), 100)
    assert store.briefs([written.cell_id]) == {}
    assert store.path(written.cell_id).with_suffix(".corrupt").exists()
    assert "is not a readable record" in caplog.text


def test_predictions_that_come_go_or_break_are_noticed(store):
    written = made()
    store.write(written)
    path = store.predictions(written.cell_id)
    path.parent.mkdir()

    def predicted() -> bool:
        return store.briefs([written.cell_id])[written.cell_id].predicted

    assert not predicted()
    np.savez(path, logits=np.zeros(9))
    assert predicted()
    os.truncate(path, 40)
    assert not predicted()
    path.unlink()
    assert not predicted()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0, "lines": {}}', '{"version": 1, "lines": {"x": [1]}}'])
def test_an_index_that_is_damaged_or_of_another_version_is_made_again(store, text):
    written = made()
    store.write(written)
    found = store.briefs([written.cell_id])
    whole = known(store).read_bytes()
    known(store).write_text(text, encoding="utf-8")
    assert store.briefs([written.cell_id]) == found
    assert known(store).read_bytes() == whole


def test_where_no_index_can_be_written_records_are_read(store):
    written = made()
    store.write(written)
    store.artifacts.touch()  # no folder
    assert store.briefs([written.cell_id]) == {written.cell_id: Brief.of(written, predicted=False)}


def test_the_index_forgets_records_that_are_gone(store):
    first, second = made(), made("full_finetune")
    for each in (first, second):
        store.write(each)
    store.briefs([first.cell_id, second.cell_id])
    store.path(first.cell_id).unlink()
    store.path(second.cell_id).touch()
    assert list(store.briefs([first.cell_id, second.cell_id])) == [second.cell_id]
    assert list(json.loads(known(store).read_text(encoding="utf-8"))["lines"]) == [second.cell_id]


# Out of memory


class Crowded:
    """An engine that has room for so many examples at once; it keeps what it was asked."""

    def __init__(self, room: int) -> None:
        self.room, self.asked = room, []

    def check(self, cells, watch):
        return None

    def run(self, job, deadline_seconds, watch):
        at_once = job["at_once"] or job["cell"]["recipe"]["batch_size"]
        self.asked.append(job["at_once"])
        if at_once > self.room:
            return {"status": "oom", "reason": "made up"}
        return Record(Cell.from_json(job["cell"]).id, "toy", Cell.from_json(job["cell"]), "ok").to_json()


def crowded(tmp_path, room: int, batch: int = 33):
    changes = {"matrix": {"strategy": ["full_finetune"], "seed": [0, 1]}, "recipe": {"epochs": 1, "batch_size": batch}}
    plan = expand(load(suites.write(tmp_path, changes)))
    engine = Crowded(room)
    return engine.asked, schedule.run(plan, Store(tmp_path / "results", "toy"), engine, Silent())


def test_what_runs_out_of_memory_is_tried_with_fewer_at_once_and_the_next_of_its_family_begins_there(tmp_path):
    asked, ran = crowded(tmp_path, room=10)
    assert asked == [None, 8, 8]
    assert [record.status for record in ran.values()] == ["ok", "ok"]


def test_what_has_no_room_for_two_examples_is_out_of_memory(tmp_path):
    asked, ran = crowded(tmp_path, room=1)
    assert asked == [None, 8, 2] * 2
    assert {(record.status, record.reason) for record in ran.values()} == {("oom", "made up")}


def test_a_loss_that_diverged_is_not_tried_again_unless_the_suite_says_so(store, planned):
    keep(store, planned, scratch="diverged")
    assert names(schedule.status(planned, store)) == []
    again = replace(planned, suite=planned.suite.model_copy(update={"retry": ["diverged"]}))
    assert names(schedule.status(again, store)) == ["scratch"]

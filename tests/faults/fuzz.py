"""Random input for whatever reads what people and disks give: suites, records, and the expressions of a command line.

`python -m tests.faults.fuzz 10000` gives each reader so many inputs and writes reports/faults/fuzz.json and fuzz.md.
Inputs are valid ones with a few changes of their structure or text, and bytes of no structure; the same each time. A
reader takes an input or refuses it with the error that it declares, within a second, and writes nothing but into the
results folder. The tests run a short form.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tabulate import tabulate

from bench.compare import history, pytest_benchmark
from bench.compare.measures import parse as parse_limits
from bench.document import parse
from bench.errors import BenchError, StoreError, printable
from bench.planner import expand
from bench.record import loads
from bench.store import Store
from bench.suite import load
from bench.tasks import every_metric

from .corpus import BASE

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports" / "faults"
RICH = """\
suite: rich
question: What is there to break?
task: {name: classify, test_size: 30, monitor_size: 10}
recipe: {epochs: 2, batch_size: 8, lr: 1e-3, augment: {flip: true, shift: 1}, selection: best_val, precision: auto}
span: product
matrix:
  dataset: [toy, {name: toy, classes: 4, train: 80, resolution: 32}, cifar10]
  size: [12, 24]
  backbone: [toy_cnn, {name: resnet18, source: torchvision, weights: random}]
  strategy:
    - scratch
    - feature_extract
    - {name: partial_finetune, unfreeze: 2}
    - &kd {name: distill, teacher: {strategy: full_finetune, backbone: toy_cnn}, temperature: 4.0, alpha: 0.5}
  seed: [0, 1, 2]
  recipe.weight_decay: [0.01, 0.1]
overrides:
  - {when: {strategy: scratch, size: [12, 24]}, set: {recipe: {epochs: 4}}}
exclude:
  - when: {strategy: distill, size: 12}
    reason: a teacher of 12 labels is no teacher
deadline_seconds: 600
gate: [accuracy:-1pp, "latency_p50:+10%", params_total:+0, status]
profiles:
  smoke: {matrix: {size: [12], seed: [0]}, recipe: {epochs: 1}}
"""
DEEP: Any = 3
for _ in range(60):
    DEEP = [DEEP]
NESTED = (b"[" * 100_000, b'{"a":' * 100_000)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 12, 2**63, -(2**63), 10**30, 1e308, 0.1, float("nan"), float("inf"), "", "no"),
    *("\0", "\u202e", "\ud83d", "../x", "a/b", "x" * 1000, "toy", "toy_cnn", "scratch", "distill", "few_shot", "zip"),
    *([], {}, [[]], [None], {"name": "toy"}, {"name": {}}, {"name": "distill", "teacher": {}}, [0] * 50, DEEP),
)
WORDS = ("name", "suite", "task", "matrix", "size", "seed", "strategy", "recipe", "lr", "when", "recipe.lr", "teacher")
MARKS = "\t\n :,-[]{}&*!|>'\"%@`#?<=.\\~0\ufeff\u2028\u202e\0\x1b\x85é🙂"
EXPRESSIONS = {
    "only": ("strategy=scratch|distill,size=12", "cell=0123456789ab", "seed=0", "backbone=toy_cnn,dataset=toy"),
    "set": ("recipe.epochs=5", "matrix.seed=[0, 1]", "matrix.recipe.lr=[1e-3]", "suite=toy", "task={name: classify}"),
    "gate": ("accuracy:-1pp", "latency_p50:+10%", "params_total:+0", "status", "nll:+0.5%"),
}
HANG_SECONDS = 1.0


# What is fed


@st.composite
def changed_trees(draw: st.DrawFn, bases: tuple[Any, ...]) -> Any:
    """Return a tree with one or two of its values replaced, taken out, renamed or put into another."""
    tree = deepcopy(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(1, 2))):
        at = tree
        while isinstance(at, dict | list) and at:
            key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
            below = at[key]
            if not isinstance(below, dict | list) or not below or draw(st.integers(0, 3)) == 0:
                _change(draw, at, key)
                break
            at = below
    return tree


def _change(draw: st.DrawFn, at: Any, key: Any) -> None:
    what = draw(st.sampled_from(["odd", "odd", "number", "text", "drop", "wrap", "name", "twice"]))
    if what == "drop":
        del at[key]
    elif what == "wrap":
        at[key] = draw(st.sampled_from([[at[key]], {"name": at[key]}, [at[key], at[key]]]))
    elif what == "name" and isinstance(at, dict):
        at[draw(st.sampled_from(WORDS) | st.text(max_size=8))] = at.pop(key)
    elif what == "twice" and isinstance(at, list):
        at.append(at[key])
    else:
        odd = {"number": st.integers() | st.floats(), "text": st.text(max_size=20)}
        at[key] = deepcopy(draw(odd.get(what, st.sampled_from(ODD))))


@st.composite
def changed_texts(draw: st.DrawFn, bases: tuple[str, ...]) -> str:
    """Return a text with a few marks put in, pieces taken out, or lines swapped, doubled or put elsewhere."""
    text = draw(st.sampled_from(bases))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        to = min(len(text), at + draw(st.integers(0, 12)))
        what = draw(st.sampled_from(["mark", "mark", "cut", "double", "move", "end"]))
        if what == "mark":
            text = text[:at] + draw(st.text(MARKS, min_size=1, max_size=3)) + text[at:]
        elif what == "cut":
            text = text[:at] + text[to:]
        elif what == "double":
            text = text[:to] + text[at:to] + text[to:]
        elif what == "move":
            text = text[:at] + text[to:] + text[at:to]
        else:
            text = text[:at]
    return text


@st.composite
def changed_bytes(draw: st.DrawFn, bases: tuple[str, ...]) -> bytes:
    """Return a changed text with a few bytes put in that may be no text."""
    content = _bytes(draw(changed_texts(bases)))
    at = draw(st.integers(0, len(content)))
    return content[:at] + draw(st.binary(max_size=4)) + content[at:]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def suites() -> st.SearchStrategy[bytes]:
    """Return suites: changed trees, changed texts, and a few bytes of no structure."""
    trees = changed_trees(tuple(parse(text, "base").data for text in (BASE, RICH)))
    texts = changed_texts((BASE, RICH))
    loose = st.text(max_size=80).map(_bytes) | st.binary() | changed_bytes((BASE, RICH))
    return trees.map(_json) | trees.map(_json) | texts.map(_bytes) | texts.map(_bytes) | loose


def records() -> st.SearchStrategy[bytes]:
    """Return records that were written by real runs, changed, and bytes of no structure."""
    stored = sorted(path for path in (ROOT / "results" / "homework1").glob("*.json") if len(path.stem) == 12)
    lines = (ROOT / "results" / "baselines" / "homework1_ci.jsonl").read_text(encoding="utf-8").splitlines()
    texts = (stored[0].read_text(encoding="utf-8"), lines[0])
    trees = changed_trees(tuple(json.loads(text) for text in texts))
    return st.sampled_from(NESTED) | trees.map(_json) | trees.map(_json) | changed_bytes(texts) | st.binary()


def histories() -> st.SearchStrategy[bytes]:
    """Return lines of a history, changed."""
    line = {"commit": "a", "machine": "b", "when": "2026-01-01", "values": {"accuracy": {"x": 0.5}, "params_total": {}}}
    return changed_trees((line,)).map(_json) | changed_bytes((json.dumps(line),)) | st.binary()


def benchmarks() -> st.SearchStrategy[bytes]:
    """Return files of pytest-benchmark, changed."""
    one = {"name": "a", "fullname": "x::a", "stats": {"data": [0.1, 0.2]}, "extra_info": {"device": "cpu"}}
    facts = {"machine": "x86_64", "cpu": {"brand_raw": "Example", "count": 2}}
    file = {"machine_info": facts, "commit_info": {"id": "a"}, "benchmarks": [one], "version": "5.1.0"}
    return changed_trees((file,)).map(_json) | changed_bytes((json.dumps(file),)) | st.binary()


def expressions(kind: str) -> st.SearchStrategy[bytes]:
    """Return expressions of a kind, changed, and texts of no structure."""
    bases = EXPRESSIONS[kind]
    return changed_texts(bases).map(_bytes) | changed_bytes(bases) | st.text(max_size=40).map(_bytes)


# What it is fed to: each takes bytes, and says whether it took them


class Readers:
    """The readers, in a folder of their own: the inputs are in it, and `results` is for the rest."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"
        self.store = Store(self.results, "toy")
        self.store.folder.mkdir(parents=True)
        self.rich = folder / "rich.yaml"
        self.rich.write_text(RICH, encoding="utf-8")
        self.suite = load(self.rich)

    def read_suite(self, content: bytes) -> bool:
        path = self.folder / "suite.yaml"
        path.write_bytes(content)
        try:
            suite = load(path)
            expand(suite)
            for profile in suite.profiles:
                expand(load(path, profile))
        except BenchError as error:
            return _refused(error)
        return True

    def read_record(self, content: bytes) -> bool:
        path = self.store.path("0123456789ab")
        path.write_bytes(content)
        try:
            loads(content)
            taken = True
        except ValueError as error:
            taken = _on_one_line(error)
        try:
            self.store.read(path.stem)
        except StoreError as error:
            _refused(error)
        path.with_suffix(".corrupt").unlink(missing_ok=True)
        return taken

    def read_history(self, content: bytes) -> bool:
        return self._taken(lambda text: history.read(text, "history.jsonl"), content)

    def read_benchmark(self, content: bytes) -> bool:
        try:
            pytest_benchmark.records(content.decode("utf-8", "replace"))
        except ValueError as error:
            return _on_one_line(error)
        return True

    def read_only(self, content: bytes) -> bool:
        return self._taken(lambda text: expand(self.suite, text), content)

    def read_set(self, content: bytes) -> bool:
        return self._taken(lambda text: expand(load(self.rich, None, [text])), content)

    def read_gate(self, content: bytes) -> bool:
        return self._taken(lambda text: parse_limits([text], every_metric()), content)

    def _taken(self, read: Callable[[str], object], content: bytes) -> bool:
        try:
            read(content.decode("utf-8", "surrogateescape"))
        except BenchError as error:
            return _refused(error)
        return True


def _refused(error: BenchError) -> bool:
    """Refusals are one line, and one that a terminal can show."""
    assert error.exit_code == 2, error
    assert str(error) == printable(str(error)), error
    return _on_one_line(error)


def _on_one_line(error: Exception) -> bool:
    assert len(str(error).splitlines()) <= 1, error
    assert len(str(error)) < 3000, error
    return False


KINDS: dict[str, Callable[[], st.SearchStrategy[bytes]]] = {
    "suite": suites,
    "record": records,
    "history": histories,
    "benchmark": benchmarks,
    "only": lambda: expressions("only"),
    "set": lambda: expressions("set"),
    "gate": lambda: expressions("gate"),
}


# What it does


@dataclass
class Found:
    """What came of the inputs of one kind. `outside` are files written, programs started and connections made."""

    kind: str
    inputs: int = 0
    accepted: int = 0
    slowest_seconds: float = 0.0
    crashes: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


_WATCHES: list[tuple[Path, list[str]]] = []
_WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
_REACHES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.getaddrinfo")
_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _WATCHES or event not in ("open", *_WRITES, *_REACHES):
        return
    allowed, seen = _WATCHES[-1]
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _FLAGS):
        return
    first = arguments[: 2 if event in ("os.rename", "os.link") else 1]
    paths = [Path.cwd() / os.fsdecode(path) for path in first if isinstance(path, str | bytes)]
    if event in _REACHES or any(not path.is_relative_to(allowed) or ".." in path.parts for path in paths):
        seen.append(f"{event} {arguments!r}"[:200])


@contextmanager
def watched(allowed: Path, seen: list[str]) -> Iterator[None]:
    """Note whatever is written outside of a folder, by Python's own audit, and every program and connection."""
    if not getattr(sys, "_faults_watched", False):
        sys.addaudithook(_audit)
        sys._faults_watched = True  # type: ignore[attr-defined]
    _WATCHES.append((allowed, seen))
    try:
        yield
    finally:
        _WATCHES.pop()


def fuzz(kind: str, count: int, folder: Path) -> Found:
    """Feed `count` inputs to a reader."""
    found = Found(kind)
    readers = Readers(folder)
    read = getattr(readers, f"read_{kind}")
    read(BASE.encode())  # imports, and what is made once

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(KINDS[kind]())
    def feed(content: bytes) -> None:
        found.inputs += 1
        began = time.process_time()
        try:
            with watched(folder, found.outside):
                found.accepted += read(content)
        except Exception as error:  # noqa: BLE001 - what no reader may raise
            found.crashes.append(f"{type(error).__name__}: {error} <- {content!r}"[:2000])
        found.slowest_seconds = max(found.slowest_seconds, time.process_time() - began)

    feed()
    return found


# What is told


def page(found: dict[str, Any]) -> str:
    """Return the page of what was found."""
    rows = [
        [
            row["kind"],
            f"{row['inputs']:,}",
            f"{row['accepted']:,}",
            f"{row['inputs'] - row['accepted'] - len(row['crashes']):,}",
            f"{row['slowest_seconds']:.2f}",
            len(row["crashes"]),
            len(row["outside"]),
        ]
        for row in found["random"]
    ]
    head = ["reader", "inputs", "accepted", "refused", "slowest, s", "crashes", "written outside"]
    lines = [
        "# Random input",
        "",
        "Each reader takes an input or refuses it in one line with the error that it declares. Inputs are valid ones,",
        "changed in structure or text, and bytes of no structure. Seconds are of the processor, collections of garbage",
        "included. Written outside counts files written elsewhere than into the results folder, programs started and",
        "connections made, by Python's own audit. `python -m tests.faults.fuzz 10000` makes the first table,",
        "`python -m tests.faults.guided SECONDS` the second. What they found is mended, and is in the corpora.",
        "",
        tabulate(rows, head, tablefmt="github", disable_numparse=True, colalign=("left", *("right",) * 6)),
    ]
    if guided := found.get("guided"):
        rows = [
            [r["kind"], f"{r['inputs']:,}", f"{r['seconds']:,}", f"{r['edges']:,}", f"{r['corpus']:,}", r["crashes"]]
            for r in guided
        ]
        head = ["reader", "inputs", "seconds", "edges covered", "inputs kept", "crashes"]
        lines += ["", "Guided by the code that they reach, which the fuzzer (atheris) counts:", ""]
        lines += [tabulate(rows, head, tablefmt="github", disable_numparse=True, colalign=("left", *("right",) * 5))]
    return "\n".join(lines) + "\n"


def write(section: str, rows: list[dict[str, Any]]) -> None:
    """Put rows into the stored numbers, and write the page anew."""
    path = REPORTS / "fuzz.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"random": []}
    found[section] = rows
    REPORTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (REPORTS / "fuzz.md").write_text(page(found), encoding="utf-8")


def main(count: int) -> int:
    rows = []
    logging.disable(logging.WARNING)
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as temporary:
            os.environ["BENCH_CACHE"] = str(Path(temporary) / "results" / "cache")
            os.chdir(temporary)
            found = fuzz(kind, count, Path(temporary))
        rows.append(vars(found))
        for line in (*found.crashes[:20], *found.outside[:20]):
            print(f"{kind}: {line}", file=sys.stderr)
    write("random", rows)
    print(page({"random": rows}))
    bad = any(row["crashes"] or row["outside"] or row["slowest_seconds"] > HANG_SECONDS for row in rows)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

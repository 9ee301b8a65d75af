"""Input that is steered by the code that it reaches: a coverage-guided fuzzer (atheris) on the readers of fuzz.py.

`python -m tests.faults.guided SECONDS` runs each reader for so long, each in a process of its own, and puts the numbers
into reports/faults/fuzz.json and fuzz.md. It begins with valid inputs and the corpus of broken suites. An input that
crashes a reader, or takes longer than five seconds, is shown and ends that reader's turn. It needs the extra `fuzz`.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KINDS = ("suite", "record", "history", "benchmark", "only", "set", "gate")
ROOT = Path(__file__).parents[2]
SLOW_SECONDS = 5
_DONE = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+) ft: \d+ corp: (\d+)/")


def guide(kind: str, seconds: int, folder: Path) -> None:
    """Feed a reader until the time is over. Never returns: the fuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["bench"]):
        from . import corpus, fuzz

        readers = fuzz.Readers(folder)
        readers.read_suite(fuzz.RICH.encode())  # plugins are imported when they are looked for
    read = getattr(readers, f"read_{kind}")
    seen: list[str] = []

    def feed(content: bytes) -> None:
        with fuzz.watched(folder, seen):
            read(content)
        assert not seen, seen

    seeds = folder / "seeds"
    seeds.mkdir()
    for number, content in enumerate(_seeds(kind, corpus, fuzz)):
        (seeds / str(number)).write_bytes(content)
    limits = [f"-max_total_time={seconds}", f"-timeout={SLOW_SECONDS}", "-max_len=20000", "-rss_limit_mb=4096"]
    atheris.Setup(["guided", *limits, "-print_final_stats=1", f"-artifact_prefix={folder}/", str(seeds)], feed)
    atheris.Fuzz()


def _seeds(kind: str, corpus: Any, fuzz: Any) -> list[bytes]:
    broken = corpus.read()
    if kind == "suite":
        return [corpus.BASE.encode(), fuzz.RICH.encode(), *(each.content for each in broken)]
    if kind == "record":
        stored = sorted((ROOT / "results" / "homework1").glob("*.json"), key=lambda path: path.stat().st_size)
        return [path.read_bytes() for path in stored[:20]]
    if kind in ("history", "benchmark"):
        return [b'{"values": {"a": {"b": 1}}}', b'{"benchmarks": [{"name": "a", "stats": {"data": [1.0]}}]}']
    typed = [word.encode() for each in broken for word in each.arguments if not word.startswith("--")]
    return [*(text.encode() for text in fuzz.EXPRESSIONS[kind]), *(typed if kind != "gate" else [])]


def run(kind: str, seconds: int) -> dict[str, Any]:
    """Guide a reader in a process of its own, and return what its last lines say."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = [sys.executable, "-m", "tests.faults.guided", kind, str(seconds), temporary]
        environment = {**os.environ, "BENCH_CACHE": str(folder / "results" / "cache")}
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace")
        found = _DONE.search(ended.stderr)
        crashed = ended.returncode != 0 or found is None
        if crashed:
            print(f"{shlex.join(command)}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}", file=sys.stderr)
            for path in folder.glob("*-*"):
                print(f"{path.name}: {path.read_bytes()[:2000]!r}", file=sys.stderr)
        inputs, edges, kept = map(int, found.groups()) if found else (0, 0, 0)
    return {"kind": kind, "inputs": inputs, "seconds": seconds, "edges": edges, "corpus": kept, "crashes": int(crashed)}


def main(seconds: int) -> int:
    from .fuzz import write

    rows = []
    for kind in KINDS:
        rows.append(run(kind, seconds))
        print(rows[-1], flush=True)
    write("guided", rows)
    return int(any(row["crashes"] for row in rows))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        logging.disable(logging.WARNING)
        os.chdir(sys.argv[3])
        guide(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    sys.exit(main(int(sys.argv[1])))

"""The commands of the gate: `bench compare`, `bench baseline` and `bench history`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import OptionError, UsageError, did_you_mean, nearest, printable_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.compare.history import Run
    from bench.record import Better, Record

# Columns of a line before a cell's title, and those of a pipe.
MARGIN, PIPE = 44, 200

baseline_app = typer.Typer(help="Keep what a suite gave, as text for git.", no_args_is_help=True)

history_app = typer.Typer(help="Follow a suite from commit to commit.", no_args_is_help=True)

Side = Annotated[str, typer.Argument(help="A results folder, a baseline, git:REF, or a pytest-benchmark file.")]
Results = Annotated[Path, typer.Option(help="The results folder.")]
Name = Annotated[str, typer.Argument(help="A suite's name: a folder of the results.", show_default=False)]
Only = Annotated[
    str, typer.Option(help="Cells to take: strategy=scratch|distill,size=100, or cell=ID.", show_default=False)
]


def compare(
    base: Side,
    new: Side,
    fail_on: Annotated[list[str] | None, typer.Option(help="A limit: accuracy:-1pp, latency_p50:+10%, status.")] = None,
    form: Annotated[str, typer.Option("--format", help="text, md, json, junit, github or badge.")] = "text",
    output: Annotated[Path | None, typer.Option(help="Write it there, and print the text.")] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Measure times anew: the base's code and this one take turns.")
    ] = False,
    base_code: Annotated[
        Path | None, typer.Option(help="The base's code, a folder; else the commit of its records.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of --confirm.")] = 9,
    results: Results = Path("results"),
) -> None:
    """Say what got worse from BASE to NEW: exit code 1 for a regression, 4 when nothing could be compared."""
    from bench import confirm as again
    from bench import sides
    from bench.compare.gate import compare as held_against
    from bench.compare.measures import DEFAULTS, parse
    from bench.compare.outputs import FORMATS, text
    from bench.tasks import every_metric

    if form not in FORMATS:
        hint = did_you_mean(nearest(form, FORMATS)) or f"; choose {', '.join(FORMATS)}"
        raise UsageError(f"--format {form}: there is no such form{hint}")
    if base.startswith(sides.GIT):
        after = sides.load(new, results)
        before = sides.load(base, results, sides.suite_of(after))
    else:
        before = sides.load(base, results)
        after = sides.load(new, results, sides.suite_of(before))
    metrics: dict[str, Better] = dict.fromkeys((name for r in (*before, *after) for name in r.metrics), "higher")
    metrics |= every_metric()
    asked, where = (fail_on, "--fail-on") if fail_on else (sides.gate_of(new) or sides.gate_of(base), "gate")
    try:
        limits, status = parse(asked or DEFAULTS, metrics)
    except OptionError as error:
        raise UsageError(f"{where}: {error}") from None
    suite = Path(new) / "suite.json"
    if confirm and not suite.is_file():
        raise UsageError(f"--confirm: {new} is no results folder, so what to run again is not known")
    gate = held_against(before, after, limits, status)
    if confirm and again.timed(limits):
        told = partial(print, file=sys.stderr, flush=True)
        with again.codes(before, base_code, told) as both:
            gate = again.confirmed(gate, limits, after, suite, both, rounds, told)
    if output is None:
        print(printable_lines(FORMATS[form](gate)), end="")
    else:
        try:
            output.write_text(FORMATS[form](gate), encoding="utf-8", newline="\n")
        except OSError as error:
            raise UsageError(f"--output {output}: cannot be written: {error.strerror}") from None
        print(printable_lines(text(gate)))
    raise typer.Exit(gate.exit_code)


@baseline_app.command("save")
def save(suite: Name, results: Results = Path("results")) -> None:
    """Keep the records of a suite as its baseline."""
    from bench import sides

    _keep(sides.baseline_path(results, suite), _run(suite, results))


@baseline_app.command("update")
def update(suite: Name, only: Only, results: Results = Path("results")) -> None:
    """Put some records of a suite in the place of those that its baseline has, and keep the others."""
    from bench import sides
    from bench.only import kept

    path = sides.baseline_path(results, suite)
    before, made = _read(path), _run(suite, results)
    # What the expression names goes, also where a cell has another identity now; what it names of the run comes.
    chosen = kept(only, [record.cell for record in (*before, *made)])
    new = [record for record in made if record.cell_id in chosen]
    if not new:
        raise UsageError(f"--only {only}: none of these cells has a record in {results / suite}")
    gone = [r.cell_id for r in before if r.cell_id in chosen and r.cell_id not in {n.cell_id for n in new}]
    _keep(path, [*(record for record in before if record.cell_id not in chosen), *new])
    if gone:
        print(f"the last run has no record of {len(gone)} of them, which are gone: {', '.join(gone)}")


def _keep(path: Path, records: Sequence[Record]) -> None:
    from bench.compare import baseline
    from bench.store import write_text

    write_text(path, baseline.text(records))
    print(f"{path}: {len(records)} cells, {path.stat().st_size / 1000:.0f} kB")
    bad = [record for record in records if record.status not in ("ok", "skipped")]
    if bad:
        print(f"{len(bad)} of them did not end ok: the gate will not miss them")


@baseline_app.command("export")
def export(
    suite: Name,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("latencies.json"),
    results: Results = Path("results"),
) -> None:
    """Write the latencies of a suite as a file of pytest-benchmark, for the tools that read it."""
    from bench.compare import pytest_benchmark
    from bench.store import write_text

    records = _run(suite, results)
    write_text(output, pytest_benchmark.text(records))
    print(f"{output}: {sum(len(record.latency) for record in records)} latencies")


@baseline_app.command("list")
def list_baselines(results: Results = Path("results")) -> None:
    """Show the baselines that there are."""
    from bench import sides

    paths = sorted((results / sides.BASELINES).glob("*.jsonl"))
    if not paths:
        print(f"no baselines in {results / sides.BASELINES}; `bench baseline save SUITE` makes one")
    for path in paths:
        records = _read(path)
        commits = {str(r.environment.get("git_commit"))[:7] for r in records if r.environment.get("git_commit")}
        machines = {str(r.environment.get("cpu")) for r in records if r.environment.get("cpu")}
        where = ", ".join([*sorted(machines), *(f"commit {commit}" for commit in sorted(commits))])
        print(printable_lines(f"{path.stem:<24} {len(records):>5} cells  {where}"))


@baseline_app.command("show")
def show(suite: Name, results: Results = Path("results")) -> None:
    """Show what a baseline holds, a line a cell."""
    from bench import sides
    from bench.naming import titles

    path = sides.baseline_path(results, suite)
    records = _read(path)
    named = titles([record.cell for record in records])
    room = max(shutil.get_terminal_size((PIPE, 24)).columns - MARGIN, 20)
    for record in records:
        first = next((f"{name} {value:.4f}" for name, value in record.metrics.items() if value is not None), "")
        start = f"{record.cell_id}  {record.status:<12}{first:<18}"
        for part in textwrap.wrap(named[record.cell_id], room):
            print(printable_lines(f"{start:<{MARGIN}}{part}"))
            start = ""


def _run(suite: str, results: Path) -> list[Record]:
    """Return the records of a suite in a results folder, by its name."""
    from bench import sides

    if not (results / suite).is_dir():
        known = sorted(path.parent.name for path in results.glob("*/suite.json"))
        hint = did_you_mean(nearest(Path(suite).stem, known)) or f"; it has {', '.join(known) or 'none'}"
        raise UsageError(f"{suite}: is the name of no suite in {results}{hint}")
    return sides.load(str(results / suite), results)


def _read(path: Path) -> list[Record]:
    from bench.compare import baseline

    return baseline.read(_text(path, f"`bench baseline save {path.stem}` makes it"), str(path))


def _text(path: Path, hint: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: is not there; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None


@history_app.command("add")
def add(suite: Name, results: Results = Path("results")) -> None:
    """Put the records of a suite into its history, under the commit that they were made with."""
    from bench import sides
    from bench.compare import history
    from bench.store import write_text

    path = sides.history_path(results, suite)
    before = _history(path) if path.exists() else []
    runs = history.added(before, history.run_of(_run(suite, results)))
    write_text(path, "".join(history.line(run) for run in runs))
    print(f"{path}: {len(runs)} run{'s' * (len(runs) != 1)}")


@history_app.command("show")
def show_history(
    suite: Name,
    measure: Annotated[str | None, typer.Option(help="One measure: accuracy, seconds_train, ...")] = None,
    results: Results = Path("results"),
    reports: Annotated[Path | None, typer.Option(help="Write a page with figures into SUITE-history there.")] = None,
) -> None:
    """Show the series that changed their level and the commit with which they did, or every one of a measure."""
    from bench import sides
    from bench.asked import writing
    from bench.compare import history
    from bench.report import timeline, write_history

    found = history.series(_history(sides.history_path(results, suite)))
    known = sorted({each.measure for each in found})
    if measure is not None and measure not in known:
        raise UsageError(f"--measure {measure}: the history has none{did_you_mean(nearest(measure, known))}")
    print(printable_lines(timeline.as_text(found, measure)))
    if reports is not None:
        with writing(reports):
            print(write_history(suite, found, reports / f"{suite}-history"))


def _history(path: Path) -> list[Run]:
    from bench.compare import history

    return history.read(_text(path, f"`bench history add {path.stem}` begins it"), str(path))

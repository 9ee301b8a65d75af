"""The command line. Every command is a few lines over the same functions that `import bench` gives."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from bench import gating, predicting
from bench.asked import Asked, check_writable, write_beside, write_report
from bench.cell import IDENTITY_VERSION
from bench.errors import BenchError, OptionError, UsageError, did_you_mean, nearest, printable_lines

if TYPE_CHECKING:
    from bench.planner import Plan
    from bench.schedule import Status
    from bench.store import Store

INTERRUPTED, NOT_ALL_OK = 130, 3
# Lines of text that are longer are hard to read.
WIDEST = 110
ENGINES = ("local",)
# What a wrong command line raises. Older releases of typer take the class from click, newer ones bring their own.
WrongUsage: Any = typer.BadParameter.__base__

app = typer.Typer(
    help="Which transfer-learning strategy, on your data, at your budget, and at what cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Get data.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(gating.baseline_app, name="baseline")
app.add_typer(gating.history_app, name="history")
app.command()(gating.compare)
app.command()(predicting.predict)

SuiteFile = Annotated[Path, typer.Argument(help="The suite, a YAML file.", show_default=False)]
Profile = Annotated[str | None, typer.Option(help="A profile of the suite.")]
Only = Annotated[str | None, typer.Option(help="Cells to keep: strategy=scratch|distill,size=100, or cell=ID.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the suite: recipe.epochs=5")]
CellId = Annotated[str, typer.Argument(help="A cell id, or its beginning.", show_default=False)]
Results = Annotated[Path, typer.Option(help="The results folder.")]
Reports = Annotated[Path, typer.Option(help="The reports folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    suite: SuiteFile,
    profile: Profile = None,
    only: Only = None,
    settings: Settings = None,
    engine: Annotated[str, typer.Option(help="Where cells run: local.")] = "local",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
    force: Annotated[bool, typer.Option(help="Run cells again that are already there.")] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits every time, on a GPU too: slower.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write the report at the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Plan, run what is missing, report."""
    from bench import overview, schedule
    from bench.engines.device import DEVICES
    from bench.terminal import busy

    _one_of("--device", device, DEVICES)
    _one_of("--engine", engine, ENGINES)
    asked = _asked(suite, profile, only, settings, results)
    plan, store = asked.plan()
    store.check(writing=True)
    if report:
        check_writable(reports)
    before = schedule.status(plan, store, force)
    stream = sys.stderr if as_json else sys.stdout
    for line in overview.beginning(before):
        print(line, file=stream)
    ran, interrupted = _run_missing(plan, store, before, device, stream, force, deterministic, report)
    after = schedule.status(plan, store) if before.missing else before
    records = overview.records(plan, store) if as_json or (report and not interrupted) else []
    page = None
    if report and not interrupted:
        with busy("writing the report", stream):
            page = write_report(asked.study(plan, records), reports)
    if as_json:
        _print_json({"ran": ran, "records": [r.to_json() for r in records]})
    else:
        _say("\n".join([*overview.ended(ran, plan, after), *([f"report: {page}"] if page else [])]))
    if interrupted:
        again = "the same command goes on from here" if not force else "the command without --force goes on from here"
        left = len(before.missing) - ran if force else len(after.missing)
        _note(f"interrupted: {overview.cells(left)} still to run; {again}")
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(NOT_ALL_OK if overview.not_ok(after) else 0)


def _run_missing(
    plan: Plan,
    store: Store,
    before: Status,
    device: str,
    stream: TextIO,
    force: bool,
    deterministic: bool,
    report: bool,
) -> tuple[int, bool]:
    """Run what is missing, and explain; return how many cells ran, and whether the run was interrupted.

    For a `report` the data are surveyed as well.
    """
    from bench import schedule
    from bench.engines.device import resolve_device
    from bench.session import complete, here, is_complete, wanted_surveys
    from bench.terminal import busy, listener

    surveys = wanted_surveys(plan, store) if report else {}
    if is_complete(plan, store, before) and not (surveys := here(surveys)):
        return 0, False
    try:
        with busy("looking for a device", stream):
            chosen = resolve_device(device)
        with listener(plan.titles, stream) as told:
            return len(complete(plan, store, before.missing, chosen, told, force, deterministic, surveys)), False
    except schedule.Interrupted as stopped:
        return stopped.ran, True
    except KeyboardInterrupt:
        return 0, True


@app.command()
def plan(
    suite: SuiteFile,
    profile: Profile = None,
    only: Only = None,
    settings: Settings = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Show every cell: cached, to run, or skipped and why."""
    from bench import overview, schedule

    planned, store = _asked(suite, profile, only, settings, results).plan()
    found = overview.rows(planned, schedule.status(planned, store))
    if as_json:
        _print_json(overview.to_json(planned, found))
    else:
        _say(overview.text(planned, found))


@app.command("report")
def report_command(
    suites: Annotated[list[Path], typer.Argument(metavar="SUITE...", help="The suite, or with --compare two.")],
    compare: Annotated[
        bool, typer.Option("--compare", help="Put two side by side: suites, or results folders of runs.")
    ] = False,
    profile: Profile = None,
    only: Only = None,
    settings: Settings = None,
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
) -> None:
    """Write the report again from the stored records, or put two side by side."""
    wanted = 2 if compare else 1
    if len(suites) != wanted:
        hint = "" if compare or len(suites) != 2 else "; --compare puts two side by side"
        raise UsageError(f"bench report{' --compare' * compare}: {wanted} asked for, {len(suites)} given{hint}")
    asked = _asked(suites[0], profile, only, settings, results)
    print(write_beside(suites, asked, reports) if compare else write_report(asked.stored(), reports))


@app.command()
def advise(
    suite: SuiteFile,
    size: Annotated[int | None, typer.Option(help="Labelled examples; the nearest size that was measured.")] = None,
    max_latency_ms: Annotated[float | None, typer.Option(help="Latency of one input, in milliseconds.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Standalone seconds of training.")] = None,
    max_params: Annotated[float | None, typer.Option(help="Parameters of the model: 5e6.")] = None,
    profile: Profile = None,
    only: Only = None,
    settings: Settings = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Say which strategy to take within limits, how sure that is, and what is as good for less."""
    from bench.report.choice import Limits
    from bench.report.counsel import advised

    asked = {"size": size, "max-latency-ms": max_latency_ms, "max-seconds": max_seconds, "max-params": max_params}
    for name, limit in asked.items():
        if limit is not None and not 0 < limit < math.inf:
            raise UsageError(f"--{name} must be a number above 0, not {limit:g}")
    study = _asked(suite, profile, only, settings, results).stored()
    found = advised(study, Limits(max_latency_ms, max_seconds, max_params), size)
    if as_json:
        _print_json([counsel.json for counsel in found])
        return
    width = min(shutil.get_terminal_size().columns, WIDEST)
    _say("\n\n".join(counsel.text(width) for counsel in found))


@app.command()
def why(
    cell: CellId,
    suite: Annotated[Path | None, typer.Option(help="A suite that plans the cell: it need not have run.")] = None,
    profile: Profile = None,
    settings: Settings = None,
    results: Results = Path("results"),
) -> None:
    """Say what a cell's id is made of, and which field sets it apart from the nearest stored one."""
    from bench import explain

    stored = {r.cell_id: r.cell for r in explain.every_record(results)}
    planned, where = {}, str(results)
    if suite is not None:
        planned = {e.cell.id: e.cell for e in _asked(suite, profile, None, settings, results).plan()[0].entries}
        where = f"{results} or {suite}"
    cells = stored | planned
    found = cells[explain.find_id(cell, cells, where)]
    _print_json({"cell_id": found.id, "identity_version": IDENTITY_VERSION, **found.identity()})
    near = explain.nearest_cell(found, stored.values())
    if near is not None:
        _say(f"nearest stored cell: {near.id}")
        for line in explain.differences(found, near):
            _say(f"  {line}")


@app.command()
def show(cell: CellId, results: Results = Path("results")) -> None:
    """Show a record as JSON."""
    from bench import explain

    records = {r.cell_id: r for r in explain.every_record(results)}
    _print_json(records[explain.find_id(cell, records, str(results))].to_json())


@app.command("list")
def list_command(
    kind: Annotated[str, typer.Argument(help="datasets, backbones, strategies or tasks.")],
    filter: Annotated[str, typer.Option(help="Names to show, with * and ?.")] = "*",
    as_json: AsJson = False,
) -> None:
    """Show what can be named, where it comes from, and what it needs."""
    from bench.catalogue import KINDS, lines, rows

    _one_of("list", kind, KINDS)
    if as_json:
        _print_json(list(rows(kind, filter)))
        return
    for line in lines(kind, filter):
        print(line, flush=True)


@data_app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="A data set.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="OPTION=VALUE of the data set: subset=dermamnist")
    ] = None,
) -> None:
    """Get a data set from its sources and verify it."""
    from bench.datasets import datasets
    from bench.document import parse

    options = {}
    for setting in settings or ():
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting}: write it as OPTION=VALUE, for example subset=dermamnist")
        options[key.strip()] = parse(text, f"--set {setting}", mapping=False).data["value"]
    try:
        dataset = datasets.create({**options, "name": name})
    except OptionError as error:
        hint = "; give it as --set OPTION=VALUE, or name it in a suite, and `bench run` gets what it needs"
        raise UsageError(f"{error}{hint * (not error.path)}") from None
    dataset.fetch()
    print(f"{name} is here")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a suite, for editors."""
    from bench.schema import suite_schema

    _print_json(suite_schema())


@app.command()
def doctor(
    suite: Annotated[Path | None, typer.Argument(help="A suite that is to run.", show_default=False)] = None,
    profile: Profile = None,
    settings: Settings = None,
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend first what is safe to mend, and fetch missing data.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the installation, the machine, the folders, and what a suite needs."""
    if suite is None and (profile or settings):
        raise UsageError("bench doctor: --profile and --set go with a SUITE")
    asked = None if suite is None else _asked(suite, profile, None, settings, results)
    try:
        from bench.doctor import Places, examine, text
        from bench.terminal import busy, has_colours

        with busy("looking", sys.stderr):
            found = examine(Places(results, reports), asked, fix)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "bench":
            raise
        print(f"x problem  {error.name} is not installed: python -m pip install transfer-bench", file=sys.stderr)
        raise typer.Exit(NOT_ALL_OK) from None
    if as_json:
        _print_json({"findings": [asdict(f) for f in found.findings], "done": found.done})
    else:
        for line in found.done:
            _say(line)
        width = min(shutil.get_terminal_size().columns, WIDEST)
        print("\n" * bool(found.done) + text(found.findings, width, has_colours(sys.stdout)))
    raise typer.Exit(0 if found.well else NOT_ALL_OK)


def _asked(suite: Path, profile: str | None, only: str | None, settings: list[str] | None, results: Path) -> Asked:
    return Asked(suite, profile, only, tuple(settings or ()), results)


def _one_of(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        choice = f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else known[0]
        raise UsageError(f"{option} {value}: choose {choice}")


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=asdict))


def _told_to_end(number: int, frame: object) -> None:
    """End as by Ctrl-C: what is finished is kept, the worker goes, and the record of the cell in flight says so."""
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(printable_lines(text))


def _note(text: str) -> None:
    print(printable_lines(text), file=sys.stderr)


def _wrong_usage(error: Any) -> str:
    """Say in one line what is wrong with a command line, and the nearest right word."""
    words = " ".join(error.format_message().split())
    words = re.split(r" \(Possible options| Did you mean", words)[0].rstrip(".")
    words = words[:1].lower() + words[1:]
    if error.ctx is None:
        return words
    wrong, known = getattr(error, "option_name", None), [o for p in error.ctx.command.params for o in p.opts]
    if words.startswith("no such command"):
        wrong, known = words.split("'")[1], error.ctx.command.list_commands(error.ctx)
    hint = did_you_mean(nearest(wrong, known, 1)) if wrong else f"; see {error.ctx.command_path} --help"
    return f"{error.ctx.command_path}: {words}{hint}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: a user's mistake is one line and its exit code, a bug is a traceback."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    signal.signal(signal.SIGTERM, _told_to_end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = app(arguments, prog_name="bench", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code or 0)
    except WrongUsage as error:
        if error.format_message():  # without: a command that shows its help when it is given nothing
            _note(f"error: {_wrong_usage(error)}")
        sys.exit(error.exit_code)
    except BenchError as error:
        _note(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)

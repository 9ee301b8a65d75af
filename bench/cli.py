"""The command line. Every command is a few lines over the same functions that `import bench` gives."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import BenchError, UsageError, did_you_mean, nearest

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.record import Record
    from bench.schedule import Status
    from bench.store import Store

INTERRUPTED, NOT_ALL_OK = 130, 3
DEVICES = ("auto", "cpu", "cuda")
ENGINES = ("local",)

app = typer.Typer(
    help="Which transfer-learning strategy, on your data, at your budget, and at what cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Get data.", no_args_is_help=True)
app.add_typer(data_app, name="data")

SuiteFile = Annotated[Path, typer.Argument(help="The suite, a YAML file.", show_default=False)]
Profile = Annotated[str | None, typer.Option(help="A profile of the suite.")]
Only = Annotated[str | None, typer.Option(help="Cells to keep: strategy=scratch|distill,size=100")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the suite: recipe.epochs=5")]
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
    report: Annotated[bool, typer.Option(help="Write the report at the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Plan, run what is missing, report."""
    from bench import schedule
    from bench.engines.local import LocalEngine, resolve_device
    from bench.terminal import listener

    _one_of("--device", device, DEVICES)
    _one_of("--engine", engine, ENGINES)
    plan, store = _plan(suite, profile, only, settings, results)
    before = schedule.status(plan, store, force)
    if not as_json:
        _say_start(before)
    interrupted = False
    if before.missing:
        with store.lock(), LocalEngine(resolve_device(device)) as local:
            store.write_suite(plan.suite.resolved())
            with listener(plan.titles, quiet=as_json) as told:
                try:
                    schedule.run(plan, store, local, told, force)
                except KeyboardInterrupt:
                    interrupted = True
                    local.stop()
    left = schedule.status(plan, store).missing if interrupted else ()
    records = _records(plan, store)
    page = _report(plan, records, suite, profile, reports) if report and not interrupted else None
    ran = len(before.missing) - len(left)
    if as_json:
        _print_json({"ran": ran, "records": [r.to_json() for r in records]})
    else:
        _say_end(ran, records, page)
    if interrupted:
        _note(f"interrupted: {len(left)} cells are still to run; the same command goes on from here")
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(NOT_ALL_OK if any(r.status not in ("ok", "skipped") for r in records) else 0)


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
    from bench import schedule
    from bench.terminal import duration

    planned, store = _plan(suite, profile, only, settings, results)
    now = schedule.status(planned, store)
    cells = [e.cell for e in now.missing]
    expected = schedule.estimate(cells, now.records.values())
    seconds = dict(zip((c.id for c in cells), expected, strict=True))
    states = {
        e.cell.id: "skipped" if e.skip else "to run" if e.cell.id in seconds else "cached" for e in planned.entries
    }
    if as_json:
        rows = [
            {
                "cell_id": e.cell.id,
                "state": states[e.cell.id],
                "role": e.role,
                "reason": e.skip,
                "estimate_seconds": seconds.get(e.cell.id),
                "cell": e.cell.identity(),
            }
            for e in planned.entries
        ]
        _print_json({"suite": planned.suite.suite, "cells": rows})
        return
    titles = planned.titles
    for entry in planned.entries:
        expects = seconds.get(entry.cell.id)
        notes = [
            f"({entry.role})" if entry.role else "",
            "" if expects is None else f"about {duration(expects)}",
            entry.skip,
        ]
        words = [entry.cell.id, f"{states[entry.cell.id]:<7}", titles[entry.cell.id], *(n for n in notes if n)]
        print("  ".join(words))
    counts = {s: sum(state == s for state in states.values()) for s in ("cached", "to run", "skipped")}
    whole = schedule.total(expected)
    left = (
        ""
        if not cells
        else "; no estimate: nothing like it has run yet"
        if whole is None
        else f"; about {duration(whole)}"
    )
    print(", ".join(f"{n} {s}" for s, n in counts.items()) + left)


@app.command("report")
def report_command(
    suite: SuiteFile,
    profile: Profile = None,
    only: Only = None,
    settings: Settings = None,
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
) -> None:
    """Write the report again from the stored records."""
    planned, store = _plan(suite, profile, only, settings, results)
    records = _records(planned, store)
    if all(r.status == "skipped" for r in records):
        raise UsageError(f"{store.folder}: there are no records of this suite yet; `bench run {suite}` makes them")
    print(_report(planned, records, suite, profile, reports))


@app.command()
def why(
    cell: Annotated[str, typer.Argument(help="A cell id, or its beginning.")], results: Results = Path("results")
) -> None:
    """Say what a cell's id is made of, and which field sets it apart from the nearest stored one."""
    from bench.explain import differences, distance

    found, others = _find(cell, results)
    _print_json(found.cell.identity())
    near = min(
        (o for o in others if o.cell_id != found.cell_id), key=lambda o: distance(found.cell, o.cell), default=None
    )
    if near is not None:
        print(f"nearest stored cell: {near.cell_id}")
        for line in differences(found.cell, near.cell):
            print(f"  {line}")


@app.command()
def show(
    cell: Annotated[str, typer.Argument(help="A cell id, or its beginning.")], results: Results = Path("results")
) -> None:
    """Show a record as JSON."""
    _print_json(_find(cell, results)[0].to_json())


@app.command("list")
def list_command(
    kind: Annotated[str, typer.Argument(help="datasets, backbones, strategies or tasks.")],
    filter: Annotated[str, typer.Option(help="Names to show, with * and ?.")] = "*",
    as_json: AsJson = False,
) -> None:
    """Show what can be named, where it comes from, and what it needs."""
    from bench.catalogue import KINDS, rows

    _one_of("list", kind, KINDS)
    found = rows(kind, filter)
    if as_json:
        _print_json(found)
        return
    if not found:
        raise UsageError(f"no {kind} match {filter!r}")
    from tabulate import tabulate

    print(tabulate(found, headers="keys", tablefmt="simple", intfmt=",", missingval="–"))


@data_app.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="A data set.")]) -> None:
    """Get a data set from its sources and verify it."""
    from bench.datasets import datasets

    datasets.create({"name": name}).fetch()
    print(f"{name} is here")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a suite, for editors."""
    from bench.schema import suite_schema

    _print_json(suite_schema())


@app.command()
def doctor() -> None:
    """Check the installation: packages, device, threads, weights."""
    from bench.catalogue import health

    for name, value in health().items():
        print(f"{name:<22} {value}")


def _plan(
    suite: Path, profile: str | None, only: str | None, settings: list[str] | None, results: Path
) -> tuple[Plan, Store]:
    from bench.plan import expand
    from bench.store import Store
    from bench.suite import load

    planned = expand(load(suite, profile, settings or ()), only)
    store = Store(results, planned.suite.suite)
    store.check()
    return planned, store


def _records(plan: Plan, store: Store) -> list[Record]:
    """Return a record for every planned cell that was run or is skipped, in the plan's order."""
    from bench.record import Record

    stored = store.read_all(e.cell.id for e in plan.runnable)
    skipped = {
        e.cell.id: Record(e.cell.id, plan.suite.suite, e.cell, "skipped", e.skip) for e in plan.entries if e.skip
    }
    every = stored | skipped
    return [every[e.cell.id] for e in plan.entries if e.cell.id in every]


def _report(plan: Plan, records: list[Record], suite: Path, profile: str | None, reports: Path) -> Path:
    from bench.report import Study, write

    command = f"bench run {suite}" + (f" --profile {profile}" if profile else "")
    study = Study(plan.suite.resolved(), plan.primary, tuple(records), plan.parents, command)
    return write(study, reports / plan.suite.suite)


def _find(cell: str, results: Path) -> tuple[Record, list[Record]]:
    from bench.store import Store

    suites = sorted(p.name for p in results.iterdir() if p.is_dir()) if results.is_dir() else []
    every = [record for suite in suites for record in Store(results, suite).every()]
    found = [r for r in every if r.cell_id.startswith(cell)]
    if not found:
        raise UsageError(f"no cell {cell!r} in {results}{did_you_mean(nearest(cell, (r.cell_id for r in every)))}")
    return found[0], every


def _say_start(now: Status) -> None:
    """Say what is there already, and that records without their predictions are measured again."""
    done = [r for r in now.records.values() if r.status == "ok"]
    alone = {e.cell.id for e in now.missing} & {r.cell_id for r in done}
    if alone:
        print(
            f"{len(alone)} records came without their predictions, from another machine: they are measured again here"
        )
    if len(done) > len(alone):
        print(f"{len(done) - len(alone)} cells are done already")


def _say_end(ran: int, records: list[Record], page: Path | None) -> None:
    counts = {s: sum(r.status == s for r in records) for s in sorted({r.status for r in records})}
    print(f"{ran} cells run; " + ", ".join(f"{n} {s}" for s, n in counts.items()))
    if page is not None:
        print(f"report: {page}")


def _one_of(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"{option} {value}: it is {' or '.join(known)}{did_you_mean(nearest(value, known))}")


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=asdict))


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    """Run the command line: a user's mistake is one line and its exit code, a bug is a traceback."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        app()
    except BenchError as error:
        _note(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)

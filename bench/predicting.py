"""`bench predict`: what a stored cell takes new inputs for, by the weights that it has kept. Control half."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import DataError, EngineError, UsageError, printable, printable_lines
from bench.given import INPUTS, Given

if TYPE_CHECKING:
    import pandas as pd

    from bench.record import Record

NOT_ALL_READ = 3
# Columns of a line before the name of a file, at most.
LABEL = 28


@dataclass(frozen=True)
class Answer:
    """What one input was taken for: names of classes with their probabilities, highest first; or its `problem`."""

    name: str
    top: tuple[tuple[str, float], ...] = ()
    problem: str | None = None

    def row(self, top: int) -> dict[str, Any]:
        """Return one row of a table: name, label, probability, label_2, probability_2, ..., problem."""
        found: dict[str, Any] = {"input": self.name}
        for place in range(top):
            ending = f"_{place + 1}" if place else ""
            label, probability = self.top[place] if place < len(self.top) else (None, None)
            found |= {f"label{ending}": label, f"probability{ending}": probability}
        return {**found, "problem": self.problem}


def predict(
    cell: Annotated[str, typer.Argument(help="A cell id, or its beginning.", show_default=False)],
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Pictures, folders of them, patterns; or .txt files, a text a line."),
    ] = None,
    texts: Annotated[list[str] | None, typer.Option("--text", help="A text; may be given many times.")] = None,
    table: Annotated[
        Path | None, typer.Option("--csv", help="A table of texts, or of pictures' paths from its folder on.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="The column of the table that has them.", show_default="text, or path")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the answers there, as CSV.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each, the likeliest first.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a trained cell takes new pictures or texts for: 3 when some could not be read, 2 when none could."""
    from bench.terminal import counting

    given = Given(paths or [], texts or [], table, column)
    with counting(sys.stderr) as count:
        answers = asked(cell, given, results, device, top, count)
    broken = [answer for answer in answers if answer.problem is not None]
    if out is not None:
        _write(out, answers, top)
    if as_json:
        print(json.dumps([_json(answer) for answer in answers], indent=2))
    elif out is None:
        print(text(answers, shutil.get_terminal_size().columns))
    for answer in broken:
        print(f"{printable(answer.name)}: {printable(answer.problem or '')}", file=sys.stderr)
    if len(broken) == len(answers):
        raise DataError(f"none of {len(answers)} could be read" if len(answers) > 1 else "it could not be read")
    raise typer.Exit(NOT_ALL_READ if broken else 0)


def asked(
    cell: str,
    given: Given,
    results: Path,
    device: str,
    top: int,
    count: Callable[[int, int], None],
) -> list[Answer]:
    """Return the answers of a cell, by its id or the beginning of it. Raises BenchError.

    `count` is told how many inputs of how many are done.
    """
    from bench import explain
    from bench.datasets import datasets
    from bench.engines import errands
    from bench.engines.device import resolve_device
    from bench.engines.local import LocalEngine

    records = {record.cell_id: record for record in explain.every_record(results)}
    record = records[explain.find_id(cell, records, str(results))]
    weights = _weights(record, results)
    modality = datasets.get(record.cell.dataset["name"]).modality
    if modality not in INPUTS:
        raise UsageError(f"{record.cell_id} learnt from {modality}: such inputs cannot be given yet")
    inputs = INPUTS[modality](given)
    job = {"cell": record.cell.to_json(), "weights": str(weights.absolute()), "inputs": inputs, "top": top}

    def watch(message: dict[str, Any]) -> None:
        if message["kind"] == "read":
            count(message["count"], len(inputs))

    chosen = resolve_device(device)
    with LocalEngine(chosen) as engine:
        said = engine.ask(errands.predict, job, watch)
    if "problem" in said:
        raise EngineError(said["problem"])
    return [_answer(name, answer, said["classes"]) for name, answer in zip(inputs, said["answers"], strict=True)]


def frame(answers: Sequence[Answer], top: int) -> pd.DataFrame:
    """Return answers as a pandas frame, one row an input."""
    import pandas as pd

    return pd.DataFrame([answer.row(top) for answer in answers])


def text(answers: Sequence[Answer], width: int) -> str:
    """Return answers as lines of at most `width` columns: probability, class, input, and what else it may be."""
    read = [answer for answer in answers if answer.problem is None]
    wide = min(max((len(answer.top[0][0]) for answer in read), default=0), LABEL)
    lines = []
    for answer in read:
        label, probability = answer.top[0]
        rest = ", ".join(f"{name} {p:.3f}" for name, p in answer.top[1:])
        words = f"{probability:.3f}  {label:<{wide}}  {answer.name}" + f"  (then {rest})" * bool(rest)
        lines += textwrap.wrap(
            printable(words), max(width, 20), subsequent_indent=" " * 9, drop_whitespace=False, break_on_hyphens=False
        )
    return printable_lines("\n".join(line.rstrip() for line in lines))


def _answer(name: str, said: Mapping[str, Any], classes: Sequence[str]) -> Answer:
    from bench.datasets.image_folder import shown

    top = tuple((classes[number], probability) for number, probability in said.get("top", ()))
    return Answer(shown(name), top, said.get("problem"))


def _json(answer: Answer) -> dict[str, Any]:
    label, probability = answer.top[0] if answer.top else (None, None)
    top = [{"label": name, "probability": p} for name, p in answer.top]
    return {"input": answer.name, "label": label, "probability": probability, "top": top, "problem": answer.problem}


def _write(path: Path, answers: Sequence[Answer], top: int) -> None:
    from bench.store import write_text

    held = io.StringIO()
    rows = [answer.row(min(top, max(len(a.top) for a in answers) or 1)) for answer in answers]
    table = csv.DictWriter(held, rows[0], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, held.getvalue())


def _weights(record: Record, results: Path) -> Path:
    """Return the file of a cell's weights. Raises UsageError, which says how to have them."""
    from bench.store import Store

    name = record.cell_id
    if record.status != "ok":
        raise UsageError(f"{name} is {record.status}, so it has no trained model: {record.reason}")
    rounds = record.details.get("rounds", 1)
    if rounds != 1:
        raise UsageError(f"{name} trained {rounds} models, one in each round: there is none to be asked")
    suites = [record.suite, *sorted(path.name for path in results.glob("*/") if path.name != record.suite)]
    for suite in suites:
        path = Store(results, suite).trained(name)
        if path is not None:
            return path
    words = ["bench", "run", str(results / record.suite / "suite.json"), "--only", f"cell={name}", "--set"]
    words += ["weights=all", "--no-report"] + (["--results", str(results)] if results != Path("results") else [])
    raise UsageError(f"the weights of {name} were not kept, or are damaged; this makes them: {shlex.join(words)}")

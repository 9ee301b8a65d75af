"""What the explorer of the HTML page is made from: every cell as plain JSON, and the two libraries that show them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from bench.record import Record
from bench.report.canvas import MARKERS
from bench.report.evidence import MOST_ROWS
from bench.report.figures import colour, dash_of
from bench.report.study import Line, Section, Study, place_labels, value
from bench.report.trade import COSTS
from bench.report.units import listing, metric

# Vega's names of the markers that the figures have.
SHAPES = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "^": "triangle-up",
    "v": "triangle-down",
    "P": "cross",
    "X": "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",
    "<": "triangle-left",
    ">": "triangle-right",
    "h": "M0,-1L.87,-.5L.87,.5L0,1L-.87,.5L-.87,-.5Z",
    "*": "M0,-1L.25,-.3L1,-.3L.4,.15L.6,.9L0,.45L-.6,.9L-.4,.15L-1,-.3L-.25,-.3Z",
    "p": "M0,-1L.95,-.3L.6,.8L-.6,.8L-.95,-.3Z",
}


# The records of a page take so many bytes at most.
MOST_BYTES = 2_500_000
# Vega's dashes for the line styles that the figures have.
DASHES: dict[str, list[int]] = {"-": [1, 0], "--": [6, 3], "-.": [6, 3, 2, 3], ":": [2, 2]}


class Home(NamedTuple):
    """Where a record stands on the page: its line, its data, and the backbones that it stands beside."""

    line: Line
    dataset: str
    backbone: str


class Libraries(NamedTuple):
    """The libraries of the explorer: Vega-Lite with its embedder (a script that leaves them in `window`), DataTables
    (a module), and its style.
    """

    charts: str
    tables: str
    style: str


@cache
def libraries() -> Libraries:
    """Return the libraries as the packages vl-convert-python and itables ship them, to be written into a page."""
    import vl_convert

    spec = find_spec("itables")  # its files are wanted, and not the half of a notebook that importing it brings
    assert spec is not None
    assert spec.origin is not None
    shipped = Path(spec.origin).parent / "html"
    script, style = ((shipped / f"dt_bundle.{ending}").read_text(encoding="utf-8") for ending in ("js", "css"))
    charts: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub wants what is optional
    return Libraries(charts, script, style)


def data(study: Study, found: Sequence[Section]) -> str:
    """Return the cells of a study as JSON that can stand in a script: one list a column, rows in the study's order.

    A study of not too many cells has each record as well, less what is long and on the page already.
    """
    homes = _homes(found)
    held = [r for r in study.records if r.cell_id in homes]
    lines = list({home.line.label: home.line for home in homes.values()}.values())
    metrics = list(dict.fromkeys(name for r in held for name in r.metrics))
    shown = [*_words(homes), *_metrics(metrics, study.primary), *_costs(), *_ends()]
    body = {
        "primary": f"metrics.{study.primary}",
        "command": study.command,
        "strategies": [
            {"name": ln.label, "colour": colour(ln), "shape": _shape(ln), "dash": DASHES[dash_of(ln)]} for ln in lines
        ],
        "columns": [_coded(given, [given.of(r) for r in held]) for given in shown],
        **_records(held),
    }
    # Whatever a name holds, no "</script>" may end the script that this stands in.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


class Shown(NamedTuple):
    """A column of the explorer's table. `kind` is "text", "whole", "number", or the unit of a cost."""

    key: str
    title: str
    kind: str
    of: Callable[[Record], Any]


def _coded(column: Shown, values: list[Any]) -> dict[str, Any]:
    """Return a column; of text each word once, and numbers as precisely as anyone looks at them."""
    head = {"key": column.key, "title": column.title, "kind": column.kind}
    if column.kind == "text" and column.key != "cell_id":
        words = list(dict.fromkeys(values))
        places = {word: i for i, word in enumerate(words)}
        return {**head, "words": words, "values": [places[value] for value in values]}
    return {**head, "values": [float(f"{v:.6g}") if isinstance(v, float) else v for v in values]}


def _records(held: Sequence[Record]) -> dict[str, Any]:
    """Return the records themselves, and what had to be left out to keep the page small."""
    kept = [_short(r) for r in held] if len(held) <= MOST_ROWS else []
    left_out: list[str] = [] if kept or not held else ["records"]
    for what in ("confusions", "curves", "records"):
        if sum(len(json.dumps(record)) for record in kept) <= MOST_BYTES:
            break
        left_out.append(what)
        for record in kept:
            record["details"].pop("confusion", None)
            record["curve"] = record["curve"] if what == "confusions" else []
        kept = [] if what == "records" else kept
    told = f"{listing(left_out)} left out, `bench show CELL` has them" if left_out else None
    return {"records": kept, "left_out": told}


def _homes(found: Sequence[Section]) -> dict[str, Home]:
    """Return where each record stands; one that stands in several sections is told once, with all its backbones."""
    homes: dict[str, Home] = {}
    held = {r.cell_id: r for section in found for line in section.rows for r in line.records}
    places = dict(zip(held, place_labels(list(held.values())), strict=True))
    for section in found:
        for line in section.rows:
            for record in line.records:
                backbone = places[record.cell_id][1] if line.role else section.backbone
                known = homes.get(record.cell_id)
                if known is None:
                    homes[record.cell_id] = Home(line, section.dataset, backbone)
                elif backbone not in known.backbone.split(", "):
                    homes[record.cell_id] = known._replace(backbone=f"{known.backbone}, {backbone}")
    return homes


def _words(homes: Mapping[str, Home]) -> Iterator[Shown]:
    yield Shown("strategy", "strategy", "text", lambda r: homes[r.cell_id].line.label)
    yield Shown("dataset", "data", "text", lambda r: homes[r.cell_id].dataset)
    yield Shown("backbone", "backbone", "text", lambda r: homes[r.cell_id].backbone)
    yield Shown("size", "n", "whole", lambda r: r.cell.size)
    yield Shown("seed", "seed", "whole", lambda r: r.cell.seed)
    yield Shown("status", "status", "text", lambda r: r.status)
    yield Shown("reason", "reason", "text", lambda r: r.reason)


def _metrics(names: Sequence[str], primary: str) -> Iterator[Shown]:
    for name in sorted(names, key=lambda name: name != primary):
        yield Shown(f"metrics.{name}", metric(name), "number", partial(value, path=f"metrics.{name}"))


def _costs() -> Iterator[Shown]:
    for cost in COSTS:
        yield Shown(cost.path, cost.title, cost.unit, cost.read)


def _ends() -> Iterator[Shown]:
    yield Shown("environment", "environment", "text", lambda r: r.environment.get("fingerprint"))
    yield Shown("timing", "timing", "text", _timing)
    yield Shown("cell_id", "cell", "text", lambda r: r.cell_id)


def _timing(record: Record) -> str | None:
    return None if record.status != "ok" else "valid" if record.timing_valid else "not valid"


def _shape(line: Line) -> str:
    return SHAPES[MARKERS[line.index % len(MARKERS)]] if line.role is None else "circle"


def _short(record: Record) -> dict[str, Any]:
    """Return a record as JSON without what is long: raw latencies, the layers, one bit for each test example."""
    found = replace(record, latency=tuple(replace(entry, samples_ms=()) for entry in record.latency)).to_json()
    found["latency"] = [{k: v for k, v in entry.items() if k != "samples_ms"} for entry in found["latency"]]
    found["details"] = {k: v for k, v in found["details"].items() if k not in ("architecture", "right")}
    found["environment"] = {k: found["environment"].get(k) for k in ("fingerprint", "git_commit")}
    return found

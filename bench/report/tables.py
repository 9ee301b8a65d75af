"""The tables of a section: results, quality, costs, latency."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.compare.statistics import summarise
from bench.record import Latency, Record
from bench.report.board import Board
from bench.report.page import Notes, Span, Style, Table
from bench.report.study import Line, Section, value
from bench.report.units import BASE, MISSING, Unit, metric, scale, sentence, significant, spread

NO_TIMING = "shared the device while being timed, or its speed changed: seconds are not comparable"


@dataclass(frozen=True)
class Column:
    """A column of a cost table: the median over seeds of the number under `path`."""

    title: str
    path: str
    unit: Unit
    of: Callable[[Record], float | None] | None = None

    def read(self, record: Record) -> float | None:
        """Return this column's number for one record."""
        return self.of(record) if self.of else value(record, self.path)


def without_parents(record: Record) -> float | None:
    """Return the standalone seconds less the training of parent cells; None without parents."""
    whole, parents = record.seconds.standalone, record.seconds.parents
    return None if whole is None or not parents else whole - parents


COST = (
    Column("standalone", "seconds.standalone", "seconds"),
    Column("without parents", "seconds.parents", "seconds", without_parents),
    Column("marginal", "seconds.marginal", "seconds"),
    Column("training", "cost.flops_train", "flops"),
    Column("peak memory", "cost.peak_memory_bytes", "bytes"),
)
SPENT = tuple(
    Column(name, f"seconds.{name}", "seconds") for name in ("prepare", "setup", "train", "shared", "evaluate")
)
MODEL = (
    Column("params", "cost.params_total", "count"),
    Column("trained params", "cost.params_trained", "count"),
    Column("MACs, forward", "cost.macs_forward", "count"),
    Column("forward", "cost.flops_forward", "flops"),
    Column("weights", "cost.weights_bytes", "bytes"),
)
LATENCY = {
    "p50_ms": "p50 (ms)",
    "p90_ms": "p90 (ms)",
    "p99_ms": "p99 (ms)",
    "iqr_ms": "IQR (ms)",
    "device_p50_ms": "p50 on the device (ms)",
    "throughput_per_second": "examples per second",
}
FLOOR = {"floor_seconds": "floor (s)", "measured_seconds": "measured (s)", "fraction": "floor / measured"}


def results(section: Section, standing: Sequence[Board], primary: str) -> Table:
    """Return strategy x size: mean ± deviation, the best in bold, ≈ on what may still be the best."""
    notes = Notes()
    rows = []
    for line in section.rows:
        cells = []
        for board in standing:
            text = mean_text(line, board.size, f"metrics.{primary}", notes)
            best = bool(board.ranked) and board.ranked[0][0] == line
            near = line.role is None and board.near_best(line.label)
            style: Style = "strong" if best else "em" if near else ""
            cells.append(Span(f"≈ {text}" if near else text, style, ids(line, board.size)))
        if any(line.at(size) for size in section.sizes):
            rows.append((Span(line.label), *cells))
    most = max((len(line.at(n)) for line in section.lines for n in section.sizes), default=0)
    caption = f"{sentence(metric(primary))} on test"
    caption += f", mean ± standard deviation over {most} seeds" if most > 1 else ", one seed"
    caption += ". Best mean in bold"
    if any(board.near_best(line.label) for board in standing for line in section.lines):
        caption += "; ≈ marks what may still be the best: it is among them and the bold one in 95 % of such studies"
    if section.parents:
        caption += ". Parents such as teachers are not ranked"
    caption += _interval(section, primary)
    head = ("strategy", *(f"n = {n}" for n in section.sizes))
    return Table("results", head, tuple(rows), 1, f"{caption}.", tuple(notes.texts))


def winners(found: Sequence[Section], standings: Sequence[Sequence[Board]], primary: str) -> Table:
    """Return section x size: the strategy with the best mean, ≈ where the second may still be the best."""
    sizes = sorted({board.size for standing in standings for board in standing})
    rows = []
    for section, standing in zip(found, standings, strict=True):
        held = {board.size: board for board in standing if board.ranked}
        rows.append((Span(section.title), *(_winner(held[n]) if n in held else Span(MISSING) for n in sizes)))
    caption = f"The strategy with the best mean {metric(primary)} on test; ≈ where the second may still be the best."
    return Table("winners", ("data · backbone", *(f"n = {n}" for n in sizes)), tuple(rows), len(sizes) + 1, caption)


def _winner(board: Board) -> Span:
    (best, summary), *others = board.ranked
    near = bool(others) and board.near_best(others[0][0].label)
    return Span(f"{'≈ ' if near else ''}{best.label} {summary.mean:.3f}", cells=ids(best, board.size))


def _interval(section: Section, primary: str) -> str:
    """Say how sure the primary metric of one cell is, where the task gives an interval over its rounds."""
    halves = [h for line in section.rows for n in section.sizes for h in line.values(n, f"metrics.{primary}_ci95")]
    if not halves:
        return ""
    low, high = f"{min(halves):.3f}", f"{max(halves):.3f}"
    span = f"± {low}" if low == high else f"± {low} to ± {high}"
    return f". Within one seed, the 95 % interval of the mean over rounds is {span}"


def quality(section: Section, primary: str) -> Table | None:
    """Return every other metric, strategy x size, mean ± deviation; None when there is no other."""
    records = [r for line in section.rows for r in line.records]
    shown = (primary, f"{primary}_ci95")
    names = list(dict.fromkeys(name for r in records for name in r.metrics if name not in shown))
    if not names:
        return None
    notes = Notes()
    rows = [
        (
            Span(line.label),
            Span(str(size)),
            *(Span(mean_text(line, size, f"metrics.{m}", notes), cells=ids(line, size)) for m in names),
        )
        for line, size in points(section)
    ]
    head = ("strategy", "n", *(metric(name) for name in names))
    return Table("quality", head, tuple(rows), 1, "Other metrics on test, mean ± deviation.", tuple(notes.texts))


def costs(section: Section, columns: Sequence[Column], name: str, caption: str) -> Table | None:
    """Return one cost table, medians over seeds; None when there is nothing in it.

    A strategy whose numbers are the same at every size has one row, for "all". A column without numbers is
    left out, unless a reason was given for its absence.
    """
    numbers = {c: _column(section, c) for c in columns}
    shown = [c for c in columns if numbers[c] or _explained(section, c)]
    if not shown:
        return None
    units = [scale(numbers[c], c.unit) for c in shown]
    notes = Notes()
    rows: list[tuple[Span, ...]] = []
    for line in section.rows:
        sizes = [n for n in section.sizes if any(r.status == "ok" for r in line.at(n))]
        made = [tuple(_median(line, n, c, units[i][0], notes) for i, c in enumerate(shown)) for n in sizes]
        if len(made) > 1 and len(set(made)) == 1:
            every = tuple(record.cell_id for record in line.records)
            rows.append((Span(line.label), Span("all"), *(Span(text, cells=every) for text in made[0])))
        else:
            rows += [
                (Span(line.label), Span(str(n)), *(Span(text, cells=ids(line, n)) for text in texts))
                for n, texts in zip(sizes, made, strict=True)
            ]
    if not rows:
        return None
    titles = [f"{c.title} ({unit})" if unit else c.title for c, (_, unit) in zip(shown, units, strict=True)]
    head = ("strategy", "n", *titles)
    return Table(name, head, tuple(rows), 1, caption, tuple(notes.texts))


def latency(section: Section) -> Table | None:
    """Return latency by strategy and batch size: medians over all cells, since it does not depend on n.

    What no record has, such as a GPU's own clock on a CPU, has no column.
    """
    measured = [entry for line in section.rows for r in line.records if r.status == "ok" for entry in r.latency]
    fields = [field for field in LATENCY if any(_of(entry, field) is not None for entry in measured)]
    shared: dict[tuple[str, ...], list[Line]] = {}
    for line in section.rows:
        entries = [entry for r in line.records if r.status == "ok" for entry in r.latency]
        for key in sorted({(e.batch, e.device, e.threads) for e in entries}):
            batch, device, threads = key
            mine = [e for e in entries if (e.batch, e.device, e.threads) == key]
            numbers = tuple(_middle([v for e in mine if (v := _of(e, field)) is not None]) for field in fields)
            where = f"{device}, {threads} threads" if threads else device
            shared.setdefault((where, str(batch), *numbers), []).append(line)
    if not shared:
        return None
    rows = tuple(
        (Span(_together(lines, section)), *(Span(t) for t in row[:2]), *(Span(t, cells=_every(lines)) for t in row[2:]))
        for row, lines in shared.items()
    )
    head = ("strategy", "device", "batch", *(LATENCY[field] for field in fields))
    caption = "Latency of the whole model, without decoding; medians over the cells of a row."
    return Table("latency", head, rows, 2, caption)


def limit(section: Section) -> Table | None:
    """Return the floor of the training beside what it took, strategy x size; None when no record has a floor."""
    notes = Notes()
    rows: list[tuple[Span, ...]] = []
    for line, size in points(section):
        records = [r for r in line.at(size) if r.status == "ok"]
        found = [held for r in records if isinstance(held := r.details.get("roofline"), Mapping)]
        reasons = dict.fromkeys(r.reasons["details.roofline"] for r in records if "details.roofline" in r.reasons)
        numbers = [_middle([float(held[key]) for held in found]) for key in FLOOR]
        if found and not line.timed(size):
            numbers[1] += f" {notes.mark(NO_TIMING)}"
        elif reasons and not found:
            numbers[0] += f" {notes.mark('; '.join(reasons))}"
        bound = "/".join(sorted({str(held["bound"]) for held in found})) or MISSING
        texts = (*numbers, bound, _drift(records))
        rows.append((Span(line.label), Span(str(size)), *(Span(text, cells=ids(line, size)) for text in texts)))
    if all(row[-2].text == MISSING for row in rows):
        return None
    head = ("strategy", "n", *FLOOR.values(), "bound by", "largest drift")
    caption = (
        "How near the machine's limit: the least seconds that the matrix products and convolutions of the training and "
        "of its feature passes need at the machine's measured peak and bandwidth, beside what they took. Medians over "
        "seeds. Drift is how much a fixed piece of work differed before and after a cell."
    )
    return Table("limit", head, tuple(rows), 1, caption, tuple(notes.texts))


def _drift(records: Sequence[Record]) -> str:
    """Return the largest drift of the calibration kernels around these cells, in percent."""
    drifts = [float(held["drift"]) for r in records if isinstance(held := r.details.get("calibration"), Mapping)]
    return f"{max(drifts):.0%}" if drifts else MISSING


def _middle(values: Sequence[float]) -> str:
    return significant(statistics.median(values)) if values else MISSING


def _of(entry: Latency, field: str) -> float | None:
    found: float | None = getattr(entry, field)
    return found


def _every(lines: Sequence[Line]) -> tuple[str, ...]:
    return tuple(record.cell_id for line in lines for record in line.records)


def _together(lines: Sequence[Line], section: Section) -> str:
    """Name the lines that share a row."""
    own = [line for line in lines if line.role is None]
    if len(own) > 1 and len(own) == len(section.lines):
        return ", ".join(["every strategy", *(line.label for line in lines if line.role)])
    return ", ".join(line.label for line in lines)


def points(section: Section) -> Iterable[tuple[Line, int]]:
    """Yield each line and size that has a cell which ended ok."""
    for line in section.rows:
        for size in section.sizes:
            if any(r.status == "ok" for r in line.at(size)):
                yield line, size


def ids(line: Line, size: int) -> tuple[str, ...]:
    """Return the ids of the cells behind a number."""
    return tuple(record.cell_id for record in line.at(size))


def mean_text(line: Line, size: int, path: str, notes: Notes) -> str:
    """Return mean ± deviation, with how many seeds it holds when some are missing, or a dash and why."""
    planned = line.at(size)
    values = line.values(size, path)
    if not planned:
        return MISSING
    if not values:
        return _absent(planned, path, notes)
    text = spread(summarise(values))
    if len(values) < len(planned):
        text += f" (n={len(values)} of {len(planned)}) {notes.mark(_why(planned, path))}"
    return text


def _median(line: Line, size: int, column: Column, factor: float, notes: Notes) -> str:
    records = [r for r in line.at(size) if r.status == "ok"]
    values = [v for r in records if (v := column.read(r)) is not None]
    if not values:
        known = any(column.path in r.reasons for r in records)
        return _absent(records, column.path, notes) if known else MISSING
    text = significant(statistics.median(values) / factor)
    if BASE[column.unit] == "s" and not line.timed(size):
        text += f" {notes.mark(NO_TIMING)}"
    return text


def _absent(records: Sequence[Record], path: str, notes: Notes) -> str:
    """Return the status of cells without a number, or a dash, and a footnote with the reason."""
    statuses = list(dict.fromkeys(r.status for r in records if r.status != "ok"))
    word = "/".join(statuses) if len(statuses) > 0 and all(r.status != "ok" for r in records) else MISSING
    return f"{word} {notes.mark(_why(records, path))}"


def _why(records: Sequence[Record], path: str) -> str:
    reasons = []
    for record in records:
        if record.status != "ok":
            reasons.append(f"{record.status}: {record.reason or 'no reason was recorded'}")
        elif value(record, path) is None:
            reasons.append(record.reasons.get(path, "no reason was recorded"))
    return "; ".join(dict.fromkeys(reasons))


def _column(section: Section, column: Column) -> list[float]:
    records = [r for line in section.rows for r in line.records if r.status == "ok"]
    return [v for r in records if (v := column.read(r)) is not None]


def _explained(section: Section, column: Column) -> bool:
    """Say whether a reason was given for the absence of a number."""
    records = (r for line in section.rows for r in line.records if r.status == "ok")
    return column.of is None and any(column.path in r.reasons for r in records)

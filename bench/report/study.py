"""What a report is made from, put in order: sections, lines and the records behind each point."""

from __future__ import annotations

import json
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.cell import Cell
from bench.naming import HIDDEN, distinct, flat, labels, once
from bench.record import Record
from bench.shelf import Shelf


@dataclass(frozen=True)
class Study:
    """The input of a report.

    suite     the resolved suite as plain JSON
    primary   the metric that ranks strategies; higher is better
    records   one for every planned cell, in the order of the plan; a skipped cell has status "skipped"
    parents   ids of the cells that are planned only as a parent of another cell, such as teachers
    command   what makes this study again
    missing   planned cells that have not run yet
    shelf     what lies beside the records, such as predictions; None where there are records alone
    """

    suite: Mapping[str, Any]
    primary: str
    records: tuple[Record, ...]
    parents: frozenset[str]
    command: str
    missing: tuple[Cell, ...] = ()
    shelf: Shelf | None = None


@dataclass(frozen=True)
class Line:
    """One row of the tables and one line of the figures: a strategy, or a parent cell in its `role`.

    `index` gives the colour: the place of the strategy in the study, the same in every section.
    """

    label: str
    index: int
    records: tuple[Record, ...]
    role: str | None = None

    def at(self, size: int) -> tuple[Record, ...]:
        """Return every record at a size, whatever its status."""
        return self._by_size.get(size, ())

    @cached_property
    def _by_size(self) -> dict[int, tuple[Record, ...]]:
        found: dict[int, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.cell.size, []).append(record)
        return {size: tuple(records) for size, records in found.items()}

    def by_seed(self, size: int, path: str) -> dict[int, float]:
        """Return the values under a dotted path by seed, of the cells that ended ok and have one."""
        found = ((r.cell.seed, value(r, path)) for r in self.at(size) if r.status == "ok")
        return {seed: v for seed, v in found if v is not None}

    def values(self, size: int, path: str) -> list[float]:
        """Return the same values in the order of the seeds."""
        return [v for _, v in sorted(self.by_seed(size, path).items())]

    def median(self, size: int, number: str | Callable[[Record], float | None]) -> float | None:
        """Return the median over the cells that ended ok of the number under a path, or that is read from a record."""
        read = number if callable(number) else lambda record: value(record, number)
        found = [v for r in self.at(size) if r.status == "ok" and (v := read(r)) is not None]
        return statistics.median(found) if found else None

    def timed(self, size: int) -> bool:
        """Say whether the times of all cells that ended ok are valid."""
        return all(r.timing_valid for r in self.at(size) if r.status == "ok")


@dataclass(frozen=True)
class Section:
    """One data set with one backbone: its strategies in the order of the study, and their parents."""

    dataset: str
    backbone: str
    sizes: tuple[int, ...]
    lines: tuple[Line, ...]
    parents: tuple[Line, ...]

    @property
    def title(self) -> str:
        """What the section is about, for a heading."""
        return f"{self.dataset} · {self.backbone}"

    @property
    def rows(self) -> tuple[Line, ...]:
        """Strategies, then parents."""
        return self.lines + self.parents


def value(record: Record, path: str) -> float | None:
    """Return the number under a dotted path ("metrics.auroc", "seconds.train"), or None."""
    part, _, key = path.partition(".")
    holder = getattr(record, part)
    found = holder.get(key) if isinstance(holder, dict) else getattr(holder, key)
    return None if found is None else float(found)


def latency_ms(record: Record) -> float | None:
    """Return the median latency of one input in milliseconds, or None."""
    return next((entry.p50_ms for entry in record.latency if entry.batch == 1), None)


def sections(study: Study) -> tuple[Section, ...]:
    """Return the sections of a study in the order of its records."""
    own = [r for r in study.records if r.cell_id not in study.parents]
    data, models = [r.cell.dataset for r in own], [r.cell.backbone for r in own]
    several = distinct(models)
    datasets = _named(distinct(data))
    backbones = _named_backbones(several)
    trunks, order = _trunks(several), _places(distinct(r.cell.strategy for r in own))
    found: dict[tuple[str, str], list[Record]] = {}
    titles = once(data, lambda spec: datasets[_key(spec)])
    homes = once(models, lambda spec: [backbones[_key(trunk)] for trunk in _homes(spec, trunks)])
    for record, dataset, names in zip(own, titles, homes, strict=True):
        for backbone in names:
            found.setdefault((dataset, backbone), []).append(record)
    by_id = {r.cell_id: r for r in study.records}
    called = {r.cell_id: name for r, (_, name) in zip(study.records, place_labels(study.records), strict=True)}
    made = []
    for (dataset, backbone), records in found.items():
        sizes = tuple(sorted({r.cell.size for r in records}))
        lines = _lines(records, order)
        made.append(Section(dataset, backbone, sizes, lines, _parent_lines(records, by_id, study.parents, called)))
    return tuple(made)


def place_labels(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Return what the data set and the backbone of each record are called among all of them.

    Weights are told where several open sections of their own.
    """
    data, models = [r.cell.dataset for r in records], [r.cell.backbone for r in records]
    unique = distinct(models)
    trunks = _trunks(unique)

    def told(spec: Mapping[str, Any]) -> dict[str, Any]:
        several = len(trunks[_key(_bare(spec))]) > 1
        return _shown(spec) if several and _pretrained(spec) else _bare(spec)

    datasets, backbones = _named(distinct(data)), _named_backbones(unique)
    return list(
        zip(
            once(data, lambda spec: datasets[_key(spec)]),
            once(models, lambda spec: backbones[_key(told(spec))]),
            strict=True,
        )
    )


def _lines(records: Sequence[Record], places: Mapping[str, int]) -> tuple[Line, ...]:
    """Group records by strategy, and by what else tells apart two of one strategy, size and seed."""
    extra = _distinguishing(records)
    groups: dict[str, list[Record]] = {}
    specs: dict[str, dict[str, Any]] = {}
    own = once([r.cell.strategy for r in records], _shown)
    told = [{k: v for k, v in _context(r).items() if k in extra} if extra else {} for r in records]
    whole = [{**spec, **_shown(context)} if extra else spec for spec, context in zip(own, told, strict=True)]
    for record, spec, key in zip(records, whole, once(whole, _key), strict=True):
        groups.setdefault(key, []).append(record)
        specs[key] = spec
    names = dict(zip(specs, labels(list(specs.values())), strict=True))
    fresh = len(places)
    lines = []
    for key, members in groups.items():
        index = places.get(key)
        if index is None:
            index, fresh = fresh, fresh + 1
        lines.append(Line(names[key], index, tuple(members)))
    return tuple(lines)


def _parent_lines(
    records: Sequence[Record], by_id: Mapping[str, Record], parents: frozenset[str], called: Mapping[str, str]
) -> tuple[Line, ...]:
    """Return the parents of these records, and theirs, as lines labelled with their role.

    `called` names the backbone of each record, by the id of its cell.
    """
    roles: dict[str, str] = {}
    queue = deque(item for r in records for item in r.cell.parents.items())
    while queue:
        role, cell_id = queue.popleft()
        if cell_id in roles or cell_id not in by_id or cell_id not in parents:
            continue
        roles[cell_id] = role
        queue.extend(by_id[cell_id].cell.parents.items())
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for cell_id, role in roles.items():
        record = by_id[cell_id]
        key = role, _key(_shown(record.cell.strategy)), called[cell_id]
        groups.setdefault(key, []).append(record)
    firsts = [members[0].cell.strategy for members in groups.values()]
    return tuple(
        Line(f"{role}: {label} on {backbone}", i, tuple(members), role)
        for i, (((role, _, backbone), members), label) in enumerate(zip(groups.items(), labels(firsts), strict=True))
    )


def _places(strategies: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Give each strategy of the study its place, so that it has one colour in every section."""
    places: dict[str, int] = {}
    for strategy in strategies:
        places.setdefault(_key(_shown(strategy)), len(places))
    return places


def _shown(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in spec.items() if k not in HIDDEN}


def _distinguishing(records: Sequence[Record]) -> set[str]:
    """Return the fields outside the strategy that differ between cells of one strategy, size and seed."""
    groups: dict[tuple[str, int, int], list[Record]] = {}
    for record, key in zip(records, once([r.cell.strategy for r in records], _key), strict=True):
        groups.setdefault((key, record.cell.size, record.cell.seed), []).append(record)
    found: set[str] = set()
    for group in groups.values():
        contexts = [_context(record) for record in group] if len(group) > 1 else []
        keys = {k for context in contexts for k in context}
        found |= {k for k in keys if len({repr(c.get(k)) for c in contexts}) > 1}
    return found


def _context(record: Record) -> dict[str, Any]:
    cell = record.cell
    parts = {"recipe": cell.recipe, "task": cell.task, "weights": cell.backbone.get("weights")}
    return {k: v for k, v in flat(parts) if not k.endswith(("version", "digest"))}


def _named(specs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    unique = {_key(s): s for s in specs}
    return dict(zip(unique, labels(list(unique.values())), strict=True))


def _named_backbones(backbones: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Name each backbone with its weights, where it has any, and without."""
    return _named([_shown(b) for b in backbones if _pretrained(b)] + [_bare(b) for b in backbones])


def _pretrained(backbone: Mapping[str, Any]) -> bool:
    return backbone.get("weights") != "random"


def _bare(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a backbone is whatever its weights are."""
    return {k: v for k, v in _shown(backbone).items() if k not in ("weights", "digest")}


def _trunks(backbones: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return, for each bare backbone, the variants of its weights that open a section of their own."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for backbone in backbones:
        variants = found.setdefault(_key(_bare(backbone)), {})
        if _pretrained(backbone):
            variants.setdefault(_key(_shown(backbone)), _shown(backbone))
    return {bare: list(variants.values()) for bare, variants in found.items()}


def _homes(backbone: Mapping[str, Any], trunks: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the backbones a record belongs to: one that starts at random stands beside each with weights."""
    variants = trunks[_key(_bare(backbone))]
    if len(variants) <= 1:
        return [_bare(backbone)]
    return [_shown(backbone)] if _pretrained(backbone) else variants


def _key(item: Any) -> str:
    return json.dumps(item, sort_keys=True, ensure_ascii=False, default=str)

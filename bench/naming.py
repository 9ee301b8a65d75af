"""What cells and their parts are called: by what sets them apart, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.cell import Cell, canonical

HIDDEN = frozenset({"version"})


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf of plain JSON under its dotted path, keys sorted."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from flat(value[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def labels(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name each `{name, options}`: the bare name where it is the only one, else with the options that differ.

    A content digest is shown only when nothing else tells two of them apart.
    """
    leaves = [{k: v for k, v in flat(s) if k not in HIDDEN} for s in specs]
    plain = [{k: v for k, v in f.items() if not k.endswith("digest")} for f in leaves]
    names = [_label(spec, plain) for spec in plain]
    return names if len(set(names)) == len(names) else [_label(spec, leaves) for spec in leaves]


def _label(spec: Mapping[str, Any], specs: Sequence[Mapping[str, Any]]) -> str:
    peers = [s for s in specs if s.get("name") == spec.get("name")]
    keys = [k for k in sorted(spec) if len({repr(peer.get(k)) for peer in peers}) > 1]
    shown = ", ".join(f"{k}={str(spec[k])[:8] if k.endswith('digest') else spec[k]}" for k in keys)
    return f"{spec.get('name')}({shown})" if shown else str(spec.get("name"))


def titles(cells: Sequence[Cell]) -> dict[str, str]:
    """Name each cell, by id, by what sets it apart from the others: `full_finetune · n=500 · seed 1`."""
    columns = [
        _part(cells, lambda cell: cell.strategy, always=True),
        _part(cells, lambda cell: {k: v for k, v in cell.backbone.items() if k in ("name", "source")}),
        _part(cells, lambda cell: cell.dataset),
        _varying([f"n={cell.size}" for cell in cells], always=True),
        _recipes(cells),
        _varying([f"seed {cell.seed}" for cell in cells]),
    ]
    rows = zip(*columns, strict=True) if cells else ()
    return {cell.id: " · ".join(part for part in row if part) for cell, row in zip(cells, rows, strict=True)}


def _part(cells: Sequence[Cell], part: Callable[[Cell], Mapping[str, Any]], always: bool = False) -> list[str]:
    unique = {canonical(part(cell)): part(cell) for cell in cells}
    named = dict(zip(unique, labels(list(unique.values())), strict=True))
    return _varying([named[canonical(part(cell))] for cell in cells], always)


def _varying(texts: list[str], always: bool = False) -> list[str]:
    return texts if always or len(set(texts)) > 1 else [""] * len(texts)


def _recipes(cells: Sequence[Cell]) -> list[str]:
    """Name the fields of the recipe that differ between cells which are alike in all else."""
    groups: dict[bytes, list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault(_but_recipe(cell), []).append(dict(flat(cell.recipe)))
    fields = {
        key for group in groups.values() for key in group[0] if len({repr(recipe.get(key)) for recipe in group}) > 1
    }
    return [", ".join(f"{k}={v}" for k, v in flat(cell.recipe) if k in fields) for cell in cells]


def _but_recipe(cell: Cell) -> bytes:
    return canonical([{k: v for k, v in cell.identity().items() if k not in ("recipe", "parents")}])

"""What cells and their parts are called: by what sets them apart, and no more."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar

from bench.cell import Cell, canonical

HIDDEN = frozenset({"version"})
PARTS = ("task", "dataset", "backbone", "strategy")
T = TypeVar("T")


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf of plain JSON under its dotted path, keys sorted."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from flat(value[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def differing(one: Cell, other: Cell, missing: Any = None) -> list[tuple[str, Any, Any]]:
    """Return each field in which two identities differ: its path, the one's value and the other's, or `missing`."""
    here, there = (dict(flat(_by_name(cell.identity()))) for cell in (one, other))
    both = ((path, here.get(path, missing), there.get(path, missing)) for path in sorted(here.keys() | there.keys()))
    return [found for found in both if found[1] != found[2]]


def _by_name(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity with its tests elsewhere by their names: each is set beside its like."""
    tests = identity.get("also_test", ())
    return {**identity, "also_test": dict(zip(labels(tests), tests, strict=True))}


def labels(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name each `{name, options}`: the bare name where it is the only one, else with the options that differ.

    An option that is null goes without saying: `model` beside `model(layers=3)`. A content digest is shown only when
    nothing else tells two of them apart.
    """
    leaves = [{k.removesuffix(".name"): v for k, v in flat(s) if k.split(".")[-1] not in HIDDEN} for s in specs]
    plain = [{k: v for k, v in f.items() if not k.endswith("digest")} for f in leaves]
    names = [_label(spec, plain) for spec in plain]
    return names if len(set(names)) == len(names) else [_label(spec, leaves) for spec in leaves]


def _label(spec: Mapping[str, Any], specs: Sequence[Mapping[str, Any]]) -> str:
    def differs(key: str) -> bool:
        # The options of a teacher's strategy tell apart only teachers of that strategy.
        owner = key.rpartition(".")[0]
        alike = (s for s in specs if s.get("name") == spec.get("name") and s.get(owner) == spec.get(owner))
        return len({repr(peer.get(key)) for peer in alike}) > 1

    keys = [key for key in sorted(spec) if spec[key] is not None and differs(key)]
    shown = ", ".join(f"{k}={str(spec[k])[:8] if k.endswith('digest') else spec[k]}" for k in keys)
    return f"{spec.get('name')}({shown})" if shown else str(spec.get("name"))


def titles(cells: Sequence[Cell], parents: Collection[str] = ()) -> dict[str, str]:
    """Name each cell, by id, by what sets it apart from the others: `full_finetune · n=500 · seed 1`.

    A part that is the same in all cells but some `parents` (ids) is named only in those: a teacher names its backbone,
    the students of a suite with one backbone do not.
    """
    own = [cell.id not in parents for cell in cells]
    columns = [
        _part(cells, lambda cell: cell.strategy),
        _telling(own, _part(cells, lambda cell: cell.backbone, but=("weights", "digest"))),
        _telling(own, _part(cells, lambda cell: cell.dataset)),
        [f"n={cell.size}" for cell in cells],
        _recipes(cells),
        _telling(own, [f"seed {cell.seed}" for cell in cells]),
    ]
    names = [" · ".join(part for part in row if part) for row in zip(*columns, strict=True)]
    alike: dict[str, list[Cell]] = {}
    for cell, name in zip(cells, names, strict=True):
        alike.setdefault(name, []).append(cell)
    apart = {c.id: words for group in alike.values() for c, words in zip(group, _apart(group), strict=True)}
    return {c.id: " · ".join(filter(None, (name, apart[c.id]))) for c, name in zip(cells, names, strict=True)}


def _apart(group: Sequence[Cell]) -> list[str]:
    """Name what still differs between cells of one name: `weights=random`; digests only when nothing else does."""
    if len(group) == 1:
        return [""]
    leaves = [dict(flat(cell.identity())) for cell in group]
    differ = sorted(k for k in set().union(*leaves) if len({repr(leaf.get(k)) for leaf in leaves}) > 1)
    names: list[str] = []
    for keys in ([k for k in differ if not k.endswith("digest") and not k.startswith("parents.")], differ):
        names = [", ".join(f"{k.rpartition('.')[2]}={_word(leaf.get(k))[:12]}" for k in keys) for leaf in leaves]
        if len(set(names)) == len(names):
            break
    return names


def _word(value: Any) -> str:
    """Name a value: a list of `{name, options}` by its names."""
    named = isinstance(value, Sequence) and value and all(isinstance(v, Mapping) and "name" in v for v in value)
    return "+".join(str(v["name"]) for v in value) if named else str(value)


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Return a key by which numbers in text come in their order: n=500 before n=2000."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", text)]


def points(cells: Sequence[Cell]) -> dict[str, str]:
    """Name the point of each cell, by the cell's id: what its seeds share, and the parents that go with them do not.

    Two points that would be called the same are told apart by the beginning of their hash.
    """
    named = titles(cells)
    keys = {c.id: canonical({k: v for k, v in c.identity().items() if k not in ("seed", "parents")}) for c in cells}
    called: dict[bytes, str] = {}
    for cell in cells:
        called.setdefault(keys[cell.id], named[cell.id].replace(f" · seed {cell.seed}", "", 1))
    often = Counter(called.values())
    unique = {k: f"{t} · {sha256(k).hexdigest()[:6]}" if often[t] > 1 else t for k, t in called.items()}
    return {cell.id: unique[keys[cell.id]] for cell in cells}


def _part(cells: Sequence[Cell], part: Callable[[Cell], Mapping[str, Any]], but: Sequence[str] = ()) -> list[str]:
    """Name one part of each cell, by all of it but some keys."""
    parts = [part(cell) for cell in cells]
    forms = once(parts, lambda whole: canonical({k: v for k, v in whole.items() if k not in but}))
    unique = {form: json.loads(form) for form in dict.fromkeys(forms)}
    named = dict(zip(unique, labels(list(unique.values())), strict=True))
    return [named[form] for form in forms]


def distinct(parts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return each object of several that cells share once, in order."""
    return list({id(part): part for part in parts}.values())


def once(parts: Sequence[Mapping[str, Any]], form: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Return a form of each part. Cells share their parts, a data set or a recipe: each is gone through once."""
    known: dict[int, T] = {}
    for part in parts:
        if id(part) not in known:
            known[id(part)] = form(part)
    return [known[id(part)] for part in parts]


def _telling(own: Sequence[bool], texts: list[str]) -> list[str]:
    """Blank what goes without saying: the one text that all own cells have."""
    usual = {text for text, counts in zip(texts, own, strict=True) if counts}
    return ["" if len(usual) == 1 and text in usual else text for text in texts]


def _recipes(cells: Sequence[Cell]) -> list[str]:
    """Name the fields of the recipe that differ between cells which are alike in all else."""
    groups: dict[Hashable, dict[bytes, dict[str, Any]]] = {}
    recipes = [cell.recipe for cell in cells]
    leaves = once(recipes, lambda recipe: dict(flat(recipe)))
    forms = once(recipes, canonical)
    others = zip(*(once([getattr(cell, part) for cell in cells], canonical) for part in PARTS), strict=True)
    for cell, other, form, leaf in zip(cells, others, forms, leaves, strict=True):
        groups.setdefault((cell.size, cell.seed, *other), {})[form] = leaf
    several = [list(group.values()) for group in groups.values() if len(group) > 1]
    fields = {k for group in several for k in set().union(*group) if len({repr(leaf.get(k)) for leaf in group}) > 1}
    return once(recipes, lambda recipe: ", ".join(f"{k}={v}" for k, v in flat(recipe) if k in fields))

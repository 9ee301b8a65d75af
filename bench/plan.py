"""From a suite to the cells that answer it: every point resolved, teachers added, skips with reasons, in order.

The planner knows protocols, not plugins: what a strategy needs, whose child it is and what a task can check are asked
of them. It imports no torch.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.backbones import Backbone, find
from bench.cell import Cell, canonical
from bench.datasets import Dataset, Facts, datasets
from bench.document import Trail
from bench.errors import BenchError, UnknownName, UsageError, did_you_mean, nearest
from bench.naming import titles
from bench.recipe import Recipe
from bench.registry import Registry, build, identity_of, plain, runtime_of
from bench.strategies import Strategy, strategies
from bench.suite import Suite, matches
from bench.tasks import Task, tasks

AXES = ("dataset", "backbone", "size", "seed", "strategy")
Point = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A planned cell. One that is there only for another cell's sake has a `role`; `skip` says why one is not run."""

    cell: Cell
    role: str | None = None
    skip: str | None = None


@dataclass(frozen=True)
class Plan:
    """The cells of a suite in the order in which they run: parents first, shared artifacts together."""

    suite: Suite
    primary: str
    entries: tuple[Entry, ...]

    @property
    def runnable(self) -> tuple[Entry, ...]:
        """The entries that are not skipped."""
        return tuple(e for e in self.entries if e.skip is None)

    @property
    def titles(self) -> dict[str, str]:
        """What each cell is called here, by id."""
        return titles([e.cell for e in self.entries])

    @property
    def parents(self) -> frozenset[str]:
        """Ids of the cells that are in the plan only as another cell's parent."""
        return frozenset(e.cell.id for e in self.entries if e.role)


def expand(suite: Suite, only: str | None = None) -> Plan:
    """Resolve every point of a suite's matrix to a cell. Raises SuiteError at the first mistake, before anything runs.

    `only` keeps the points that match "axis=value,axis=value|value" (and the parents that they need).
    """
    resolver = _Resolver(suite)
    wanted = parse_only(only, suite) if only else {}
    points = sorted(_points(suite), key=lambda p: p["order"])
    if not points:
        raise suite.error(("matrix",), "the matrix has no cells")
    entries: dict[str, Entry] = {}
    for point in points:
        if not matches(wanted, _names(point, wanted)):
            continue
        entry, parents = resolver.entry(point, ())
        known = entries.get(entry.cell.id)
        if known is not None and known.role is None:
            raise suite.error(("matrix",), f"two cells of the matrix are the same: {_words(entry.cell)}")
        for parent in parents if entry.skip is None else ():
            entries.setdefault(parent.cell.id, parent)
        entries[entry.cell.id] = entry if known is None else dataclasses.replace(known, role=None)
    if not entries:
        raise UsageError(f"--only {only}: no cell of the suite matches")
    return Plan(suite, resolver.task.primary, tuple(entries.values()))


def parse_only(text: str, suite: Suite) -> dict[str, list[Any]]:
    """Read "strategy=scratch|distill,size=100" as axis -> allowed values."""
    axes = suite.matrix.axes()
    wanted: dict[str, list[Any]] = {}
    for part in text.split(","):
        axis, equals, values = part.strip().partition("=")
        if not equals:
            raise UsageError(f"--only {text}: write it as AXIS=VALUE, for example strategy=scratch|distill,size=100")
        if axis not in axes:
            raise UsageError(f"--only {text}: unknown axis {axis!r}{did_you_mean(nearest(axis, axes))}")
        known = {str(_label(v)) for v in axes[axis]}
        for value in values.split("|"):
            if value not in known:
                hint = did_you_mean(nearest(value, known)) or f"; it has {', '.join(sorted(known))}"
                raise UsageError(f"--only {text}: the suite has no {axis} {value!r}{hint}")
        wanted[axis] = values.split("|")
    return wanted


def _words(cell: Cell) -> str:
    parts = (cell.strategy, cell.backbone, cell.dataset)
    return " · ".join([*(part["name"] for part in parts), f"n={cell.size}", f"seed {cell.seed}"])


def _label(value: Any) -> Any:
    return value["name"] if isinstance(value, Mapping) else value


def _names(point: Point, axes: Mapping[str, Any]) -> dict[str, str]:
    return {axis: str(_label(point[axis])) for axis in axes}


def _points(suite: Suite) -> Iterator[Point]:
    """Yield the points of the matrix by the suite's way to span it; `order` sorts them, `trail` finds them again."""
    axes = suite.matrix.axes()
    if suite.span == "zip":
        length = max(len(v) for v in axes.values())
        for axis, values in axes.items():
            if len(values) not in (1, length):
                raise suite.error(
                    ("matrix", axis), f"zip needs 1 or {length} values on every axis; {axis} has {len(values)}"
                )
        picks = [{a: (i if len(v) > 1 else 0) for a, v in axes.items()} for i in range(length)]
    elif suite.span == "ablation":
        base = dict.fromkeys(axes, 0)
        picks = [base] + [{**base, a: i} for a, v in axes.items() for i in range(1, len(v))]
    else:
        spans = itertools.product(*(range(len(v)) for v in axes.values()))
        picks = [dict(zip(axes, span, strict=True)) for span in spans]
    extra = [a for a in axes if a not in AXES]
    for pick in picks:
        point: Point = {axis: axes[axis][i] for axis, i in pick.items()}
        point["trail"] = {axis: ("matrix", axis, i) for axis, i in pick.items()}
        point["order"] = tuple(pick[a] for a in (*AXES[:2], *extra, *AXES[2:]))
        yield point


@dataclass
class _Resolver:
    """Builds plugins once for each spec, and cells from points."""

    suite: Suite
    plugins: dict[bytes, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task: Task = self._plugin(tasks, self.suite.task, ("task",))
        for i, override in enumerate(self.suite.overrides):
            self._check_when(override.when, ("overrides", i, "when"))
        for i, exclusion in enumerate(self.suite.exclude):
            self._check_when(exclusion.when, ("exclude", i, "when"))
        self._recipe(self.suite.recipe, ("recipe",))

    def entry(self, point: Point, children: tuple[bytes, ...]) -> tuple[Entry, list[Entry]]:
        """Return the entry of a point and the entries of its parents, the parents' own first."""
        trail: dict[str, Trail] = point["trail"]
        dataset: Dataset = self._plugin(datasets, point["dataset"], trail["dataset"])
        strategy: Strategy = self._plugin(strategies, point["strategy"], trail["strategy"])
        backbone, digest = self._backbone(point["backbone"], trail["backbone"], strategy.start == "pretrained")
        facts = self._facts(dataset, trail["dataset"])
        skip = self._skip(point, strategy)
        if skip is None:
            self._check_size(point, facts)
        parents = self._parents(point, strategy, children)
        known = facts.digest
        cell = Cell(
            task=identity_of(self.task),
            dataset={**identity_of(dataset), "digest": known},
            size=point["size"],
            backbone={"name": backbone.model, "source": backbone.name, "version": backbone.version, **digest},
            strategy=identity_of(strategy),
            recipe=self._recipe_of(point),
            seed=point["seed"],
            parents={role: entries[-1].cell.id for role, entries in parents.items()},
            runtime=_runtime(dataset=dataset, strategy=strategy, task=self.task)
            | {"backbone": {"weights": backbone.weights}},
        )
        return Entry(cell, skip=skip), [e for entries in parents.values() for e in entries]

    def _parents(self, point: Point, strategy: Strategy, children: tuple[bytes, ...]) -> dict[str, list[Entry]]:
        """Resolve the cells that must be trained before this one, each list ending in the parent itself."""
        parents: dict[str, list[Entry]] = {}
        me = canonical([point["strategy"], point["backbone"]])
        for role, differs in strategy.parents().items():
            trail = (*point["trail"]["strategy"], role)
            for key in differs:
                if key not in ("backbone", "strategy"):
                    hint = did_you_mean(nearest(str(key), ("backbone", "strategy"))) or "; it has backbone and strategy"
                    raise self.suite.error((*trail, key), f"unknown key {key!r} of the {role}{hint}", key=True)
            spec = {k: {"name": v} if isinstance(v, str) else v for k, v in differs.items()}
            for key, value in spec.items():
                if not isinstance(value, Mapping):
                    raise self.suite.error(
                        (*trail, key), f"{key} must be a name or a mapping with a name, not {value!r}"
                    )
            inherited = dict.fromkeys(("backbone", "strategy"), trail) | {k: (*trail, k) for k in spec}
            parent = {**point, **spec, "trail": {**point["trail"], **inherited}}
            itself = canonical([parent["strategy"], parent["backbone"]])
            named_again = "strategy" not in spec or spec["strategy"] == {"name": strategy.name}
            if itself == me or itself in children or named_again:
                raise self.suite.error(trail, f"a {role} that names itself: give it another strategy")
            entry, before = self.entry(parent, (*children, me))
            parents[role] = [*before, dataclasses.replace(entry, role=role)]
        return parents

    def _plugin(self, registry: Registry[Any], spec: Mapping[str, Any], trail: Trail) -> Any:
        key = canonical([registry.kind, spec])
        if key not in self.plugins:
            if not isinstance(spec.get("name"), str):
                raise self.suite.error(trail, f"a {registry.kind} is a name or a mapping with a name")
            try:
                self.plugins[key] = registry.create(spec)
            except UnknownName as error:
                raise self.suite.error((*trail, "name"), str(error)) from None
            except BenchError as error:
                raise self.suite.locate(error, trail) from None
        return self.plugins[key]

    def _backbone(self, spec: Mapping[str, Any], trail: Trail, pretrained: bool) -> tuple[Backbone, dict[str, Any]]:
        key = canonical(["backbone", spec, pretrained])
        if key not in self.plugins:
            if not isinstance(spec.get("name"), str):
                raise self.suite.error(trail, "a backbone is a name or a mapping with a name")
            try:
                backbone = find(spec)
                weights = backbone.weights if pretrained else "random"
                digest = backbone.weights_digest() if pretrained else "random"
            except UnknownName as error:
                raise self.suite.error((*trail, "name"), str(error)) from None
            except BenchError as error:
                raise self.suite.locate(error, trail) from None
            kind = weights if weights in ("pretrained", "random") else "file"
            self.plugins[key] = backbone, {"weights": kind, "digest": digest}
        return self.plugins[key]  # type: ignore[no-any-return]

    def _facts(self, dataset: Dataset, trail: Trail) -> Facts:
        key = canonical(["facts", dataset.name, plain(dataset)])
        if key not in self.plugins:
            try:
                self.plugins[key] = dataset.facts()
            except BenchError as error:
                raise self.suite.locate(error, trail) from None
        return self.plugins[key]  # type: ignore[no-any-return]

    def _skip(self, point: Point, strategy: Strategy) -> str | None:
        for exclusion in self.suite.exclude:
            if matches(exclusion.when, point):
                return exclusion.reason
        missing = sorted(strategy.needs - self.task.provides)
        if missing:
            return f"{strategy.name} needs {', '.join(missing)}; the task {self.task.name} does not provide it"
        return None

    def _check_size(self, point: Point, facts: Facts) -> None:
        if facts.classes is None or facts.counts is None:
            return
        wrong = self.task.check(point["size"], len(facts.classes), facts.counts)
        if wrong:
            raise self.suite.error(point["trail"]["size"], wrong)

    def _check_when(self, when: Mapping[str, Any], trail: Trail) -> None:
        axes = self.suite.matrix.axes()
        for axis in when:
            if axis not in axes:
                raise self.suite.error(
                    (*trail, axis), f"unknown axis {axis!r}{did_you_mean(nearest(axis, axes))}", key=True
                )

    def _recipe_of(self, point: Point) -> dict[str, Any]:
        """Return the recipe of a point: the suite's, then the overrides that match, then the `recipe.` axes."""
        recipe = dict(self.suite.recipe)
        trail: Trail = ("recipe",)
        for i, override in enumerate(self.suite.overrides):
            if matches(override.when, point):
                recipe, trail = _merge(recipe, override.set.recipe), ("overrides", i, "set", "recipe")
        for axis, at in point["trail"].items():
            if axis.startswith("recipe."):
                recipe, trail = {**recipe, axis.removeprefix("recipe."): point[axis]}, at
        return self._recipe(recipe, trail)

    def _recipe(self, options: Mapping[str, Any], trail: Trail) -> dict[str, Any]:
        key = canonical(["recipe", options])
        if key not in self.plugins:
            try:
                self.plugins[key] = plain(build(Recipe, options, "the recipe"))
            except BenchError as error:
                raise self.suite.locate(error, trail) from None
        return self.plugins[key]  # type: ignore[no-any-return]


def _merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in patch.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def _runtime(**plugins: Any) -> dict[str, Any]:
    """Return the options of plugins that are not identity, for those that have any."""
    options = {part: runtime_of(plugin) for part, plugin in plugins.items()}
    return {part: found for part, found in options.items() if found}

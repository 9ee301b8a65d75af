"""From one point of a matrix to a cell: plugins built, options checked, digests taken, parents resolved.

The resolver knows protocols, not plugins: what a strategy needs, whose child it is and what a task can check are asked
of them. It imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from bench.augment import Augment
from bench.axes import AXES, Point, Value, Who, axis_value, instead, specs, who
from bench.backbones import Backbone, find, modality_of
from bench.cell import Cell, canonical
from bench.compare.measures import parse as parse_limits
from bench.datasets import Dataset, Facts, datasets
from bench.document import Trail
from bench.elsewhere import HERE, Tests, named, those_of
from bench.errors import BenchError, OptionError, did_you_mean, nearest, quoted
from bench.making import Making
from bench.registry import identity_of, plain, runtime_of
from bench.strategies import Strategy, strategies
from bench.suite import Suite, alternatives, matches, same
from bench.tasks import Task, tasks


@dataclass(frozen=True)
class Entry:
    """A planned cell. One that is there only for another cell's sake has a `role`; `skip` says why one is not run.

    `trail` leads, for each axis, to the place in the suite file that the cell has its value from.
    """

    cell: Cell
    role: str | None = None
    skip: str | None = None
    trail: Mapping[str, Trail] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class _Parts:
    """What all cells of one data set, backbone and strategy share. `cell` holds fields of theirs."""

    dataset: Dataset
    strategy: Strategy
    reads: str
    facts: Facts
    whole: dict[str, dict[str, Any]]
    cell: Mapping[str, Any]
    find_tests: Callable[[], Tests]

    @cached_property
    def tests(self) -> Tests:
        """Where else they are tested, if they are. Raises SuiteError."""
        return self.find_tests()

    @cached_property
    def tested(self) -> Mapping[str, Any]:
        """The fields of a cell that is tested elsewhere too."""
        return self.tests.added(self.cell)


@dataclass(frozen=True)
class _Kind:
    """What cells have in common that differ in nothing but their seed. `differs` is what parents have of their own."""

    parts: _Parts
    recipe: dict[str, Any]
    skip: str | None
    differs: dict[str, dict[str, Value]]


@dataclass
class Resolver:
    """Builds plugins once for each spec, what cells share once for all of them, and cells from points."""

    suite: Suite
    plugins: dict[Any, Any] = field(default_factory=dict)
    forms: dict[int, tuple[Any, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.making = Making(self.suite)
        self.task: Task = self.making.plugin(tasks, self.suite.task, ("task",))
        try:
            parse_limits(self.suite.gate, self.task.metrics)
        except OptionError as error:
            raise self.suite.locate(error, ("gate",)) from None
        known = self._known()
        for i, override in enumerate(self.suite.overrides):
            self._check_when(override.when, ("overrides", i, "when"), known)
        for i, exclusion in enumerate(self.suite.exclude):
            self._check_when(exclusion.when, ("exclude", i, "when"), known)
        self.making.recipe(self.suite.recipe, ("recipe",))
        self._others = named(self.suite, partial(self.making.plugin, datasets), self.making.facts)
        for i, override in enumerate(self.suite.overrides):
            self.making.recipe(_merge(self.suite.recipe, override.set.recipe), ("overrides", i, "set", "recipe"))
        # The axes that the recipe of a cell hangs on, and those that its exclusion does.
        own = [axis for axis in self.suite.matrix.axes() if axis.startswith("recipe.")]
        self._recipe_axes = [*dict.fromkeys(axis for o in self.suite.overrides for axis in o.when), *own, "recipe"]
        of_parts = ("dataset", "backbone", "strategy", *self._recipe_axes)
        self._skip_axes = [*dict.fromkeys([*(axis for e in self.suite.exclude for axis in e.when), *of_parts])]
        self._seeds_differ = "seed" in (*self._recipe_axes, *self._skip_axes)

    def entry(self, point: Point, children: tuple[Who, ...] = (), data: bytes = b"") -> tuple[Entry, list[Entry]]:
        """Return the entry of a point and the entries of its parents, the parents' own first.

        `data` is what the last of its children learns: a parent that learns other data is tested on that alone.
        """
        kind = self._kind(point)
        data = data or point["dataset"].key
        same_data = data == point["dataset"].key
        tests = kind.parts.tests if same_data else HERE
        skip, parts = kind.skip, kind.parts.tested if same_data else kind.parts.cell
        parents = self._parents(point, kind, children, data) if kind.differs else {}
        for role, entries in parents.items():
            if skip is None and entries[-1].skip:
                skip = f"its {role} is left out: {entries[-1].skip}"
        if parents:
            resolved = self._resolved(kind.parts, {role: entries[-1].cell for role, entries in parents.items()})
            parts = {**parts, "strategy": resolved}
        named = {role: entries[-1].cell.id for role, entries in parents.items()}
        cell = Cell(
            **parts,
            size=point["size"].spec,
            recipe=kind.recipe,
            seed=point["seed"].spec,
            parents=self.plugins.setdefault(("parents", *named.items()), named),
        )
        cell.settle(self._form)
        trail = {axis: value.trail for axis, value in point.items()} | tests.trail()
        return Entry(cell, skip=skip, trail=trail), [e for entries in parents.values() for e in entries]

    def _form(self, part: Any) -> bytes:
        """Return the canonical form of a part of a cell, made once of one that many cells share."""
        if isinstance(part, int):
            return b"%d" % part
        known = self.forms.get(id(part))
        if known is None:
            known = self.forms[id(part)] = part, canonical(part)
        return known[1]

    def _kind(self, point: Point) -> _Kind:
        keys = (value.key for axis, value in point.items() if self._seeds_differ or axis != "seed")
        key = ("kind", point["strategy"].trail, *keys)
        if key not in self.plugins:
            parts = self._parts(point)
            skip = self._skip(point, parts)
            if skip is None:
                self._check_size(point, parts.facts)
            differs = self._differs(point["strategy"], parts.strategy)
            recipe = self._recipe_of(point, parts)
            self.plugins[key] = _Kind(parts, recipe, skip or _spoilt(parts.strategy, recipe), differs)
        return self.plugins[key]  # type: ignore[no-any-return]

    def _parts(self, point: Point) -> _Parts:
        key = ("parts", *(point[axis].key for axis in ("dataset", "backbone", "strategy")))
        if key not in self.plugins:
            trail = {axis: value.trail for axis, value in point.items()}
            dataset: Dataset = self.making.plugin(datasets, point["dataset"].spec, trail["dataset"])
            strategy: Strategy = self.making.plugin(strategies, point["strategy"].spec, trail["strategy"])
            pretrained = strategy.start == "pretrained"
            backbone, weights = self.making.backbone(point["backbone"].spec, trail["backbone"], pretrained)
            facts = self.making.facts(dataset, trail["dataset"])
            whole = {"dataset": _whole(dataset), "strategy": _whole(strategy), "backbone": _model(backbone)}
            cell = {
                "task": identity_of(self.task),
                "dataset": {**identity_of(dataset), "digest": facts.digest},
                "backbone": _model(backbone, identity_of(backbone)) | weights,
                "strategy": identity_of(strategy),
                "runtime": _runtime(dataset=dataset, strategy=strategy, task=self.task)
                | {"backbone": {**runtime_of(backbone), "weights": backbone.weights}},
            }
            tests = partial(those_of, self.suite, self._others, dataset, facts)
            self.plugins[key] = _Parts(dataset, strategy, modality_of(backbone), facts, whole, cell, tests)
        return self.plugins[key]  # type: ignore[no-any-return]

    def _parents(self, point: Point, kind: _Kind, children: tuple[Who, ...], data: bytes) -> dict[str, list[Entry]]:
        """Resolve the cells that must be trained before this one, each list ending in the parent itself."""
        parents: dict[str, list[Entry]] = {}
        family = (*children, who(point))
        name = kind.parts.strategy.name
        for role, own in kind.differs.items():
            parent = {**point, **own}
            key = ("parent", role, data, *(value.key for value in parent.values()))
            if key not in self.plugins:
                trail = (*point["strategy"].trail, role)
                if who(parent) in family or ("strategy" in own and own["strategy"].spec == {"name": name}):
                    raise self.suite.error(trail, f"a {role} that names itself: give it another strategy")
                for axis in {"backbone", "strategy"} - own.keys():
                    parent[axis] = dataclasses.replace(parent[axis], trail=trail)
                entry, before = self.entry(parent, family, data)
                self.plugins[key] = [*before, dataclasses.replace(entry, role=role)]
            parents[role] = self.plugins[key]
        return parents

    def _differs(self, named: Value, strategy: Strategy) -> dict[str, dict[str, Value]]:
        """Return, for each role that a strategy has a parent in, the values that the parent has of its own."""
        key = ("differs", named.key, named.trail)
        if key not in self.plugins:
            self.plugins[key] = {
                role: {
                    axis: axis_value(self._own(role, axis, spec, trail), trail)
                    for axis, spec in differs.items()
                    for trail in [(*named.trail, role, axis)]
                }
                for role, differs in strategy.parents().items()
            }
        return self.plugins[key]  # type: ignore[no-any-return]

    def _own(self, role: str, key: str, value: Any, trail: Trail) -> Any:
        """Check one thing that a parent has of its own: a value of an axis, or fields of the recipe."""
        if key not in (*AXES, "recipe"):
            hint = did_you_mean(nearest(str(key), AXES)) or f"; it has {', '.join(AXES)} and recipe"
            raise self.suite.error(trail, f"unknown key {quoted(key)} of the {role}{hint}", key=True)
        if key in ("size", "seed"):
            if not isinstance(value, int) or isinstance(value, bool) or value < (key == "size"):
                raise self.suite.error(trail, f"{key} must be a whole number, not {quoted(value)}")
            return value
        spec = {"name": value} if isinstance(value, str) and key != "recipe" else value
        if not isinstance(spec, Mapping) or (key != "recipe" and not isinstance(spec.get("name"), str)):
            what = "a mapping" if key == "recipe" else "a name or a mapping with a name"
            raise self.suite.error(trail, f"{key} must be {what}, not {quoted(value)}")
        return spec

    def _skip(self, point: Point, parts: _Parts) -> str | None:
        key = ("skip", *(point[axis].key if axis in point else None for axis in self._skip_axes))
        if key not in self.plugins:
            self.plugins[key] = self._reason(point, parts)
        return self.plugins[key]  # type: ignore[no-any-return]

    def _reason(self, point: Point, parts: _Parts) -> str | None:
        """Say why a cell is left out, or return None."""
        for exclusion in self.suite.exclude:
            if matches(exclusion.when, specs(point) | parts.whole):
                return exclusion.reason
        missing = sorted(parts.strategy.needs - self.task.provides)
        if missing:
            return f"{parts.strategy.name} needs {', '.join(missing)}; the task {self.task.name} does not provide it"
        return self._unlike(point, parts)

    def _unlike(self, point: Point, parts: _Parts) -> str | None:
        """Say which part of a cell is for other examples than the data set's, or return None."""
        data, modality = parts.dataset.name, parts.dataset.modality
        wanted = {point["backbone"].spec["name"]: parts.reads, parts.strategy.name: parts.strategy.modality}
        for name, other in wanted.items():
            if other not in (None, modality):
                return f"{name} is for examples of modality {other}, and those of {data} are of {modality}"
        if modality != "image" and self._recipe_of(point, parts)["augment"] != plain(Augment()):
            return f"augment makes other pictures of pictures, and {data} has none"
        return None

    def _check_size(self, point: Point, facts: Facts) -> None:
        if facts.classes is None or facts.counts is None:
            return
        try:
            wrong = self.task.check(point["size"].spec, len(facts.classes), facts.counts)
        except OptionError as error:
            raise self.suite.locate(error, ("task",)) from None
        if wrong:
            raise self.suite.error(point["size"].trail, wrong)

    def _check_when(self, when: Mapping[str, Any], trail: Trail, known: Mapping[str, list[Any]]) -> None:
        """Refuse a `when` that speaks of an axis or a value that neither the suite nor a parent has."""
        for axis, value in when.items():
            if axis not in known:
                hint = did_you_mean(nearest(axis, known)) or f"; it has {', '.join(known)}"
                raise self.suite.error((*trail, axis), f"unknown axis {quoted(axis)}{hint}", key=True)
            if value == []:
                raise self.suite.error((*trail, axis), f"{axis} is empty; it needs at least one value")
            for i, want in enumerate(alternatives(value)):
                if not any(same(want, each) for each in known[axis]):
                    here = (*trail, axis, i) if isinstance(value, list) else (*trail, axis)
                    word = want.get("name", want) if isinstance(want, Mapping) else want
                    raise self.suite.error(
                        here, f"no {axis} of the suite is {quoted(want)}{instead(word, known[axis])}"
                    )

    def _known(self) -> dict[str, list[Any]]:
        """Return every value that an axis has in the suite, in a profile of it, or in a parent cell."""
        known = {axis: list(values) for axis, values in self.suite.known_axes.items()}
        # The list grows while it is walked: a parent may have parents.
        for spec in known["strategy"]:
            try:
                parents = strategies.create(spec).parents()
            except BenchError:
                continue  # said with its place when a cell needs it
            for differs in parents.values():
                for axis in differs.keys() & known.keys():
                    value = {"name": differs[axis]} if isinstance(differs[axis], str) else differs[axis]
                    fits = axis in ("size", "seed") or (isinstance(value, Mapping) and "name" in value)
                    if fits and value not in known[axis]:
                        known[axis].append(value)
        whole: dict[str, Callable[[Any], dict[str, Any]]] = {
            "dataset": lambda spec: _whole(datasets.create(spec)),
            "strategy": lambda spec: _whole(strategies.create(spec)),
            "backbone": lambda spec: _model(find(spec)),
        }
        for axis, describe in whole.items():
            known[axis] = [_tried(describe, spec) for spec in known[axis]]
        return known

    def _recipe_of(self, point: Point, parts: _Parts) -> dict[str, Any]:
        """Return the recipe of a point: the suite's, the overrides that match, the `recipe.` axes, a parent's own."""
        key = ("recipe", *(point[axis].key if axis in point else None for axis in self._recipe_axes))
        if key not in self.plugins:
            recipe = dict(self.suite.recipe)
            trail: Trail = ("recipe",)
            whole = specs(point) | parts.whole
            for i, override in enumerate(self.suite.overrides):
                if matches(override.when, whole):
                    recipe, trail = _merge(recipe, override.set.recipe), ("overrides", i, "set", "recipe")
            for axis, value in point.items():
                if axis.startswith("recipe."):
                    recipe, trail = _put(recipe, axis.split(".")[1:], value.spec), value.trail
            if "recipe" in point:
                recipe, trail = _merge(recipe, point["recipe"].spec), point["recipe"].trail
            self.plugins[key] = self.making.recipe(recipe, trail)
        return self.plugins[key]  # type: ignore[no-any-return]

    def _resolved(self, parts: _Parts, parents: Mapping[str, Cell]) -> dict[str, Any]:
        """Return a strategy with the options that name its parents resolved, so that no path is in them."""
        named: dict[str, Any] = {}
        for role, differs in parts.strategy.parents().items():
            if hasattr(parts.strategy, role):
                named[role] = {k: v if k == "recipe" else getattr(parents[role], k) for k, v in differs.items()}
        whole = parts.cell["strategy"] | named
        found: dict[str, Any] = self.plugins.setdefault(("strategy", canonical(whole)), whole)
        return found


def _spoilt(strategy: Strategy, recipe: Mapping[str, Any]) -> str | None:
    """Say why a strategy makes no sense with a recipe, or return None."""
    lost = sorted(strategy.needs & Augment(**recipe["augment"]).spoils)
    return f"{strategy.name} needs {', '.join(lost)}; the recipe mixes examples" if lost else None


def _whole(plugin: Any) -> dict[str, Any]:
    """Return a plugin with all its options, those that nobody named too."""
    return {"name": plugin.name, **plain(plugin)}


def _tried(describe: Callable[[Any], dict[str, Any]], spec: dict[str, Any]) -> dict[str, Any]:
    try:
        return describe(spec)
    except BenchError:
        return spec


def _model(backbone: Backbone, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a backbone with its options as a suite names it: by the model, and the source that has it."""
    own = dict(plain(backbone) if options is None else options)
    model = own.pop("model")
    return {**own, "name": model, "source": backbone.name}


def _put(base: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return `base` with the value at a path of keys replaced."""
    key, *rest = path
    below = base.get(key)
    return {**base, key: _put(below if isinstance(below, Mapping) else {}, rest, value) if rest else value}


def _same_thing(base: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
    return "name" not in patch or patch["name"] == base.get("name")


def _merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with a patch laid over it: mappings merge, but for one that names another thing than it did."""
    merged = dict(base)
    for key, value in patch.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping) and _same_thing(below, value):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _runtime(**plugins: Any) -> dict[str, Any]:
    """Return the options of plugins that are not identity, for those that have any."""
    options = {part: runtime_of(plugin) for part, plugin in plugins.items()}
    return {part: found for part, found in options.items() if found}

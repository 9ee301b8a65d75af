"""A suite: a YAML file that asks one question of a matrix of cells under one recipe.

`load` reads it, checks its shape and that of each of its profiles, lays the chosen profile and the `--set` values over
it, and gives a frozen Suite. Names and options of plugins are checked by the planner, which builds them; both report
file, line and column through the suite's document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_core import PydanticCustomError

from bench.document import Document, Trail, hidden, read
from bench.errors import HIDDEN, BenchError, SuiteError, UsageError, did_you_mean, nearest, quoted
from bench.registry import plain_message

# How a cell may have ended for the next run to try it again; a loss that diverged would diverge again.
Ended = Literal["failed", "oom", "timeout", "diverged", "interrupted"]
RETRIED: tuple[Ended, ...] = ("failed", "oom", "timeout", "interrupted")
# Folders of a results folder that are no suite's, and files that Windows takes for devices.
RESERVED = ("artifacts", "baselines", "history")
DEVICES = ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)))
MAX_PROFILES = 100
MAX_SECONDS = 366 * 24 * 3600
# Of each kind, right and wrong, that a report shows.
MAX_EXAMPLES = 20


def named(value: Any) -> Any:
    """Read a bare name as `{name: NAME}`. Raises a validation error unless the value has a name."""
    spec = {"name": value} if isinstance(value, str) else value
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        raise PydanticCustomError("named", "must be a name or a mapping with a name")
    return spec


def _limit(value: Any) -> Any:
    """Refuse what YAML makes of `accuracy: -1pp`: a mapping."""
    if isinstance(value, Mapping):
        raise ValueError("is written without a space, as in accuracy:-1pp")
    return value


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Named = Annotated[dict[str, Any], BeforeValidator(named)]
Axis = Annotated[list[Named], Field(min_length=1)]
When = Annotated[dict[str, Any], Field(min_length=1)]


class Matrix(_Model):
    """The axes. Extra axes are named `recipe.FIELD` and vary one field of the recipe."""

    model_config = ConfigDict(extra="allow")

    dataset: Axis
    size: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    backbone: Axis
    strategy: Axis
    seed: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]

    def axes(self) -> dict[str, list[Any]]:
        """Return every axis by name, the five standard ones first."""
        standard = {name: getattr(self, name) for name in type(self).model_fields}
        return standard | dict(self.model_extra or {})


class Assignment(_Model):
    """What an override sets: fields of the recipe."""

    recipe: dict[str, Any]


class Override(_Model):
    """Fields of the recipe that differ for the cells that match `when`."""

    when: When
    set: Assignment


class Exclusion(_Model):
    """Cells left out, and why; they are shown as skipped."""

    when: When
    reason: Annotated[str, Field(min_length=1)]


class Report(_Model):
    """What the report shows beside numbers: where the best cell of each data set looks, on so many examples.

    `against` is the name of a strategy that all others are compared with in a table of their own.
    """

    against: str | None = None
    explain: Literal["best", "none"] = "none"
    examples: Annotated[int, Field(ge=1, le=MAX_EXAMPLES)] = 4


class Suite(_Model):
    """One question, the matrix that answers it, and the recipe."""

    suite: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    question: str = ""
    task: Named = {"name": "classify"}
    matrix: Matrix
    span: Literal["product", "zip", "ablation"] = "product"
    recipe: dict[str, Any] = {}
    overrides: list[Override] = []
    exclude: list[Exclusion] = []
    also_test: list[Named] = []
    deadline_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] | None = None
    retry: list[Ended] = [*RETRIED]
    gate: list[Annotated[str, BeforeValidator(_limit)]] = []
    weights: Literal["best", "all", "none"] = "best"
    report: Report = Report()
    profiles: Annotated[dict[str, dict[str, Any]], Field(max_length=MAX_PROFILES)] = {}

    _document: Document = PrivateAttr()
    _known: dict[str, list[Any]] = PrivateAttr()

    @property
    def known_axes(self) -> dict[str, list[Any]]:
        """Every value that an axis has in the file or in one of its profiles: what a `when` may speak of."""
        return self._known

    def error(self, trail: Trail, message: str, key: bool = False) -> SuiteError:
        """Return a SuiteError that begins with the place of a value (or of its key) in the file."""
        return self._document.error(trail, message, key)

    def locate(self, error: BenchError, trail: Trail) -> SuiteError:
        """Return `error`, which a plugin raised about the value at `trail`, with its place in the file."""
        return self.error((*trail, *getattr(error, "path", ())), str(error), key=getattr(error, "key", False))

    def resolved(self) -> dict[str, Any]:
        """Return the suite as it will be run, profile and settings applied, as plain JSON that `load` reads back."""
        none = set() if self.also_test else {"also_test"}
        return self.model_dump(exclude={"profiles", *none})


def load(path: Path | str, profile: str | None = None, settings: Sequence[str] = ()) -> Suite:
    """Read a suite file, lay a profile and `key=value` settings over it, and check its shape.

    Raises SuiteError with file:line:column, or UsageError for a wrong profile or setting.
    """
    document = read(Path(path))
    written = _checked(document)
    for name, changes in written.profiles.items():
        if "profiles" in changes:
            raise document.error(("profiles", name, "profiles"), "a profile has no profiles of its own", key=True)
    variants = {name: document.laid(("profiles", name)) for name in written.profiles}
    known = [written, *(_checked(variant) for variant in variants.values())]
    if profile is not None:
        if profile not in variants:
            hint = did_you_mean(nearest(profile, variants)) or f"; it has {', '.join(variants) or 'none'}"
            raise UsageError(f"--profile {profile}: {path} has no such profile{hint}")
        document = variants[profile]
    for setting in settings:
        _set(document, setting)
    suite = _checked(document)
    suite._known = {}
    for variant in (*known, suite):
        for axis, values in variant.matrix.axes().items():
            suite._known.setdefault(axis, []).extend(values)
    return suite


def _set(document: Document, setting: str) -> None:
    """Lay one `--set KEY=VALUE` over the suite; the axis of `matrix.recipe.lr` is `recipe.lr`."""
    origin = f"--set {setting}"
    key, equals, text = setting.partition("=")
    trail = tuple(key.strip().split("."))
    if odd := HIDDEN.search(setting):
        raise UsageError(f"{origin}: {hidden(odd[0])}")
    if not equals or not all(trail):
        raise UsageError(f"{origin}: write it as KEY=VALUE, for example recipe.epochs=5")
    if trail[0] == "profiles":
        raise UsageError(f"{origin}: choose a profile with --profile, and set what it would set")
    if trail[:2] == ("matrix", "recipe"):
        trail = ("matrix", ".".join(trail[1:]))
    document.assign(trail, text, origin)


def _checked(document: Document) -> Suite:
    """Return the suite in a document, its shape checked."""
    matrix = document.data.get("matrix")
    for axis in matrix if isinstance(matrix, dict) else ():
        if axis not in Matrix.model_fields and not axis.startswith("recipe."):
            known = f"; it has {', '.join(Matrix.model_fields)} and recipe.FIELD"
            hint = did_you_mean(nearest(axis, Matrix.model_fields)) or known
            raise document.error(("matrix", axis), f"unknown axis {quoted(axis)}{hint}", key=True)
    try:
        suite = Suite.model_validate(document.data)
    except ValidationError as error:
        raise _explain(document, error) from None
    suite._document = document
    for words, why in ((RESERVED, "like a folder of all results"), (DEVICES, "like a device of Windows")):
        if suite.suite.lower() in words:
            raise suite.error(("suite",), f"a suite cannot be called {suite.suite!r}, {why}")
    if suite.weights == "none" and suite.report.explain != "none":
        raise suite.error(("report", "explain"), "explain: best needs weights, and weights: none keeps none")
    against, there = suite.report.against, [spec["name"] for spec in suite.matrix.strategy]
    if against is not None and against not in there:
        hint = did_you_mean(nearest(against, there)) or f"; it has {', '.join(there)}"
        raise suite.error(("report", "against"), f"the suite has no strategy {quoted(against)}{hint}")
    for axis, values in (suite.matrix.model_extra or {}).items():
        if not isinstance(values, list) or not values:
            raise suite.error(("matrix", axis), f"{axis} must be a list of at least one value")
    return suite


def _explain(document: Document, error: ValidationError) -> SuiteError:
    """Say the first thing that is wrong, where, and what the nearest right word is. A misspelt key goes first."""

    def order(found: Any) -> tuple[bool, tuple[int, int]]:
        trail = tuple(found["loc"])
        unknown = found["type"] == "extra_forbidden"
        return not unknown, (document.keys if unknown else document.values).get(trail, (10**9, 0))

    first = min(error.errors(), key=order)
    trail = tuple(first["loc"])
    name = next((str(key) for key in reversed(trail) if isinstance(key, str)), "suite")
    if first["type"] == "extra_forbidden":
        known = _fields_at(trail[:-1])
        hint = did_you_mean(nearest(name, known)) or f"; known here: {', '.join(known)}"
        return document.error(trail, f"unknown key {quoted(name)}{hint}", key=True)
    if first["type"] == "too_short":
        return document.error(trail, f"{name} is empty; it needs at least one value")
    if first["type"] == "too_long":
        return document.error(trail, f"{name} are more than {MAX_PROFILES}")
    if first["type"] == "string_pattern_mismatch":
        return document.error(
            trail, f"a suite's name is letters, digits, - and _, at most 64 of them, not {quoted(first['input'])}"
        )
    return document.error(trail, plain_message(first))


_NESTED: dict[str, type[BaseModel]] = {
    "matrix": Matrix,
    "overrides": Override,
    "exclude": Exclusion,
    "set": Assignment,
    "report": Report,
}


def _fields_at(trail: Trail) -> list[str]:
    """Return the keys that the model has at a trail."""
    model: type[BaseModel] = Suite
    for key in trail:
        model = _NESTED.get(str(key), model)
    return list(model.model_fields)


def matches(when: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
    """Say whether a point of the matrix matches: every named axis has the value, or one of a list of values.

    A plugin matches by its name, or by a mapping whose every option it has.
    """
    return all(
        axis in point and any(same(want, point[axis]) for want in alternatives(value)) for axis, value in when.items()
    )


def alternatives(value: Any) -> Iterator[Any]:
    """Yield the values that a `when` allows: those of a list, or the one."""
    yield from value if isinstance(value, list) else [value]


def same(want: Any, value: Any) -> bool:
    """Say whether `want` describes `value`: a name describes what bears it, a mapping whatever has all its options."""
    if isinstance(value, Mapping):
        if isinstance(want, str):
            return bool(value.get("name") == want)
        return isinstance(want, Mapping) and all(k in value and same(v, value[k]) for k, v in want.items())
    return bool(want == value) and isinstance(want, bool) == isinstance(value, bool)

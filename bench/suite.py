"""A suite: a YAML file that asks one question of a matrix of cells under one recipe.

`load` reads, lays the profile and the `--set` values over it, checks the shape, and gives a frozen Suite. Names and
options of plugins are checked by the planner, which builds them; both report file, line and column through the
suite's document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from bench.document import Document, Trail, read
from bench.errors import BenchError, SuiteError, UsageError, did_you_mean, nearest
from bench.registry import plain_message


def _named(value: Any) -> Any:
    """Read a bare name as `{name: NAME}`."""
    return {"name": value} if isinstance(value, str) else value


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Named = Annotated[dict[str, Any], BeforeValidator(_named)]
Axis = Annotated[list[Named], Field(min_length=1)]


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

    when: dict[str, Any]
    set: Assignment


class Exclusion(_Model):
    """Cells left out, and why; they are shown as skipped."""

    when: dict[str, Any]
    reason: Annotated[str, Field(min_length=1)]


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
    deadline_seconds: Annotated[float, Field(gt=0)] | None = None
    profiles: dict[str, dict[str, Any]] = {}

    _document: Document = PrivateAttr()

    def error(self, trail: Trail, message: str, key: bool = False) -> SuiteError:
        """Return a SuiteError that begins with the place of a value (or of its key) in the file."""
        return self._document.error(trail, message, key)

    def locate(self, error: BenchError, trail: Trail) -> SuiteError:
        """Return `error`, which a plugin raised about the value at `trail`, with its place in the file."""
        path = tuple(getattr(error, "path", ()))
        known = (*trail, *path) in self._document.keys
        return self.error((*trail, *path), str(error), key=known and "unknown option" in str(error))

    def resolved(self) -> dict[str, Any]:
        """Return the suite as it will be run, profile and settings applied, as plain JSON."""
        return self.model_dump(exclude={"profiles"})


def load(path: Path | str, profile: str | None = None, settings: Sequence[str] = ()) -> Suite:
    """Read a suite file, lay a profile and `key=value` settings over it, and check its shape.

    Raises SuiteError with file:line:column, or UsageError for a wrong profile or setting.
    """
    document = read(Path(path))
    if profile is not None:
        profiles = document.data.get("profiles")
        profiles = profiles if isinstance(profiles, dict) else {}
        if not isinstance(profiles.get(profile), dict):
            hint = did_you_mean(nearest(profile, profiles)) or (
                f"; it has {', '.join(profiles)}" if profiles else "; it has no profiles"
            )
            raise UsageError(f"{path}: unknown profile {profile!r}{hint}")
        document.overlay((), profiles[profile], ("profiles", profile))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting}: write it as KEY=VALUE, for example recipe.epochs=5")
        document.assign(tuple(key.strip().split(".")), text, f"--set {setting}")
    try:
        suite = Suite.model_validate(document.data)
    except ValidationError as error:
        raise _explain(document, error) from None
    suite._document = document
    for axis in suite.matrix.model_extra or {}:
        _check_extra_axis(suite, axis)
    return suite


def _check_extra_axis(suite: Suite, axis: str) -> None:
    trail = ("matrix", axis)
    if not axis.startswith("recipe."):
        raise suite.error(trail, f"unknown axis {axis!r}{did_you_mean(nearest(axis, Matrix.model_fields))}", key=True)
    values = suite.matrix.axes()[axis]
    if not isinstance(values, list) or not values:
        raise suite.error(trail, f"{axis} must be a list of at least one value")


def _explain(document: Document, error: ValidationError) -> SuiteError:
    """Say the first thing that is wrong, where, and what the nearest right word is."""
    first = min(error.errors(), key=lambda e: document.values.get(tuple(e["loc"]), (10**9, 0)))
    trail = tuple(first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(trail[:-1])
        hint = did_you_mean(nearest(str(trail[-1]), known)) or f"; known here: {', '.join(known)}"
        return document.error(trail, f"unknown key {trail[-1]!r}{hint}", key=True)
    if first["type"] == "too_short":
        return document.error(trail, f"{trail[-1]} is empty; it needs at least one value")
    if first["type"] == "string_pattern_mismatch":
        return document.error(trail, "a suite's name is letters, digits, - and _, at most 64 of them")
    return document.error(trail, plain_message(first))


_NESTED: dict[str, type[BaseModel]] = {
    "matrix": Matrix,
    "overrides": Override,
    "exclude": Exclusion,
    "set": Assignment,
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
    return all(any(_same(want, point.get(axis)) for want in _alternatives(value)) for axis, value in when.items())


def _alternatives(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, list) else [value]


def _same(want: Any, value: Any) -> bool:
    if isinstance(value, Mapping):
        want = _named(want)
        return isinstance(want, Mapping) and all(k in value and value[k] == v for k, v in want.items())
    return bool(want == value)

"""Plugins: found in their folders and behind entry points, named once, checked strictly, and without torch."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import packages
import pytest
from runs import bench

from bench.errors import OptionError, PluginError, UnknownName
from bench.registry import Registry, build, identity_of, later, plain, runtime_of, runtime_option
from suites import write

KINDS = ("backbones", "datasets", "strategies", "tasks")
MIRRORED = '''
from dataclasses import dataclass
from typing import ClassVar

from bench.strategies import Phase, Strategy


@dataclass(frozen=True)
class Mirrored(Strategy):
    """Train the head alone, from another package."""

    name: ClassVar[str] = "{name}"
    version: ClassVar[int] = 1
    share: float = 1.0

    def phases(self, stages):
        return (Phase(unfrozen=0, share=self.share),)
'''


def package(folder: Path, name: str, module: str, group: str = "bench.strategies") -> Mapping[str, str]:
    """Install a package with one plugin into a folder; return the environment that finds it."""
    return packages.install(folder, name, group.removeprefix("bench."), {name: f"{name}:Mirrored"}, {name: module})


def test_a_third_party_strategy_joins_by_its_entry_point(tmp_path: Path) -> None:
    extra = package(tmp_path / "site", "mirrored", MIRRORED.format(name="mirrored"))
    write(tmp_path, {"matrix": {"strategy": ["mirrored", {"name": "mirrored", "share": 0.5}]}})
    listed = bench(tmp_path, "list", "strategies", extra=extra)
    assert "mirrored" in listed.stdout
    assert "Train the head alone, from another package." in listed.stdout
    planned = bench(tmp_path, "plan", "toy.yaml", extra=extra)
    assert planned.returncode == 0
    assert "mirrored(share=0.5) · n=12" in planned.stdout
    write(tmp_path, {"matrix": {"strategy": ["mirored"]}})
    wrong = bench(tmp_path, "plan", "toy.yaml", extra=extra)
    assert wrong.stderr == "error: toy.yaml:7:14: unknown strategy 'mirored'; did you mean 'mirrored'?\n"


def test_two_plugins_of_one_name_are_a_mistake_that_names_both(tmp_path: Path) -> None:
    extra = package(tmp_path / "site", "imposter", MIRRORED.format(name="scratch"))
    write(tmp_path)
    ended = bench(tmp_path, "plan", "toy.yaml", extra=extra)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "error: two strategy plugins are named 'scratch': bench.strategies.scratch.Scratch and imposter.Mirrored; "
        "rename one or uninstall its package\n"
    )


def test_a_plugin_that_cannot_be_imported_is_one_line_with_its_package(tmp_path: Path) -> None:
    extra = package(tmp_path / "site", "wreck", "import nothing_of_this_name\n")
    write(tmp_path)
    ended = bench(tmp_path, "plan", "toy.yaml", extra=extra)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "error: the strategy plugin 'wreck' of the package 'wreck' cannot be imported: ModuleNotFoundError: "
        "No module named 'nothing_of_this_name'; mend or uninstall that package\n"
    )


def test_importing_every_plugin_imports_no_torch() -> None:
    names = [
        f"bench.{kind}.{module.name}"
        for kind in KINDS
        for module in pkgutil.iter_modules(import_module(f"bench.{kind}").__path__)
        if not module.name.startswith("_")
    ]
    assert len(names) >= 15
    heavy = {"torch", "torchvision", "timm"}
    code = f"import sys\nfor name in {names}: __import__(name)\nprint({heavy} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.strip() == "set()"


@dataclass(frozen=True)
class Inner:
    wide: bool = False
    levels: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Sample:
    """A plugin."""

    name: ClassVar[str] = "sample"
    version: ClassVar[int] = 3
    count: int
    rate: float = 1.0
    inner: Inner = field(default_factory=Inner)
    path: str = runtime_option("here")


@pytest.fixture
def registry() -> Registry[Any]:
    found: Registry[Any] = Registry("sample", "bench.tasks")
    found.register(Sample)
    return found


def test_options_are_built_strictly(registry: Registry[Any]) -> None:
    built = registry.create({"name": "sample", "count": 2, "rate": 1, "inner": {"levels": [3]}})
    assert built == Sample(2, 1.0, Inner(levels=(3,)))


@pytest.mark.parametrize(
    ("options", "said", "path"),
    [
        ({}, "sample 'sample' needs the option 'count'", ()),
        ({"count": 1.5}, "sample 'sample': count must be a whole number, not 1.5", ("count",)),
        ({"count": True}, "sample 'sample': count must be a whole number, not true", ("count",)),
        ({"count": "1"}, "sample 'sample': count must be a whole number, not '1'", ("count",)),
        ({"count": None}, "sample 'sample': count must be a whole number, not nothing", ("count",)),
        ({"count": 1, "rate": "x"}, "sample 'sample': rate must be a number, not 'x'", ("rate",)),
        ({"count": 1, "cuont": 1}, "unknown option 'cuont' of sample 'sample'; did you mean 'count'?", ("cuont",)),
        ({"count": 1, "zz": 1}, "unknown option 'zz' of sample 'sample'; it has count, inner, path, rate", ("zz",)),
        ({"count": 1, "inner": 3}, "sample 'sample': inner must be a mapping, not 3", ("inner",)),
        (
            {"count": 1, "inner": {"wide": "no"}},
            "sample 'sample': wide must be true or false, not 'no'",
            ("inner", "wide"),
        ),
        ({"count": 1, "inner": {"wid": 1}}, "unknown option 'wid' of inner; did you mean 'wide'?", ("inner", "wid")),
        ({"count": 1, "inner": {"levels": 3}}, "sample 'sample': levels must be a list, not 3", ("inner", "levels")),
    ],
)
def test_a_wrong_option_is_named_with_the_way_to_it(
    registry: Registry[Any], options: Mapping[str, Any], said: str, path: tuple[str, ...]
) -> None:
    with pytest.raises(OptionError) as error:
        registry.create({"name": "sample", **options})
    assert str(error.value) == said
    assert error.value.path == path
    assert error.value.key is said.startswith("unknown option")


def test_identity_and_runtime_options_are_told_apart(registry: Registry[Any]) -> None:
    built = registry.create({"name": "sample", "count": 2, "path": "there"})
    inner = {"wide": False, "levels": [1, 2]}
    assert identity_of(built) == {"name": "sample", "version": 3, "count": 2, "rate": 1.0, "inner": inner}
    assert runtime_of(built) == {"path": "there"}
    assert build(Sample, plain(built), "it") == built


def test_an_unknown_name_brings_the_nearest_ones(registry: Registry[Any]) -> None:
    with pytest.raises(UnknownName, match=r"^unknown sample 'smaple'; did you mean 'sample'\?$") as error:
        registry.create({"name": "smaple"})
    assert (error.value.kind, error.value.name, error.value.close) == ("sample", "smaple", ["sample"])


def test_a_name_is_taken_once_but_a_class_can_be_defined_again(registry: Registry[Any]) -> None:
    def another() -> type[Any]:
        @dataclass(frozen=True)
        class Other:
            name: ClassVar[str] = "other"
            version: ClassVar[int] = 1

        return Other

    registry.register(another())
    newer = another()
    assert registry.register(newer) is newer
    assert registry.get("other") is newer

    @dataclass(frozen=True)
    class Thief:
        name: ClassVar[str] = "other"
        version: ClassVar[int] = 1

    with pytest.raises(PluginError, match="two sample plugins are named 'other'"):
        registry.register(Thief)


def test_what_is_no_plugin_is_refused(registry: Registry[Any]) -> None:
    class Bare:
        name = "bare"
        version = 1

    @dataclass(frozen=True)
    class Nameless:
        version: ClassVar[int] = 1

    for wrong in (Bare, Nameless):
        with pytest.raises(PluginError, match="a sample plugin is a dataclass with a `name` and a `version`"):
            registry.register(wrong)


def test_an_option_that_joined_later_is_in_an_identity_only_where_it_is_not_at_its_default() -> None:
    @dataclass(frozen=True)
    class Grown:
        name: ClassVar[str] = "grown"
        version: ClassVar[int] = 1
        width: int = 3
        depth: int | None = later(None)

    assert identity_of(Grown()) == {"name": "grown", "version": 1, "width": 3}
    assert identity_of(Grown(depth=2)) == {"name": "grown", "version": 1, "width": 3, "depth": 2}
    assert plain(Grown(depth=2)) == {"width": 3, "depth": 2}

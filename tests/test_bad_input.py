"""Every mistake of a user's: one line on stderr that says where, what and the nearest right word; exit 2; no trace."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import packages
import pytest
from runs import bench

from bench.cli import main
from suites import write

Given = Mapping[str, Any] | str | Callable[[Path], None] | None


def matrix(**axes: Any) -> dict[str, Any]:
    return {"matrix": axes}


def distill(teacher: Any, **options: Any) -> dict[str, Any]:
    return matrix(strategy=[{"name": "distill", "teacher": teacher, **options}])


def toy(**options: Any) -> dict[str, Any]:
    return {"name": "toy", **options}


def weights(path: str) -> dict[str, Any]:
    return matrix(backbone=[{"name": "toy_cnn", "weights": path}])


def anchors(levels: int) -> str:
    """Return the text of a bomb: each line holds the one before it ten times."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


SUITE_MISTAKES: dict[str, tuple[Given, str]] = {
    # the shape of the file
    "unknown key": ({"recip": {}}, r"toy.yaml:\d+:1: unknown key 'recip'; did you mean 'recipe'\?"),
    "unknown key and no near one": ({"zzz": 1}, r"toy.yaml:\d+:1: unknown key 'zzz'; known here: suite, question, "),
    "unknown axis": (matrix(size=None, sizes=[12]), r"toy.yaml:\d+:3: unknown axis 'sizes'; did you mean 'size'\?"),
    "missing key": ({"matrix": None}, r"toy.yaml:1:1: matrix is missing"),
    "missing axis": (matrix(size=None), r"toy.yaml:2:3: size is missing"),
    "wrong type on an axis": (matrix(size=["12"]), r"toy.yaml:\d+:10: size must be a whole number, not '12'"),
    "a number that is no size": (
        matrix(size=[0]),
        r"toy.yaml:\d+:10: size should be greater than or equal to 1, not 0",
    ),
    "a limit with a space": (
        {"gate": [{"accuracy": "-1pp"}]},
        r"toy.yaml:\d+:\d+: gate is written without a space, as in accuracy:-1pp, not \{'accuracy': '-1pp'\}",
    ),
    "a limit that is none": (
        {"gate": ["statsu"]},
        r"toy.yaml:\d+:\d+: 'statsu' is no limit: .*did you mean 'status'\?",
    ),
    "an unknown measure": (
        {"gate": ["status", "acuracy:-1pp"]},
        r"toy.yaml:\d+:\d+: unknown measure 'acuracy'; did you mean 'accuracy'",
    ),
    "no list": (matrix(size=12), r"toy.yaml:\d+:9: size must be a list, not 12"),
    "empty axis": (matrix(strategy=[]), r"toy.yaml:\d+:13: strategy is empty; it needs at least one value"),
    "no name": (
        matrix(strategy=[{"nam": "x"}]),
        r"toy.yaml:\d+:5: strategy must be a name or a mapping with a name, not {'nam': 'x'}",
    ),
    "a suite's name": ({"suite": "../up"}, r"toy.yaml:\d+:8: a suite's name is letters, digits, - and _, at most 64"),
    "a reserved name": ({"suite": "artifacts"}, r"toy.yaml:\d+:8: a suite cannot be called 'artifacts'"),
    "wrong span": ({"span": "zipp"}, r"toy.yaml:\d+:7: span should be .*, not 'zipp'; did you mean 'zip'\?"),
    "a deadline of nothing": ({"deadline_seconds": 0}, r"toy.yaml:1:19: deadline_seconds should be greater than 0"),
    "a mistake in a profile that is not asked for": (
        {"profiles": {"smoke": {"recip": {}}}},
        r"toy.yaml:\d+:\d+: unknown key 'recip'; did you mean 'recipe'\?",
    ),
    # names and options of plugins
    "unknown strategy": (
        matrix(strategy=["fine_tune"]),
        r"toy.yaml:\d+:14: unknown strategy 'fine_tune'; did you mean 'full_finetune' or 'partial_finetune'\?",
    ),
    "unknown dataset": (matrix(dataset=["toyy"]), r"toy.yaml:\d+:13: unknown dataset 'toyy'; did you mean 'toy'\?"),
    "unknown backbone": (
        matrix(backbone=["resnet51"]),
        r"toy.yaml:\d+:14: unknown backbone 'resnet51'; did you mean .*'resnet50'.*\?",
    ),
    "unknown task": ({"task": "clasify"}, r"toy.yaml:\d+:7: unknown task 'clasify'; did you mean 'classify'\?"),
    "another case": (matrix(strategy=["SCRATCH"]), r".*: unknown strategy 'SCRATCH'; did you mean 'scratch'\?"),
    "unknown source": (
        matrix(backbone=[{"name": "resnet50", "source": "tim"}]),
        r"toy.yaml:\d+:\d+: unknown backbone source 'tim'; did you mean 'timm'\?",
    ),
    "a source of another type": (
        matrix(backbone=[{"name": "toy_cnn", "source": [1]}]),
        r"toy.yaml:\d+:\d+: source must be text, not \[1\]",
    ),
    "unknown option of a strategy": (
        matrix(strategy=[{"name": "partial_finetune", "unfreez": 2}]),
        r"toy.yaml:\d+:\d+: unknown option 'unfreez' of strategy 'partial_finetune'; did you mean 'unfreeze'\?",
    ),
    "wrong type of an option": (
        matrix(strategy=[{"name": "partial_finetune", "unfreeze": "2"}]),
        r"toy.yaml:\d+:\d+: strategy 'partial_finetune': unfreeze must be a whole number, not '2'",
    ),
    "wrong value of an option": (
        matrix(strategy=[{"name": "partial_finetune", "unfreeze": 0}]),
        r"toy.yaml:\d+:\d+: unfreeze must be 1 or more, not 0",
    ),
    "missing option": (matrix(strategy=["distill"]), r"toy.yaml:\d+:14: strategy 'distill' needs the option 'teacher'"),
    "what identity adds": (
        matrix(strategy=[{"name": "scratch", "version": 3}]),
        r".*: unknown option 'version' of strategy 'scratch'; it has no options",
    ),
    "a model within a model": (
        matrix(backbone=[{"name": "toy_cnn", "model": "resnet18"}]),
        r".*: unknown option 'model' of a backbone",
    ),
    # the recipe
    "unknown option of the recipe": (
        {"recipe": {"epoch": 3}},
        r"toy.yaml:\d+:\d+: unknown option 'epoch' of the recipe; did you mean 'epochs'\?",
    ),
    "unknown option inside the recipe": (
        {"recipe": {"augment": {"flop": True}}},
        r"toy.yaml:\d+:\d+: unknown option 'flop' of augment; did you mean 'flip'\?",
    ),
    "wrong type in the recipe": (
        {"recipe": {"epochs": "ten"}},
        r"toy.yaml:\d+:\d+: the recipe: epochs must be a whole number, not 'ten'",
    ),
    "yes is a word": (
        {"recipe": {"augment": {"flip": "yes"}}},
        r"toy.yaml:\d+:\d+: the recipe: flip must be true or false, not 'yes'",
    ),
    "unknown word in the recipe": (
        {"recipe": {"optimizer": "adan"}},
        r".*: the recipe: optimizer should be 'adamw', 'adam' or 'sgd', not 'adan'; did you mean 'adam' or 'adamw'\?",
    ),
    "wrong axis of the recipe": (
        {"matrix": {"recipe.lrr": [0.1]}},
        r"toy.yaml:\d+:\d+: unknown option 'lrr' of the recipe; did you mean 'lr'\?",
    ),
    "empty axis of the recipe": ({"matrix": {"recipe.lr": []}}, r".*: recipe.lr must be a list of at least one value"),
    # overrides and exclusions
    "unknown axis in when": (
        {"exclude": [{"when": {"siz": 12}, "reason": "x"}]},
        r"toy.yaml:\d+:\d+: unknown axis 'siz'; did you mean 'size'\?",
    ),
    "when names what no cell is": (
        {"exclude": [{"when": {"strategy": ["scratch", "featre_extract"]}, "reason": "x"}]},
        r"toy.yaml:\d+:\d+: no strategy of the suite is 'scratch'; it has feature_extract",
    ),
    "a typo in when": (
        {"overrides": [{"when": {"strategy": "featre_extract"}, "set": {"recipe": {}}}]},
        r"toy.yaml:\d+:\d+: no strategy of the suite is 'featre_extract'; did you mean 'feature_extract'\?",
    ),
    "the wrong type in when": (
        {"exclude": [{"when": {"size": "12"}, "reason": "x"}]},
        r".*: no size of the suite is '12'; did you mean 12\?",
    ),
    "an empty when": ({"exclude": [{"when": {}, "reason": "x"}]}, r"toy.yaml:\d+:\d+: when is empty"),
    "no reason": ({"exclude": [{"when": {"size": 12}}]}, r"toy.yaml:\d+:\d+: reason is missing"),
    "a mistake in an override": (
        {"overrides": [{"when": {"size": 12}, "set": {"recipe": {"epoch": 1}}}]},
        r"toy.yaml:\d+:\d+: unknown option 'epoch' of the recipe; did you mean 'epochs'\?",
    ),
    "an override of what is no recipe": (
        {"overrides": [{"when": {"size": 12}, "set": {"recip": {}}}]},
        r"toy.yaml:\d+:\d+: unknown key 'recip'; did you mean 'recipe'\?",
    ),
    # cells that make no sense
    "size larger than the data": (
        matrix(size=[12, 1000]),
        r"toy.yaml:\d+:14: size 1000 is larger than the data: 60 training examples",
    ),
    "size smaller than the classes": (matrix(size=[2]), r"toy.yaml:\d+:10: size 2 is smaller than the 3 classes"),
    "duplicate cells": (
        matrix(seed=[0, 1, 0]),
        r"toy.yaml:\d+:16: two cells of the matrix are the same: feature_extract · toy_cnn · toy · n=12 · seed 0",
    ),
    "duplicate cells under two names": (
        matrix(dataset=["toy", toy(classes=3)]),
        r"toy.yaml:\d+:\d+: two cells of the matrix are the same: ",
    ),
    "zip out of step": (
        {"span": "zip", "matrix": {"size": [3, 6, 9], "backbone": ["toy_cnn", "resnet18"]}},
        r"toy.yaml:\d+:\d+: zip needs 1 or 3 values on every axis; backbone has 2",
    ),
    "a teacher that names itself": (
        distill({"strategy": "distill"}),
        r"toy.yaml:\d+:\d+: a teacher that names itself: give it another strategy",
    ),
    "a teacher that differs in nothing": (distill({}), r".*: a teacher that names itself"),
    "a teacher that inherits its student's strategy": (
        distill({"backbone": "resnet18"}),
        r".*: a teacher that names itself: give it another strategy",
    ),
    "a teacher's teacher that names itself": (
        distill({"strategy": {"name": "distill", "teacher": {"strategy": "distill"}}}, alpha=0.25),
        r".*: a teacher that names itself: give it another strategy",
    ),
    "unknown strategy of a teacher": (
        distill({"strategy": "ful_finetune"}),
        r"toy.yaml:\d+:\d+: unknown strategy 'ful_finetune'; did you mean 'full_finetune'",
    ),
    "unknown backbone of a teacher": (
        distill({"strategy": "full_finetune", "backbone": "toy_cn"}),
        r"toy.yaml:\d+:\d+: unknown backbone 'toy_cn'; did you mean 'toy_cnn'\?",
    ),
    "unknown key of a teacher": (
        distill({"strateg": "scratch"}),
        r"toy.yaml:\d+:\d+: unknown key 'strateg' of the teacher; did you mean 'strategy'\?",
    ),
    "a teacher that is no mapping": (distill("scratch"), r".*: strategy 'distill': teacher must be a mapping"),
    "a teacher without a name": (distill({"strategy": {}}), r".*: strategy must be a name or a mapping with a name"),
    # data and weights
    "no folder": (
        matrix(dataset=[{"name": "image_folder", "path": "nowhere"}]),
        r"toy.yaml:\d+:\d+: .*nowhere: there is no such folder",
    ),
    "a folder without images": (
        matrix(dataset=[{"name": "image_folder", "path": "."}]),
        r"toy.yaml:\d+:\d+: .*: no pictures; they go into one folder a class",
    ),
    "no checkpoint": (
        weights("none.pt"),
        r"toy.yaml:\d+:\d+: weights of backbone 'toy_cnn': no file 'none.pt'; give a",
    ),
    "a checkpoint that is a folder": (weights("."), r".*: weights of backbone 'toy_cnn': no file '.'"),
    # YAML
    "not YAML": ("suite: [x\n", r"toy.yaml:2:1: expected ',' or '\]'"),
    "a tab": ("suite: x\n\tmatrix: 3\n", r"toy.yaml:2:1: indent with spaces, not tabs"),
    "a key twice": ("suite: a\nsuite: b\n", r"toy.yaml:2:1: the key 'suite' is there twice"),
    "a key twice in two types": ("1: a\n'1': b\n", r"toy.yaml:2:1: the key '1' is there twice"),
    "a key that is a list": ("? [a]\n: 3\n", r"toy.yaml:1:\d: a key is a word, not a list or a mapping"),
    "a list": ("- a\n", r"toy.yaml:1:1: a suite is a mapping that begins with `suite: NAME`"),
    "an empty file": ("", r"toy.yaml:1:1: a suite is a mapping"),
    "a comment": ("# nothing yet\n", r"toy.yaml:1:1: a suite is a mapping"),
    "two documents": ("suite: a\n---\nsuite: b\n", r"toy.yaml:2:1: a suite is one document: `---` begins another"),
    "a tag that runs code": ("suite: !!python/object/apply:os.system [ls]\n", r"toy.yaml:1:\d+: tags are not allowed"),
    "a tag": ("suite: !x y\n", r"toy.yaml:1:8: tags are not allowed: !x"),
    "YAML 1.1": ("%YAML 1.1\n---\nsuite: no\n", r"toy.yaml:1:1: directives are not allowed: this is YAML 1.2"),
    "an anchor inside itself": ("suite: &a [*a]\n", r"toy.yaml:1:\d+: this names itself"),
    "a merge": ("a: &a {b: 1}\nc: {<<: *a}\n", r"toy.yaml:2:5: YAML 1.2 has no merge key `<<`; write the values out"),
    "an alias of nothing": ("suite: *a\n", r"toy.yaml:1:8: no anchor &a before this alias"),
    "a document inside itself": ("&a\nsuite: *a\n", r"toy.yaml:2:8: this names itself"),
    "a bomb": (anchors(9), r"toy.yaml:\d+:\d+: too much: over 100,000 values or 40 levels"),
    "depth": ("suite: " + "[" * 2000 + "]" * 2000, r"toy.yaml:1:\d+: too much: over 40 levels"),
    "not a number": ("suite: .nan\n", r"toy.yaml:1:8: a number must be finite, not .nan"),
    "more than a number can be": ("suite: 1e999\n", r"toy.yaml:1:8: a number must be finite, not 1e999"),
    "half a character": ('suite: "\\ud83d"\n', r"toy.yaml:1:8: half a character: a surrogate alone"),
    "a NUL": ("suite: a\0b\n", r"toy.yaml:1:1: not YAML: unacceptable character"),
    # the file itself
    "binary": (lambda at: at.write_bytes(bytes(range(256))), r"toy.yaml: cannot be read: it is not UTF-8 text"),
    "huge": (lambda at: at.write_text("#" * 2_000_000), r"toy.yaml: cannot be read: it is larger than 1,000,000 bytes"),
    "a directory": (lambda at: at.mkdir(), r"toy.yaml: cannot be read: Is a directory"),
    "a loop of links": (lambda at: at.symlink_to(at), r"toy.yaml: cannot be read: Too many levels of symbolic links"),
    "no such file": (
        lambda at: at.with_name("toy2.yaml").touch(),
        r"toy.yaml: there is no such file; did you mean 'toy2",
    ),
}

COMMAND_MISTAKES: dict[str, tuple[list[str], str]] = {
    "unknown profile": (["--profile", "smok"], r"--profile smok: toy.yaml has no such profile; did you mean 'smoke'\?"),
    "unknown profile and no near one": (["--profile", "x"], r"--profile x: toy.yaml has no such profile; it has smoke"),
    "set without a value": (["--set", "recipe.epochs"], r"--set recipe.epochs: write it as KEY=VALUE, for example"),
    "set without a key": (["--set", "=3"], r"--set =3: write it as KEY=VALUE"),
    "set an unknown key": (
        ["--set", "recip.epochs=3"],
        r"--set recip.epochs=3: unknown key 'recip'; did you mean 'rec",
    ),
    "set an unknown option": (
        ["--set", "recipe.epoch=3"],
        r"--set recipe.epoch=3: unknown option 'epoch' of the recipe; did you mean 'epochs'\?",
    ),
    "set the wrong type": (["--set", "matrix.seed=3"], r"--set matrix.seed=3: seed must be a list, not 3"),
    "set an empty axis": (["--set", "matrix.seed=[]"], r"--set matrix.seed=\[\]: seed is empty; it needs at least one"),
    "set what is not YAML": (["--set", "matrix.seed=[0"], r"--set matrix.seed=\[0: expected ',' or '\]'"),
    "set below a value": (["--set", "suite.x=3"], r"--set suite.x=3: 'suite' is not a mapping"),
    "set too large a size": (["--set", "matrix.size=[999]"], r"--set matrix.size=\[999\]: size 999 is larger than the"),
    "set a profile": (["--set", "profiles.x={}"], r"--set profiles.x={}: choose a profile with --profile"),
    "only an unknown axis": (
        ["--only", "strateg=x"],
        r"--only strateg=x: unknown axis 'strateg'; did you mean 'strate",
    ),
    "only an unknown value": (
        ["--only", "strategy=feature_extrac"],
        r"--only strategy=feature_extrac: the suite has no strategy 'feature_extrac'; did you mean 'feature_extract'\?",
    ),
    "only a wrong number": (["--only", "size=13"], r"--only size=13: the suite has no size '13'; it has 12"),
    "only without a value": (["--only", "strategy"], r"--only strategy: write it as AXIS=VALUE"),
    "only nothing": (["--only", ""], r"--only : write it as AXIS=VALUE"),
    "unknown device": (["--device", "gpu"], r"--device gpu: choose auto, cpu or cuda"),
    "a device that is not there": (
        ["--device", "cuda"],
        r"--device cuda: CUDA_VISIBLE_DEVICES .* hides every GPU; use --device cpu",
    ),
    "unknown engine": (["--engine", "raz"], r"--engine raz: choose local"),
    "unknown option": (["--profil", "x"], r"bench run: no such option: --profil; did you mean '--profile'\?"),
    "an option without its value": (["--set"], r"option '--set' requires an argument"),
    "one file too many": (["other.yaml"], r"bench run: got unexpected extra argument"),
    "results that are a file": (["--results", "toy.yaml"], r"toy.yaml: is not a folder; choose another with --results"),
    "results below a file": (
        ["--results", "toy.yaml/x"],
        r"toy.yaml/x: cannot be made: .* choose another with --results",
    ),
    "results with too long a name": (["--results", "r" * 300], r"r{300}.*: cannot be read: File name too long"),
    "reports that are a file": (["--reports", "toy.yaml"], r"toy.yaml: cannot be written; choose .* --reports"),
    "reports with too long a name": (["--reports", "r" * 300], r"r{300}: cannot be written; choose .* --reports"),
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(p.relative_to(folder)), p.lstat().st_mtime_ns) for p in folder.rglob("*"))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    """Run a command that must fail for a mistake of the user's; return its one line."""
    before = listing(folder)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    assert listing(folder) == before
    return captured.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(("given", "said"), SUITE_MISTAKES.values(), ids=SUITE_MISTAKES.keys())
def test_a_bad_suite_is_one_line_and_leaves_nothing_behind(
    given: Given, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if callable(given):
        given(tmp_path / "toy.yaml")
    else:
        write(tmp_path, given)
    line = refused(["run", "toy.yaml"], capsys, tmp_path)
    assert re.match(said, line), line
    assert refused(["plan", "toy.yaml"], capsys, tmp_path) == line
    assert refused(["report", "toy.yaml"], capsys, tmp_path) == line


@pytest.mark.parametrize(("arguments", "said"), COMMAND_MISTAKES.values(), ids=COMMAND_MISTAKES.keys())
def test_a_bad_command_is_one_line_and_leaves_nothing_behind(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"profiles": {"smoke": {"recipe": {"epochs": 1}}}})
    line = refused(["run", "toy.yaml", *arguments], capsys, tmp_path)
    assert re.match(said, line), line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plna"], "bench: no such command 'plna'; did you mean 'plan'?"),
        (["run"], "bench run: missing argument 'suite'; see bench run --help"),
        (["data", "fetc", "toy"], "bench data: no such command 'fetc'; did you mean 'fetch'?"),
        (["data", "fetch", "toyy"], "unknown dataset 'toyy'; did you mean 'toy'?"),
        (["list", "dataset"], "list dataset: choose datasets, backbones, strategies or tasks"),
        (["list", "strategies", "--filter", "x*"], "no strategies match 'x*'"),
        (["show", "0000"], "no cell '0000' in results"),
        (["why", "0000"], "no cell '0000' in results"),
    ],
)
def test_bad_usage_of_any_command_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(arguments, capsys, tmp_path) == said


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_results_that_cannot_be_read_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    (tmp_path / "results").mkdir(mode=0o000)
    assert "results" in refused(["run", "toy.yaml"], capsys, tmp_path)


def test_a_mistake_is_the_same_line_from_a_real_command(tmp_path: Path) -> None:
    write(tmp_path, matrix(strategy=["scrach"]))
    ended = bench(tmp_path, "run", "toy.yaml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: toy.yaml:7:14: unknown strategy 'scrach'; did you mean 'scratch'?\n"
    assert names(tmp_path) == ["toy.yaml"]


def test_a_checkpoint_of_another_model_is_found_before_anything_runs(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    write(tmp_path, matrix(backbone=["toy_cnn", {"name": "toy_cnn", "weights": "other.safetensors"}]))
    ended = bench(tmp_path, "run", "toy.yaml", "--json", extra={"TMPDIR": str(tmp_path.parent)})
    assert (ended.returncode, ended.stdout) == (2, "")
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("error: toy.yaml:4:30: other.safetensors: does not fit toy_cnn")
    assert "checkpoint of another model" in last
    assert names(tmp_path) == ["other.safetensors", "toy.yaml"]


OUT_OF_REACH = '''
from dataclasses import dataclass
from typing import ClassVar

from bench.datasets import Examples, Facts
from bench.errors import DataError


@dataclass(frozen=True)
class Far:
    """Data that are known, and cannot be had."""

    name: ClassVar[str] = "far"
    version: ClassVar[int] = 1
    modality: ClassVar[str] = "image"
    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "far away"
    resolution: int | None = None

    def facts(self) -> Facts:
        return Facts("0", ("a", "b"), {"train": 100, "test": 100})

    def fetch(self) -> None:
        raise DataError("far: no source can be reached; connect to the network")

    def examples(self, split: str) -> Examples:
        self.fetch()
        raise AssertionError
'''


def test_data_that_cannot_be_had_are_found_before_anything_runs(tmp_path: Path) -> None:
    extra = packages.install(
        tmp_path / "plugins", "far", "datasets", {"far": "far_away:Far"}, {"far_away": OUT_OF_REACH}
    )
    work = tmp_path / "work"
    write(work, matrix(dataset=["toy", "far"]))
    ended = bench(work, "run", "toy.yaml", "--json", extra={**extra, "TMPDIR": str(tmp_path)})
    assert (ended.returncode, ended.stdout) == (2, "")
    said = "error: toy.yaml:3:18: far: no source can be reached; connect to the network"
    assert ended.stderr.splitlines()[-1] == said
    assert names(work) == ["toy.yaml"]

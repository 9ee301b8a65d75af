"""`bench list backbones`: what is shown of a model, where it is kept, and that nothing breaks the list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from hub import Hub

from bench.backbones import BackboneFacts, backbones
from bench.backbones.torchvision import Torchvision
from bench.catalogue import lines, rows
from bench.cli import main
from bench.errors import UsageError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and hubs that do not answer."""
    from huggingface_hub import constants

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "cache" / "backbones"


def listed(pattern: str) -> list[dict[str, object]]:
    return list(rows("backbones", pattern))


def test_a_row_says_what_a_model_is_and_whether_its_weights_can_be_had():
    assert listed("test_vit3") == [
        {
            "name": "test_vit3",
            "source": "timm",
            "params_total": 930_280,
            "macs_forward": 94_051_200,
            "resolution": 160,
            "licence": "apache-2.0",
            "weights_at": "hf://timm/test_vit3.r160_in1k",
            "weights": "offline",
        }
    ]


@pytest.mark.parametrize(
    ("name", "word"),
    [("tf_efficientnet_lite0", "here"), ("toy_cnn", "here"), ("test_resnet", "offline"), ("test_vit_relpos", "none")],
)
def test_weights_are_here_or_not(name, word):
    assert listed(name)[0]["weights"] == word


def test_weights_of_a_hub_that_answers_can_be_downloaded(monkeypatch):
    from huggingface_hub import constants

    with Hub(b"") as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        assert listed("test_resnet")[0]["weights"] == "download"


def test_a_licence_is_that_of_the_weights():
    assert Torchvision("vit_h_14").facts().licence == "CC-BY-NC-4.0"
    assert Torchvision("resnet18").facts().licence == "BSD-3-Clause"


def test_variants_are_listed_when_the_filter_has_a_dot():
    assert [row["name"] for row in listed("test_efficientne?")] == ["test_efficientnet"]
    assert [row["name"] for row in listed("test_efficientnet.*")] == ["test_efficientnet.r160_in1k"]


def test_a_name_that_two_libraries_have_is_listed_under_both():
    assert [(row["name"], row["source"]) for row in listed("resnet18")] == [
        ("resnet18", "timm"),
        ("resnet18", "torchvision"),
    ]


def test_rows_come_as_they_are_computed(cache):
    found = rows("backbones", "test_resne?")
    other = rows("backbones", "test_*")
    next(other)
    assert len(list(cache.rglob("*.json"))) == 1
    next(found)
    assert len(list(cache.rglob("*.json"))) == 2


def test_a_second_list_computes_nothing_and_imports_no_torch(cache):
    first = list(lines("backbones", "test_convnex?"))
    program = """
import sys
from bench.catalogue import lines
print(*lines("backbones", "test_convnex?"), sep="\\n")
assert "torch" not in sys.modules
"""
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == first
    assert done.stderr == ""


def test_what_was_kept_is_for_one_version_of_the_library_and_not_trusted_when_damaged(cache):
    fresh = listed("toy_cnn")
    (kept,) = cache.rglob("*.json")
    assert kept.parent.name.startswith("toy-")
    for damage in ("", "{", "[]", '{"no": 1}'):
        kept.write_text(damage)
        assert listed("toy_cnn") == fresh
    kept.write_text(json.dumps({"params_total": 5}))
    assert listed("toy_cnn")[0]["params_total"] == 5


def test_a_cache_that_cannot_be_written_costs_time_and_no_list(monkeypatch):
    expected = listed("toy_cnn")
    monkeypatch.setenv("BENCH_CACHE", "/dev/null/cache")
    assert listed("toy_cnn") == expected


@dataclass(frozen=True)
class Broken:
    """A source whose one model cannot be built."""

    name: ClassVar[str] = "broken"
    version: ClassVar[int] = 1
    priority: ClassVar[int] = 8
    library: ClassVar[str] = "no-such-distribution"
    model: str
    weights: str = "pretrained"

    @classmethod
    def known(cls) -> frozenset[str]:
        return frozenset({"toy_broken"})

    def facts(self) -> BackboneFacts:
        raise ZeroDivisionError

    def weights_here(self, facts: BackboneFacts) -> bool:
        return False


@pytest.fixture
def broken() -> Iterator[None]:
    backbones.register(Broken)
    yield
    del backbones._plugins["broken"]


def test_a_model_that_cannot_be_built_has_dashes_and_the_list_goes_on(broken):
    found = list(lines("backbones", "toy_[bc]*"))
    assert [line.split()[0] for line in found[1:]] == ["broken:", "toy_broken", "toy:", "toy_cnn"]
    assert found[2].split() == ["toy_broken", "–", "–", "–", "–", "–"]
    assert found[4].split() == ["toy_cnn", "6.42", "k", "51.0", "k", "16", "Apache-2.0", "here"]


def test_the_table_of_vision_transformers_fits_80_columns():
    assert len(next(lines("backbones", "vit*"))) < 80
    assert all(len(line) <= 80 for line in lines("backbones", "test_vi*"))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("resnet5", "no backbones match 'resnet5'; did you mean 'resnet"),
        ("test_resnet.r160_in1", "did you mean 'test_resnet.r160_in1k'"),
        ("§", "no backbones match '§'"),
    ],
)
def test_a_filter_without_a_match_is_a_mistake_that_names_the_nearest(pattern, words):
    with pytest.raises(UsageError) as raised:
        list(lines("backbones", pattern))
    assert words in str(raised.value)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command here; return its exit code, what it printed, and what it said beside that."""
    with pytest.raises(SystemExit) as ended:
        main(["list", "backbones", *words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command_prints_a_table_or_one_json_array(capsys):
    program = [sys.executable, "-m", "bench", "list", "backbones", "--filter", "toy_c*"]
    table = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert (table.returncode, table.stderr) == (0, "")
    assert table.stdout.splitlines()[1:] == ["toy:", "toy_cnn  6.42 k  51.0 k    16  Apache-2.0    here"]
    code, array, said = told(capsys, "--filter", "toy_c*", "--json")
    assert (code, [row["name"] for row in json.loads(array)], said) == (0, ["toy_cnn"], "")
    assert json.loads(told(capsys, "--filter", "§", "--json")[1]) == []
    code, nothing, said = told(capsys, "--filter", "§")
    assert (code, nothing) == (2, "")
    assert said.count("\n") == 1


def test_a_reader_that_has_seen_enough_is_no_error():
    program = f"{sys.executable} -m bench list backbones --filter 'test_vi*' | head -n 1"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")

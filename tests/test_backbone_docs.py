"""docs/adding-a-backbone.md does what it says."""

from __future__ import annotations

import json
import subprocess
import tomllib
from typing import Any

import packages
import pages
import pytest
import runs
import torch
from ruamel.yaml import YAML

from bench.backbones import _stages, find


@pytest.fixture(scope="module")
def blocks() -> dict[str, list[str]]:
    return pages.blocks("adding-a-backbone.md")


def test_every_way_to_name_a_backbone_names_one(blocks):
    named = YAML(typ="safe").load(blocks["yaml"][0])["backbone"]
    assert len(named) == 5
    for spec in named:
        assert find({"name": spec} if isinstance(spec, str) else spec).model


def test_every_way_to_name_an_encoder_of_texts_is_one_of_its_source(blocks):
    named = YAML(typ="safe").load(blocks["yaml"][1])["backbone"]
    assert {find({"name": spec} if isinstance(spec, str) else spec).name for spec in named} == {"huggingface"}


def test_the_example_on_the_page_is_a_source_that_runs(blocks, tmp_path):
    entries = tomllib.loads(blocks["toml"][0])["project"]["entry-points"]["bench.backbones"]
    packages.install(tmp_path, "our-models", "backbones", entries, {"ours": blocks["python"][0]})
    (tmp_path / "try.yaml").write_text(blocks["yaml"][-1])

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return runs.bench(tmp_path, *words, extra={"PYTHONPATH": str(tmp_path), "BENCH_CACHE": str(tmp_path / "cache")})

    listed = run("list", "backbones", "--filter", "little*", "--json")
    assert json.loads(listed.stdout) == [
        {
            "name": "little_net",
            "source": "ours",
            "params_total": 12 * 27 + 24 + 24 * 108 + 48 + 25_000,
            "macs_forward": 12 * 27 * 256 + 24 * 108 * 64 + 24_000,
            "resolution": 32,
            "licence": "MIT",
            "weights_at": None,
            "weights": "none",
        }
    ]
    ended = run("run", "try.yaml", "--no-report", "--device", "cpu")
    assert ended.returncode == 0, ended.stderr
    records = runs.records(tmp_path, "try").values()
    assert len(records) == 2
    assert {record["status"] for record in records} == {"ok"}
    assert all(record["details"]["stages"] == ["stem", "body"] for record in records)
    refused = run("plan", "try.yaml", "--set", "matrix.backbone=[{name: little_net, weights: pretrained}]")
    assert refused.returncode == 2
    assert "little_net has no published weights" in refused.stderr


def test_the_splitter_on_the_page_keeps_the_contract(blocks, monkeypatch):
    monkeypatch.setattr(_stages, "SPLITTERS", dict(_stages.SPLITTERS))
    scope: dict[str, Any] = {}
    exec(blocks["python"][1], scope)
    network = (
        find({"name": "regnet_y_400mf", "source": "torchvision", "weights": "random"}).build(7, False, 0, 64).eval()
    )
    assert [stage.name for stage in network.stages] == ["stem", "block1", "block2", "block3", "block4"]
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for k in range(6):
            assert torch.equal(network.suffix(network.prefix(x, k), k), network.model(x))
    owned = [p for stage in network.stages for p in stage.owned()] + list(network.head.parameters())
    assert sorted(map(id, owned)) == sorted(map(id, network.model.parameters()))

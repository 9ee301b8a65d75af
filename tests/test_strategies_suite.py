"""suites/strategies.yaml: every strategy on one backbone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import runs

from bench.planner import expand
from bench.strategies import strategies
from bench.suite import load

SUITE = Path(__file__).parent.parent / "suites" / "strategies.yaml"


def test_every_strategy_is_in_it_and_runs_at_every_size_that_the_data_have():
    planned = expand(load(SUITE))
    assert {e.cell.strategy["name"] for e in planned.entries if e.role is None} == set(strategies.names())
    run = {(e.cell.dataset["name"], e.cell.size, e.cell.seed) for e in planned.runnable}
    assert run == {
        *(("fashion_mnist", size, seed) for size in (100, 500, 2000) for seed in range(3)),
        *(("digits", size, seed) for size in (100, 500) for seed in range(3)),
    }
    assert set(planned.skips.values()) == {"digits has 1258 training examples"}
    titles = [planned.titles[e.cell.id] for e in planned.entries]
    assert len(set(titles)) == len(titles)


def test_all_strategies_get_the_same_epochs_and_labels():
    planned = expand(load(SUITE))
    epochs = {(e.cell.size, e.cell.recipe["epochs"]) for e in planned.runnable}
    assert len(epochs) == 3
    for entry in planned.runnable:
        parents = [e.cell for e in planned.entries if e.cell.id in entry.cell.parents.values()]
        assert all((p.size, p.seed, p.recipe) == (entry.cell.size, entry.cell.seed, entry.cell.recipe) for p in parents)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_smoke_profile_runs_every_strategy(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "LIMIT_SECONDS", 570)
    ended = runs.bench(tmp_path, "run", SUITE, "--profile", "smoke", "--device", "cpu", "--no-report")
    assert ended.returncode == 0, ended.stderr
    found = runs.records(tmp_path, "strategies_smoke").values()
    assert Counter(r["status"] for r in found) == {"ok": len(found)}
    assert {r["cell"]["strategy"]["name"] for r in found} == set(strategies.names())
    trained = {r["cell"]["strategy"]["name"]: r["cost"] for r in found}
    assert trained["lora"]["params_total"] == trained["full_finetune"]["params_total"]
    assert (
        trained["bitfit"]["params_trained"] < trained["norm_only"]["params_trained"] < trained["lora"]["params_trained"]
    )
    decided = {r["cell"]["strategy"]["name"]: r["details"].get("decided") for r in found}
    assert decided["advised"][0]["decided"] in ("feature_extract", "partial_finetune")
    assert decided["full_finetune"] is None

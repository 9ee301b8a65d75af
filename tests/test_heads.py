"""Heads that a recipe asks for: built in one place, standardised, folded, solved, merged and counted like any other."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from learners import RECIPE, Sketch, changed, learner, network_of, round_of, state_of
from runs import bench, records
from safetensors.torch import load_file
from torch import nn

from bench.backbones._heads import Norm, ends_of, with_head
from bench.backbones._heads import network_of as network_of_cell
from bench.cell import Cell
from bench.errors import OptionError, Skip
from bench.measure.cost import counted_for, sizes_of
from bench.recipe import Head, Recipe
from bench.registry import build, plain
from bench.strategies import Phase
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.finetune import Finetune
from bench.strategies.protonet import ProtoNet
from bench.strategies.wise_ft import WiseFt
from bench.training.standardize import Standardized
from suites import write

MLP = Head(hidden=8, norm="batch", dropout=0.3)
STEADY = replace(RECIPE, head=replace(MLP, dropout=None))


@pytest.mark.parametrize(
    ("head", "path", "said"),
    [
        ({"hidden": 0}, ("head", "hidden"), "hidden must be 1 or more units, not 0"),
        ({"hidden": 1.5}, ("head", "hidden"), "hidden must be a whole number"),
        ({"norm": "batch"}, ("head", "norm"), "norm: batch is of hidden units; say how many"),
        ({"hidden": 8, "norm": "bach"}, ("head", "norm"), "did you mean 'batch'"),
        ({"dropout": 1}, ("head", "dropout"), r"dropout must be in \[0, 1\), not 1"),
        ({"hiden": 8}, ("head", "hiden"), "unknown option 'hiden' of head; did you mean 'hidden'"),
        ("mlp", ("head",), "head must be a mapping, not 'mlp'"),
    ],
    ids=str,
)
def test_a_wrong_head_is_refused_with_its_place(head, path, said):
    with pytest.raises(OptionError, match=said) as refused:
        build(Recipe, {"head": head}, "the recipe")
    assert refused.value.path == path


def test_the_usual_head_is_no_part_of_a_recipes_identity():
    assert "head" not in plain(build(Recipe, {"head": {"hidden": None}}, "the recipe"))
    assert plain(Recipe(head=MLP))["head"] == {"hidden": 8, "norm": "batch", "dropout": 0.3}


# what is built


def test_a_head_of_hidden_units_is_the_textbooks():
    network = with_head(network_of(), MLP, 3, seed=1)
    kinds = [type(module) for module in network.head]
    assert kinds == [nn.Linear, nn.ReLU, Norm, nn.Dropout, nn.Linear]
    assert network.head.dropout.p == 0.3
    first, last = ends_of(network.head)
    assert (first.in_features, first.out_features, last.in_features, last.out_features) == (32, 8, 8, 3)
    assert isinstance(network.before_head, nn.Identity)
    again = with_head(network_of(), MLP, 3, seed=1)
    other = with_head(network_of(), MLP, 3, seed=2)
    assert torch.equal(again.head.output.weight, network.head.output.weight)
    assert not torch.equal(other.head.output.weight, network.head.output.weight)
    assert network(network.noise(5)).shape == (5, 3)


def test_dropout_of_features_takes_the_place_of_the_librarys_own_and_leaves_a_linear_head():
    network = network_of("tf_efficientnet_lite0", pretrained=False)
    own = network.head
    assert isinstance(network.before_head, nn.Dropout)
    assert with_head(network, Head(), 3, seed=1).before_head.p == network.before_head.p
    for rate in (0.3, 0.0):
        with_head(network, Head(dropout=rate), 3, seed=1)
        assert network.before_head.p == rate
        assert network.head is own


@pytest.mark.parametrize("count", [1, 2, 7])
def test_one_example_alone_is_normalised_by_the_running_statistics(count):
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    mine, plain_norm = Norm(4), nn.BatchNorm1d(4)
    for norm in (mine, plain_norm):
        norm.running_mean.fill_(0.5)
        norm.running_var.fill_(2.0)
        norm.train(count > 1)
    mine.train()
    assert torch.equal(mine(x), plain_norm(x))
    assert torch.equal(mine.running_mean, plain_norm.running_mean)


def test_batches_and_pieces_of_one_train_a_head_with_batchnorm(tmp_path):
    for recipe, at_once in ((replace(STEADY, batch_size=1, epochs=1), None), (replace(STEADY, epochs=1), 1)):
        made = learner(tmp_path, FeatureExtract(), recipe, at_once=at_once)
        made.fit(round_of(9, recipe))
        assert np.isfinite(made.logits(round_of(9, recipe).test)).all()


# what strategies do with it


def test_standardising_is_folded_into_the_first_layer():
    rows = 5 + 3 * torch.rand(40, 32, generator=torch.Generator().manual_seed(0))
    head = with_head(network_of(), MLP, 3, seed=1).head.eval()
    seen = Standardized(rows, head)
    with torch.no_grad():
        wanted = seen(rows)
        folded = seen.folded()
        assert folded is head
        assert torch.allclose(folded(rows), wanted, atol=1e-4)


def test_a_head_of_hidden_units_learns_on_kept_features_and_leaves_the_backbone_alone(tmp_path):
    recipe = replace(RECIPE, epochs=12, lr=0.02, head=MLP)
    made, one = learner(tmp_path, FeatureExtract(), recipe), round_of(24, recipe)
    before = state_of(made.network)
    made.fit(one)
    assert made.spent.used
    assert {name.partition(".")[0] for name in changed(before, state_of(made.network))} == {"head"}
    assert not made._heads_alone(replace(one, monitor=None))
    assert made.progress.curve[-1].monitor_loss < made.progress.curve[0].monitor_loss


def test_a_zero_head_is_zero_in_its_last_layer_alone(tmp_path):
    made, one = learner(tmp_path, Finetune(head="zero"), STEADY), round_of(12, STEADY)
    made._rewind()
    assert (made.logits(one.test) == 0).all()
    assert made.head.hidden.weight.abs().min() > 0


@pytest.mark.parametrize("strategy", [ProtoNet(), Finetune(head="probe")])
def test_a_head_in_closed_form_has_no_hidden_units_and_may_have_dropout(tmp_path, strategy):
    with pytest.raises(Skip, match=f"{strategy.name} solves for a linear head, and the recipe's has hidden units"):
        learner(tmp_path, strategy, STEADY)
    recipe = replace(RECIPE, head=Head(dropout=0.5))
    learner(tmp_path, strategy, recipe).fit(round_of(12, recipe))


def statistics(made) -> dict[str, torch.Tensor]:
    return {n: t for n, t in state_of(made.network).items() if "running" in n}


def test_held_statistics_are_those_of_the_backbone_and_the_heads_follow(tmp_path):
    made = learner(tmp_path, Finetune(norms="frozen"), STEADY)
    before = statistics(made)
    made.fit(round_of(24, STEADY))
    assert changed(before, statistics(made)) == {"head.norm.running_mean", "head.norm.running_var"}


@pytest.mark.parametrize("strategy", [WiseFt(alpha=0.5), WiseFt(norms="train"), Finetune(norms="recalibrate")])
def test_statistics_that_are_counted_anew_are_the_heads_too(tmp_path, strategy):
    made, one = learner(tmp_path, strategy, STEADY), round_of(24, STEADY)
    made.fit(one)
    given: list[torch.Tensor] = []
    made.network.head.norm.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    feed = made.supply.feed(one.train, 0, made.views, "features", plain=True)
    made.network.eval()
    for norm in made.network.batch_norms(range(made.depth)):
        norm.train()  # all examples at once, as they were counted
    with torch.no_grad():
        for x in feed.epoch(torch.arange(24), torch.zeros(24, dtype=torch.long), [slice(0, 24)]):
            made.network.suffix(x, 0)
    held = made.network.head.norm.running_mean
    assert torch.allclose(held, given[0].mean(dim=0), atol=1e-4)


def test_tuning_after_probing_goes_on_with_the_probes_head(tmp_path):
    recipe, one = replace(STEADY, epochs=4), round_of(24, STEADY)
    both = learner(tmp_path, Sketch((Phase(unfrozen=0, standardize=True), Phase(lr=0.0, norms="frozen"))), recipe)
    probe = learner(tmp_path, Sketch((Phase(unfrozen=0, standardize=True),)), replace(recipe, epochs=2))
    for made in (both, probe):
        made.fit(one)
    for name, tensor in state_of(probe.network).items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(state_of(both.network)[name], tensor), name


def test_parameters_and_products_of_the_head_are_counted(tmp_path):
    made = learner(tmp_path, FeatureExtract(), STEADY)
    made.fit(round_of(12, STEADY))
    own = 32 * 8 + 8 + 2 * 8 + 8 * 3 + 3
    assert sizes_of(made, None).params_trained == own
    assert sum(operation.macs for operation in counted_for(made)(made.network, None)[-1]) == 32 * 8 + 8 * 3


# a whole run


def test_a_run_with_all_of_it_ends_well_and_its_weights_are_those_of_a_network_with_that_head(tmp_path):
    student = {"name": "distill", "teacher": {"strategy": "full_finetune"}}
    recipe = {
        "epochs": 6,
        "selection": "best_val",
        "patience": 2,
        "validation": 0.4,
        "schedule": {"name": "plateau", "patience": 1},
        "clip_norm": 1.0,
        "class_weights": "effective",
        "ema": 0.9,
        "head": {"hidden": 8, "norm": "batch", "dropout": 0.3},
    }
    # Where nothing changes from one epoch to the next, the first one is the best.
    still = {"lr": 1e-12, "head": {"hidden": None, "norm": "none", "dropout": 0.0}}
    overrides = [{"when": {"strategy": "feature_extract"}, "set": {"recipe": still}}]
    strategies = [student, "lp_ft", "protonet", "feature_extract"]
    changes = {"matrix": {"strategy": strategies, "size": [24]}, "recipe": recipe, "overrides": overrides}
    write(tmp_path, changes)
    ended = bench(tmp_path, "run", "toy.yaml", "--no-report")
    found = {r["cell"]["strategy"]["name"]: r for r in records(tmp_path, "toy").values()}
    assert {name: r["status"] for name, r in found.items()} == {
        "full_finetune": "ok",
        "distill": "ok",
        "lp_ft": "ok",
        "feature_extract": "ok",
        "protonet": "skipped",
    }, ended.stderr
    assert "solves for a linear head" in found["protonet"]["reason"]
    for name in ("full_finetune", "distill", "lp_ft"):
        record = found[name]
        assert record["details"]["selected_epoch"] <= 6
        assert record["cost"]["flops_train"] > 0
        assert record["latency"]
    assert found["feature_extract"]["details"]["stopped_epoch"] == 3
    cell = Cell.from_json(found["full_finetune"]["cell"])
    (weights,) = (path for path in tmp_path.rglob("*.safetensors") if cell.id in str(path))
    network_of_cell(cell, 3, False, None).load(load_file(weights))
    assert json.dumps(cell.recipe["head"], sort_keys=True) == '{"dropout": 0.3, "hidden": 8, "norm": "batch"}'

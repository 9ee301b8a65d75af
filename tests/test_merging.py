"""Weights that are merged: interpolated or averaged, with statistics that are counted and not merged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from learners import RECIPE, changed, learner, network_of, round_of, state_of

from bench.errors import OptionError, Skip
from bench.planner import expand
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.lp_ft import LpFt
from bench.strategies.soup import Soup
from bench.strategies.wise_ft import WiseFt
from bench.suite import load
from suites import write

SIX = replace(RECIPE, epochs=6)
MEMBERS = ({"seed": 7}, {"seed": 8})
BACKBONES = ["toy_cnn", "resnet10t", "convnext_atto"]


def fitted(folder, strategy, recipe=SIX, backbone="toy_cnn", **other):
    made = learner(folder, strategy, recipe, backbone, **other)
    made.fit(round_of(24, recipe))
    return made


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (lambda: WiseFt(alpha=1.5), "alpha must be between"),
        (lambda: WiseFt(probe=0.0), "probe must be between"),
        (lambda: WiseFt(lr=0.0), "lr must be positive"),
        (lambda: Soup(({"seed": 1},)), "needs 2 members or more"),
        (lambda: Soup(({"seed": 1}, {"seed": 1})), "two members are the same"),
        (lambda: Soup(({"seed": 1}, {"backbone": "resnet18"})), "unknown key 'backbone' of a member"),
    ],
)
def test_an_option_out_of_range_is_refused(made, wrong):
    with pytest.raises(OptionError, match=wrong):
        made()


# WiSE-FT


@pytest.mark.parametrize("backbone", BACKBONES)
def test_alpha_1_is_fine_tuning_and_alpha_0_the_probe_with_their_statistics_to_the_byte(tmp_path, backbone):
    tuned = fitted(tmp_path, LpFt(), backbone=backbone)
    assert not changed(
        state_of(tuned.network), state_of(fitted(tmp_path, WiseFt(alpha=1.0), backbone=backbone).network)
    )
    probe = fitted(tmp_path, FeatureExtract(), replace(SIX, epochs=3), backbone)
    wise = fitted(tmp_path, WiseFt(alpha=0.0), backbone=backbone)
    assert not changed(state_of(probe.network), state_of(wise.network))
    one = round_of(24)
    assert np.allclose(wise.logits(one.test), probe.logits(one.test), atol=1e-5)


def test_weights_between_are_interpolated_and_statistics_counted_anew(tmp_path):
    ends = [state_of(fitted(tmp_path, WiseFt(alpha=alpha, norms="train")).network) for alpha in (0.0, 1.0)]
    made = fitted(tmp_path, WiseFt(alpha=0.25, norms="train"))
    half, one = state_of(made.network), round_of(24)
    parameters = {name for name, _ in made.network.model.named_parameters()}
    for name in parameters:
        assert torch.allclose(half[name], 0.75 * ends[0][name] + 0.25 * ends[1][name], atol=1e-6)
    order = torch.arange(24)
    feed = made.supply.feed(one.train, 0, made.views, "features")
    (x,) = feed.epoch(order, torch.zeros_like(order), [slice(0, 24)])
    with torch.no_grad():
        inside = made.network.stages[0].modules[0][0](x)
    assert torch.allclose(half["stem.1.running_mean"], inside.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(half["stem.1.running_var"], inside.var(dim=(0, 2, 3)), rtol=1e-4)
    averaged = 0.75 * ends[0]["last.1.running_mean"] + 0.25 * ends[1]["last.1.running_mean"]
    assert not torch.allclose(half["last.1.running_mean"], averaged, atol=1e-3)
    assert int(half["stem.1.num_batches_tracked"]) == 1


def test_what_is_merged_starts_from_its_own_first_weights_in_every_round(tmp_path):
    made, first, other = learner(tmp_path, WiseFt(), SIX), round_of(24), round_of(12, seed=1)
    made.fit(first)
    once = made.logits(first.test)
    made.fit(other)
    made.fit(first)
    assert np.array_equal(made.logits(first.test), once)


def test_statistics_that_none_of_the_merged_has_moved_are_kept(tmp_path):
    made = learner(tmp_path, WiseFt(alpha=0.25), SIX)
    before = state_of(made.network)
    made.fit(round_of(24))
    assert changed(before, state_of(made.network)) == {name for name, _ in made.network.model.named_parameters()}
    assert [w for w in made.spent.work if w.backward is None and w.forward == 0] == []


# soups


def test_a_soup_is_the_mean_of_its_members_weights_and_not_of_their_statistics(tmp_path):
    members = {
        f"member {i + 1}": fitted(tmp_path / str(i), LpFt(norms="train"), replace(SIX, lr=lr)).network
        for i, lr in enumerate((1e-3, 1e-2))
    }
    soup = fitted(tmp_path, Soup(MEMBERS), parents=members)
    one, two = (state_of(network) for network in members.values())
    found = state_of(soup.network)
    for name, _ in soup.network.model.named_parameters():
        assert torch.allclose(found[name], (one[name] + two[name]) / 2, atol=1e-7)
    assert not torch.allclose(
        found["last.1.running_mean"], (one["last.1.running_mean"] + two["last.1.running_mean"]) / 2
    )
    assert int(found["stem.1.num_batches_tracked"]) == 1
    assert [(w.examples, w.forward, w.backward) for w in soup.spent.work] == [(24, 0, None)]
    assert soup.trained == {name for name, _ in soup.network.model.named_parameters()}


def test_a_soup_of_one_model_twice_is_that_model_with_its_statistics(tmp_path):
    member = fitted(tmp_path, LpFt()).network
    before = state_of(member)
    soup = fitted(tmp_path, Soup(MEMBERS), parents={"member 1": member, "member 2": member})
    assert not changed(before, state_of(soup.network))


def test_a_soup_of_other_weights_than_the_backbones_is_a_skip(tmp_path):
    parents = {"member 1": network_of("resnet10t"), "member 2": network_of("resnet10t")}
    with pytest.raises(Skip, match="the weights of the member 1 are not those of this backbone"):
        fitted(tmp_path, Soup(MEMBERS), parents=parents)


def test_members_are_cells_of_the_same_examples_unless_they_name_another_seed(tmp_path):
    soup = {"name": "soup", "members": [{"recipe": {"lr": 1e-3}}, {"seed": 7}]}
    plan = expand(load(write(tmp_path, {"matrix": {"size": [12], "seed": [0], "strategy": [soup]}})))
    cells = {entry.cell.id: entry.cell for entry in plan.entries}
    (cell,) = [c for c in cells.values() if c.strategy["name"] == "soup"]
    one, two = (cells[cell.parents[f"member {i}"]] for i in (1, 2))
    assert (one.strategy["name"], one.seed, one.recipe["lr"]) == ("lp_ft", 0, 1e-3)
    assert (two.seed, two.recipe) == (7, cell.recipe)
    assert one.backbone == two.backbone == cell.backbone

"""Fine-tuning with a policy for BatchNorm's statistics and a head that begins somewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import RECIPE, changed, learner, network_of, round_of, state_of, tensors_of
from torch.nn.functional import cross_entropy, one_hot

from bench.errors import OptionError, Skip
from bench.strategies import Phase, Step
from bench.strategies._probe import probe, probe_head
from bench.strategies.finetune import Finetune
from bench.strategies.full_finetune import FullFinetune
from bench.training.feed import ActivationFeed
from bench.training.norms import MOST, recalibrate
from bench.training.sources import Resident

BACKBONES = ["toy_cnn", "resnet10t", "tf_efficientnet_lite0"]


def statistics(names: set[str]) -> set[str]:
    return {n for n in names if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}


def test_options_out_of_range_are_refused():
    with pytest.raises(OptionError, match="unfreeze must be 1 or more"):
        Finetune(unfreeze=0)
    with pytest.raises(Skip, match="this backbone has 2 stage"):
        Finetune(unfreeze=3).phases(["stem", "last"])


def test_by_default_it_is_full_finetuning(tmp_path):
    found = []
    for strategy in (Finetune(), FullFinetune()):
        made = learner(tmp_path, strategy)
        made.fit(round_of(24))
        found.append(state_of(made.network))
    assert not changed(*found)


# statistics


@pytest.mark.parametrize("backbone", BACKBONES)
def test_frozen_statistics_do_not_move_while_every_weight_learns(tmp_path, backbone):
    made = learner(tmp_path, Finetune(norms="frozen"), replace(RECIPE, epochs=1), backbone)
    before = state_of(made.network)
    made.fit(round_of(16))
    moved = changed(before, state_of(made.network))
    parameters = {n for n, p in made.network.model.named_parameters() if p.requires_grad}
    assert moved == parameters
    assert len(statistics(set(before))) >= 9


def test_statistics_that_are_frozen_normalise_in_training_too(tmp_path):
    """The first loss is the one of the network in eval mode, and not of batches that are normalised by themselves."""
    losses: dict[str, list[float]] = {}
    one = round_of(24)
    recipe = replace(RECIPE, batch_size=24, epochs=1)
    for norms in ("train", "frozen"):
        own = losses.setdefault(norms, [])

        class Watched(Finetune):
            def loss(self, step: Step, own: list[float] = own) -> Any:
                found = super().loss(step)
                own.append(float(found.detach()))
                return found

        made = learner(tmp_path, Watched(norms=norms), recipe)
        wanted = float(cross_entropy(torch.from_numpy(made.logits(one.train)), torch.from_numpy(one.train.labels)))
        made.fit(one)
    assert losses["frozen"][0] == pytest.approx(wanted, rel=1e-5)
    assert losses["train"][0] != pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("unfreeze", [None, 1])
def test_recalibrated_statistics_are_those_of_the_training_examples_under_the_final_weights(tmp_path, unfreeze):
    made, one = learner(tmp_path, Finetune(norms="recalibrate", unfreeze=unfreeze)), round_of(24)
    before = state_of(made.network)
    made.fit(one)
    after, network = state_of(made.network), made.network
    learnt = {"stem", "middle", "last"} if unfreeze is None else {"last"}
    assert statistics(changed(before, after)) == statistics(tensors_of(made, learnt))
    x = next(
        made.supply.feed(one.train, 0, made.views, "features").epoch(
            torch.arange(24), torch.zeros(24, dtype=torch.long), [slice(0, 24)]
        )
    )
    with torch.no_grad():
        for stage in network.stages:
            conv, norm = stage.modules[0][0], stage.modules[0][1]
            inside = conv(x)
            if stage.name in learnt:
                assert torch.allclose(norm.running_mean, inside.mean(dim=(0, 2, 3)), atol=1e-5)
                assert torch.allclose(norm.running_var, inside.var(dim=(0, 2, 3)), rtol=1e-4)
                norm.train()
            x = stage.run(x)


@given(count=st.integers(2, 3 * MOST + 1))
@settings(max_examples=15, deadline=None)
def test_all_examples_are_counted_in_batches_of_like_size_and_momentum_comes_back(count):
    network = network_of()
    rows = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(count))
    seen: list[int] = []
    norm = network.stages[0].modules[0][1]
    norm.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    feed = ActivationFeed(Resident(rows), 1, 0, network)
    recalibrate(network, feed, count, {0, 1, 2}, "fp32")
    assert sum(seen) == count
    assert max(seen) <= MOST
    assert max(seen) - min(seen) <= 1
    assert norm.momentum == 0.1
    assert int(norm.num_batches_tracked) == len(seen)
    assert not any(m.training for m in network.model.modules())


def test_the_best_epoch_keeps_its_recalibrated_statistics(tmp_path):
    recipe = replace(RECIPE, epochs=4, selection="best_val", validation=0.5)
    one = round_of(24, recipe)
    made = learner(tmp_path, Finetune(norms="recalibrate"), recipe)
    made.fit(one)
    plain = learner(tmp_path, Finetune(), recipe)
    plain.fit(one)
    moved = changed(state_of(plain.network), state_of(made.network))
    assert moved
    assert moved == statistics(moved)


# heads


def test_a_head_of_zeros_prefers_no_class_and_its_first_step_leaves_the_backbone_alone(tmp_path):
    recipe = replace(RECIPE, epochs=1, batch_size=24, optimizer="sgd", weight_decay=0.0)
    made, one = learner(tmp_path, Finetune(head="zero", norms="frozen"), recipe), round_of(24, recipe)
    before = state_of(made.network)
    made._rewind()
    assert (made.logits(one.test) == 0).all()
    made.fit(one)
    assert changed(before, state_of(made.network)) == {"head.weight", "head.bias"}


def test_a_probed_head_starts_where_the_probe_ends(tmp_path):
    one = round_of(45)
    made = learner(tmp_path, Finetune(head="probe"))
    probe = learner(tmp_path, Finetune(head="probe"))
    probe.phases, probe.epochs = probe.phases[:1], (0,)
    probe.fit(one)
    accuracy = (probe.logits(one.test).argmax(axis=1) == one.test.labels).mean()
    assert accuracy > 0.8
    assert made.epochs == (0, 3)
    assert made.phases[1] == Phase(unfrozen=None)


def rows(seed: int, count: int, dim: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, dim, generator=generator)
    return centres[labels] + torch.randn(count, dim, generator=generator) + 5, labels


@pytest.mark.parametrize(("count", "dim"), [(40, 6), (24, 60)])
def test_the_probe_is_sklearns_ridge_regression_times_one_number(count, dim):
    from sklearn.linear_model import Ridge

    features, labels = rows(1, count, dim, 3)
    head = probe_head(features, labels, 3)
    x = features.double().numpy()
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    spectrum = np.linalg.svd(z, compute_uv=False) ** 2
    y = one_hot(labels, 3).double().numpy()
    with torch.no_grad():
        mine = head(features).double().numpy()
    gaps = []
    for power in range(-3, 4):
        theirs = Ridge(alpha=spectrum.mean() * 10.0**power, tol=1e-12).fit(z, y).predict(z)
        scale = (mine * theirs).sum() / (theirs**2).sum()
        gaps.append((float(np.abs(mine - scale * theirs).max()), scale))
    gap, scale = min(gaps)
    assert gap < 1e-3
    assert np.log2(scale) == pytest.approx(round(np.log2(scale)), abs=1e-3)


def test_what_the_probe_says_without_an_example_is_what_a_probe_of_the_others_says_of_it():
    from sklearn.linear_model import Ridge

    features, labels = rows(4, 24, 8, 3)
    x, y = features.double().numpy(), one_hot(labels, 3).double().numpy()
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    found = probe(features, labels, 3).without.numpy()
    gaps = []
    for power in range(-3, 4):
        alpha = np.square(np.linalg.svd(z, compute_uv=False)).mean() * 10.0**power
        theirs = np.stack(
            [
                Ridge(alpha=alpha, tol=1e-12).fit(np.delete(z, i, 0), np.delete(y, i, 0)).predict(z[i : i + 1])[0]
                for i in range(24)
            ]
        )
        scale = (found * theirs).sum() / (theirs**2).sum()
        gaps.append(np.abs(found - scale * theirs).max())
    assert min(gaps) < 1e-6


def test_the_probe_is_chosen_by_leaving_each_example_out():
    """On noise the best that can be said is little: a probe chosen on what it was fitted to would be sure of itself."""
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(60, 100, generator=generator), torch.arange(60) % 3
    with torch.no_grad():
        noise = probe_head(features, labels, 3)(torch.randn(500, 100, generator=generator))
    assert float(noise.softmax(dim=1).max(dim=1).values.mean()) < 0.6
    features, labels = rows(2, 60, 100, 3)
    with torch.no_grad():
        sure = probe_head(features, labels, 3)(features)
    assert float(sure.softmax(dim=1).gather(1, labels[:, None]).mean()) > 0.8


def test_a_feature_that_does_not_vary_has_no_weight_worth_noticing():
    features, labels = rows(3, 30, 5, 3)
    features[:, 2] = 7.0
    head = probe_head(features, labels, 3)
    assert torch.isfinite(head.weight).all()
    assert float(head.weight[:, 2].detach().abs().max()) < 1e-5

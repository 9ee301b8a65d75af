"""What of a recipe changes how weights move: clipping, decay, early stopping, averages, and classes of any size."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pages
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import RECIPE, TOY, Sketch, changed, learner, network_of, round_of, state_of
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn.functional import cross_entropy

from bench.errors import OptionError
from bench.rates import SCHEDULES
from bench.recipe import Recipe
from bench.registry import build, plain
from bench.strategies import Phase, Step, Strategy
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.finetune import Finetune
from bench.strategies.full_finetune import FullFinetune
from bench.strategies.lora import LoRA
from bench.strategies.lp_ft import LpFt
from bench.tasks import Round, Selection
from bench.training import exams, progress
from bench.training import learner as learner_module
from bench.training.average import Average
from bench.training.balance import Draws, class_weights
from bench.training.groups import choose, optimizer_for

HELD = replace(RECIPE, selection="best_val", validation=0.5)
STILL = Finetune(norms="frozen")


@pytest.mark.parametrize(
    ("options", "path", "said"),
    [
        ({"patience": 2}, ("patience",), "patience looks at validation; it needs selection: best_val"),
        ({"patience": 0, "selection": "best_val"}, ("patience",), "patience must be 1 evaluation or more, not 0"),
        ({"patience": 1.5}, ("patience",), "patience must be a whole number, not 1.5"),
        ({"clip_norm": 0}, ("clip_norm",), "clip_norm must be a positive number, not 0"),
        ({"clip_norm": True}, ("clip_norm",), "clip_norm must be a number, not true"),
        ({"ema": 1}, ("ema",), "ema must be between 0 and 1, not 1"),
        ({"decay_norms": 1}, ("decay_norms",), "decay_norms must be true or false, not 1"),
        ({"sampling": "balancd"}, ("sampling",), "did you mean 'balanced'"),
        ({"class_weights": "balance"}, ("class_weights",), "unknown class_weights 'balance'; did you mean 'balanced'"),
        ({"class_weights": {"name": "balanced", "beta": 0.9}}, ("class_weights", "beta"), "unknown option 'beta'"),
        ({"class_weights": {"name": "effective", "beta": 1}}, ("class_weights", "beta"), "beta must be in"),
        ({"class_weights": "balanced", "sampling": "balanced"}, ("class_weights",), "undo an imbalance twice"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_with_its_place(options, path, said):
    with pytest.raises(OptionError, match=said) as refused:
        build(Recipe, options, "the recipe")
    assert refused.value.path == path


def test_class_weights_are_a_part_of_the_recipe_as_they_are_said_in_short():
    assert plain(Recipe(class_weights={"name": "effective"}))["class_weights"] == "effective"
    told = plain(build(Recipe, {"class_weights": {"name": "effective", "beta": 0.9}}, "the recipe"))["class_weights"]
    assert told == {"name": "effective", "beta": 0.9}
    assert "class_weights" not in plain(Recipe(class_weights={"name": "none"}))


# clipping


def test_a_gradient_longer_than_the_limit_is_scaled_down_to_it_and_a_shorter_one_is_left_alone(tmp_path):
    moved = {}
    for clip in (None, 1e-3, 1e6):
        recipe = Recipe(
            epochs=1, batch_size=24, optimizer="sgd", schedule="constant", weight_decay=0.0, lr=0.1, clip_norm=clip
        )
        made = learner(tmp_path, STILL, recipe)
        before = state_of(made.network)
        made.fit(round_of(24, recipe))
        deltas = [(made.network.model.state_dict()[name] - before[name]).flatten() for name in sorted(made.trained)]
        moved[clip] = torch.cat(deltas).double()
    # The first step of Nesterov's momentum is 1.9 times the gradient.
    assert float(moved[1e-3].norm()) == pytest.approx(1.9 * 0.1 * 1e-3, rel=2e-3)
    direction = torch.nn.functional.cosine_similarity(moved[1e-3], moved[None], dim=0)
    assert float(direction) == pytest.approx(1, abs=1e-5)
    assert torch.equal(moved[1e6], moved[None])


def test_a_gradient_is_clipped_when_it_is_whole(tmp_path):
    """Pieces that were clipped each by itself would give another sum."""
    recipe = replace(RECIPE, optimizer="sgd", lr=0.5, clip_norm=0.05)
    one = round_of(17, recipe)
    whole, parts = learner(tmp_path, STILL, recipe), learner(tmp_path, STILL, recipe, at_once=3)
    free = learner(tmp_path, STILL, replace(recipe, clip_norm=None))
    for made in (whole, parts, free):
        made.fit(one)
    for name, tensor in state_of(whole.network).items():
        assert torch.allclose(state_of(parts.network)[name], tensor, atol=1e-5), name
    assert not torch.allclose(state_of(free.network)["head.weight"], state_of(whole.network)["head.weight"], atol=1e-3)


# weight decay


def test_biases_and_norms_decay_where_the_recipe_says_so():
    network = network_of()
    choose(network, Phase())
    groups = optimizer_for(network, Phase(), replace(RECIPE, weight_decay=0.2, decay_norms=True)).param_groups
    assert {group["weight_decay"] for group in groups} == {0.2}


# early stopping


def test_training_stops_after_so_many_evaluations_without_a_better_one(tmp_path):
    # So small a rate changes no weight: every evaluation is that of the first epoch.
    recipe = replace(HELD, epochs=9, lr=1e-12, patience=2, curve_points=2)
    made, one = learner(tmp_path, FeatureExtract(), recipe), round_of(24, recipe)
    made.fit(one)
    assert (made.progress.selected_epoch, made.progress.stopped_epoch) == (1, 3)
    assert [(w.examples, w.backward) for w in made.spent.work] == [(12 * 3, 3), (12 * 3, None)]
    assert [(p.epoch, p.step) for p in made.progress.curve] == [(1, 2), (3, 6)]


def test_each_phase_has_a_patience_of_its_own_and_the_curve_goes_on(tmp_path):
    recipe = replace(HELD, epochs=20, lr=1e-12, patience=2, curve_points=1)
    made = learner(tmp_path, Sketch((Phase(unfrozen=0), Phase(unfrozen=0))), recipe)
    made.fit(round_of(24, recipe))
    assert (made.progress.selected_epoch, made.progress.stopped_epoch) == (1, 5)
    assert [p.epoch for p in made.progress.curve] == [1, 3, 5]


def test_a_training_that_stops_goes_the_way_of_one_that_does_not_as_far_as_it_goes(tmp_path):
    recipe = Recipe(epochs=12, batch_size=8, lr=1.0, selection="best_val", validation=0.5, curve_points=12)
    one = round_of(24, recipe)
    whole = learner(tmp_path, FullFinetune(), recipe)
    states, judge = [], whole.progress.best.judge
    whole.progress.best.judge = lambda *seen: states.append(state_of(whole.network)) or judge(*seen)
    whole.fit(one)
    made = learner(tmp_path, FullFinetune(), replace(recipe, patience=2))
    made.fit(one)
    assert whole.progress.stopped_epoch is None
    assert made.progress.stopped_epoch == made.progress.selected_epoch + 2 < 12
    assert [replace(p, seconds=0) for p in made.progress.curve] == [
        replace(p, seconds=0) for p in whole.progress.curve[: made.progress.stopped_epoch]
    ]
    assert not changed(states[made.progress.selected_epoch - 1], state_of(made.network))
    made.fit(one)  # from the start again
    assert len(made.progress.curve) == made.progress.stopped_epoch


def test_an_evaluation_lowers_the_rate_on_a_plateau(tmp_path):
    recipe = replace(HELD, epochs=4, lr=1e-12, schedule={"name": "plateau", "patience": 0, "factor": 0.5})
    rates = []
    made = learner(tmp_path, FeatureExtract(), recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.training.loop.set_rate", lambda optimizer, part: rates.append(part))
        made.fit(round_of(24, recipe))
    assert rates == [1.0] * 4 + [0.5] * 2 + [0.25] * 2


# averages


@given(
    decay=st.floats(0.01, 0.9999),
    steps=st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=1, max_size=40),
)
@settings(max_examples=40)
def test_an_average_is_what_its_formula_says(decay, steps):
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    average, wanted = Average(weights, decay), np.zeros(3)
    for t, values in enumerate(steps, 1):
        with torch.no_grad():
            weights[0].copy_(torch.tensor(values[:2]))
            weights[1].copy_(torch.tensor(values[2:]))
        average.follow()
        d = min(decay, (1 + t) / (10 + t))
        wanted = d * wanted + (1 - d) * np.array(values)
    with average.shown():
        assert torch.cat(weights).tolist() == pytest.approx(wanted, abs=1e-4)
    assert torch.cat(weights).tolist() == pytest.approx(steps[-1], rel=1e-6)
    average.settle()
    assert torch.cat(weights).tolist() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("strategy", [FullFinetune(), FeatureExtract(), LoRA()])
def test_the_average_of_all_steps_comes_out_and_training_does_not_see_it(tmp_path, monkeypatch, strategy):
    recipe, taken = replace(RECIPE, epochs=4, lr=0.05, ema=0.9), []
    one = round_of(24, recipe)
    follow = Average.follow

    def noted(average):
        follow(average)
        taken.append([w.clone().double() for w in average._weights])

    began = Average.__init__

    def begin(average, weights, decay):
        began(average, weights, decay)
        taken.append([w.clone().double() for w in average._weights])

    settle, ends = Average.settle, []

    def settled(average):
        settle(average)
        ends.append([w.clone().double() for w in average._weights])

    for name, patched in (("follow", noted), ("__init__", begin), ("settle", settled)):
        monkeypatch.setattr(Average, name, patched)
    made = learner(tmp_path, strategy, recipe)
    made.fit(one)
    assert len(taken) == 1 + 4 * 3
    wanted = taken[0]
    for t, weights in enumerate(taken[1:], 1):
        d = min(0.9, (1 + t) / (10 + t))
        wanted = [d * a + (1 - d) * w for a, w in zip(wanted, weights, strict=True)]
    for mine, brute in zip(ends[-1], wanted, strict=True):
        assert torch.allclose(mine, brute, atol=1e-5)
    monkeypatch.undo()
    plain_one = learner(tmp_path, strategy, replace(recipe, ema=None))
    plain_one.fit(one)
    assert [p.train_loss for p in made.progress.curve] == [p.train_loss for p in plain_one.progress.curve]
    assert [p.monitor_loss for p in made.progress.curve] != [p.monitor_loss for p in plain_one.progress.curve]
    differ = changed(state_of(plain_one.network), state_of(made.network))
    # Statistics of BatchNorm are those of the training, and only what learns is averaged.
    assert differ <= {name for name, _ in made.network.model.named_parameters()}
    assert "head.weight" in differ


def test_selection_sees_and_keeps_the_average(tmp_path, monkeypatch):
    recipe = replace(HELD, epochs=5, lr=0.3, ema=0.8, schedule="constant")
    one, seen = round_of(24, recipe, monitor_size=7), []
    made = learner(tmp_path, FullFinetune(), recipe)
    quality = partial(exams.quality, made.network, precision="fp32")
    monkeypatch.setattr(progress, "quality", lambda _, exam, __: seen.append((exam, quality(exam))) or seen[-1][1])
    made.fit(one)
    held = [(exam, found) for exam, found in seen if len(exam.labels) == len(one.validation)]
    loss, accuracy = max((found for _, found in held), key=lambda found: (found[1], -found[0]))
    assert quality(held[-1][0]) == (loss, accuracy)


def test_each_phase_has_an_average_of_its_own_that_begins_where_the_last_one_ended(tmp_path):
    recipe, one = replace(RECIPE, epochs=2, ema=0.9), round_of(24)
    both = learner(tmp_path, Sketch((Phase(unfrozen=0), Phase(unfrozen=0, lr=0.0))), recipe)
    first = learner(tmp_path, Sketch((Phase(unfrozen=0),)), replace(recipe, epochs=1))
    for made in (both, first):
        made.fit(one)
    assert np.allclose(both.logits(one.test), first.logits(one.test), atol=1e-6)


# classes of unequal size

LABELS = torch.tensor([0] * 9 + [1] * 2 + [3] * 5)


@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=60))
@settings(deadline=None)  # scikit-learn's first call takes a while
def test_balanced_weights_are_those_of_scikit_learn(labels):
    found = class_weights(Recipe(class_weights="balanced"), torch.tensor(labels), 5)
    present = np.unique(labels)
    wanted = compute_class_weight("balanced", classes=present, y=labels)
    assert found[present].tolist() == pytest.approx(wanted, rel=1e-5)
    assert all(found[c] == 0 for c in range(5) if c not in present)


@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=60), beta=st.sampled_from([0.0, 0.9, 0.999, 0.99999]))
def test_effective_weights_are_those_of_the_paper_with_a_mean_of_one_over_examples(labels, beta):
    recipe = Recipe(class_weights={"name": "effective", "beta": beta})
    found = class_weights(recipe, torch.tensor(labels), 5)
    assert float(found[labels].double().mean()) == pytest.approx(1, rel=1e-5)
    counts = Counter(labels)
    raw = {c: (1 - beta) / (1 - beta**n) for c, n in counts.items()}
    first = labels[0]
    for c in counts:
        assert float(found[c] / found[first]) == pytest.approx(raw[c] / raw[first], rel=1e-4)


def test_alike_is_no_weight_at_all():
    assert class_weights(Recipe(), LABELS, 4) is None
    assert class_weights(Recipe(class_weights={"name": "effective", "beta": 0}), LABELS, 4)[LABELS].unique() == 1


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_weighted_loss_is_the_mean_by_hand_into_however_many_pieces_a_batch_is_cut(smoothing):
    logits = torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = class_weights(Recipe(class_weights="balanced"), LABELS, 4).double()

    def loss(part: slice) -> torch.Tensor:
        labels = LABELS[part]
        given = Step(logits[part], labels, {}, label_smoothing=smoothing, importance=weights[labels])
        return Strategy.loss(Sketch(), given)

    logs = torch.log_softmax(logits, dim=1)
    target = torch.nn.functional.one_hot(LABELS, 4) * (1 - smoothing) + smoothing / 4
    by_hand = -(weights[LABELS][:, None] * target * logs).sum() / len(LABELS)
    assert float(loss(slice(None))) == pytest.approx(float(by_hand))
    pieces = [slice(0, 3), slice(3, 11), slice(11, 16)]
    summed = sum(loss(p) * len(LABELS[p]) / len(LABELS) for p in pieces)
    assert float(summed) == pytest.approx(float(by_hand))
    # Torch's own mean divides by the weights in the batch, and so does not add up.
    own = [cross_entropy(logits[p], LABELS[p], weights) * len(LABELS[p]) / len(LABELS) for p in pieces]
    assert float(sum(own)) != pytest.approx(float(cross_entropy(logits, LABELS, weights)), rel=1e-3)


@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=80), seed=st.integers(0, 99))
def test_a_balanced_epoch_has_each_class_and_each_of_its_examples_equally_often(labels, seed):
    order = Draws("balanced", torch.tensor(labels)).order(torch.Generator().manual_seed(seed)).tolist()
    assert len(order) == len(labels)
    drawn = Counter(labels[i] for i in order)
    assert drawn.keys() <= set(labels)
    each = [drawn[c] for c in set(labels)]
    assert max(each) - min(each) <= 1
    for c in set(labels):
        times = Counter(i for i in order if labels[i] == c)
        counts = [times[i] for i, label in enumerate(labels) if label == c]
        assert max(counts) - min(counts) <= 1


def test_a_shuffled_epoch_is_drawn_as_ever():
    drawn = Draws("shuffled", LABELS).order(torch.Generator().manual_seed(3))
    assert torch.equal(drawn, torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(3)))


def test_two_epochs_of_balanced_draws_differ_and_come_again_from_the_same_seed():
    draws, generator = Draws("balanced", LABELS), torch.Generator().manual_seed(1)
    first, second = draws.order(generator), draws.order(generator)
    assert not torch.equal(first, second)
    assert torch.equal(draws.order(torch.Generator().manual_seed(1)), first)


def test_weights_and_draws_come_from_the_training_examples_alone(tmp_path, monkeypatch):
    seen = []
    real = learner_module.class_weights

    def noted(recipe, labels, classes):
        seen.append(labels.tolist())
        return real(recipe, labels, classes)

    monkeypatch.setattr(learner_module, "class_weights", noted)
    recipe = replace(HELD, class_weights="balanced")
    one = round_of(24, recipe)
    learner(tmp_path, FullFinetune(), recipe).fit(one)
    assert seen == [one.train.labels.tolist()]


def uneven(seed: int, counts: tuple[int, ...] = (7, 3, 2)) -> Round:
    """Return a round of few examples, some classes with more than others."""
    generator = np.random.default_rng(seed)
    labels = {split: TOY.examples(split).labels for split in ("train", "test")}
    each = [generator.permutation(np.flatnonzero(labels["train"] == c))[:n] for c, n in enumerate(counts)]
    chosen = {"train": np.concatenate(each), "test": np.arange(30)}
    picked = {split: Selection(split, index, labels[split][index]) for split, index in chosen.items()}
    return Round(picked["train"], picked["test"], ("a", "b", "c"))


@pytest.mark.parametrize("strategy", [FeatureExtract(), Sketch((Phase(unfrozen=0), Phase(unfrozen=0, lr=3.0)))])
@pytest.mark.parametrize(
    "options",
    [
        {"class_weights": "balanced", "clip_norm": 0.2, "ema": 0.7, "schedule": {"name": "step", "every": 2}},
        {"sampling": "balanced", "decay_norms": True, "weight_decay": 0.3, "schedule": {"name": "cosine", "warmup": 2}},
    ],
    ids=["weights", "draws"],
)
def test_many_heads_at_once_learn_what_each_learns_alone(tmp_path, strategy, options):
    recipe = replace(RECIPE, epochs=4, lr=0.05, **options)
    rounds = [uneven(0), uneven(1), uneven(2, (2, 3, 7)), uneven(3, (2, 3, 7))]
    many = learner(tmp_path / "many", strategy, recipe)
    assert many._heads_alone(rounds[0])
    for one, logits in many.learn(rounds):
        alone = learner(tmp_path / "alone", strategy, recipe)
        alone.fit(one)
        assert np.allclose(alone.logits(one.test), logits, atol=1e-4)


# all of it again


@pytest.mark.parametrize("strategy", [FeatureExtract(), FullFinetune(), LpFt()])
def test_a_round_gives_the_same_to_the_byte_when_it_is_learnt_again(tmp_path, strategy):
    recipe = replace(HELD, epochs=6, lr=0.02, patience=2, ema=0.9, clip_norm=1.0, sampling="balanced")
    recipe = replace(recipe, schedule={"name": "plateau", "patience": 0})
    one, other = round_of(24, recipe), round_of(12, recipe, seed=1)
    made = learner(tmp_path, strategy, recipe)
    made.fit(one)
    once, curve = made.logits(one.test), [replace(p, seconds=0) for p in made.progress.curve]
    made.fit(other)
    made.fit(one)
    assert np.array_equal(made.logits(one.test), once)
    assert [replace(p, seconds=0) for p in made.progress.curve] == curve


# the guide


def test_every_field_of_the_recipe_and_every_schedule_has_a_row_in_the_guide():
    page = (pages.DOCS / "writing-a-suite.md").read_text(encoding="utf-8")
    rows = {row[0]: row[1] for row in re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.M)}
    assert {field.name for field in fields(Recipe)} <= rows.keys()
    for name, kind in SCHEDULES.items():
        told = set(re.findall(r"`(\w+)(?::[^`]*)?`", rows[name])) - {"accuracy"}
        assert told == {field.name for field in fields(kind)} - {"name"}, name

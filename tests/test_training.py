"""The training loop and what feeds it: rates, batches, heads, kept rows, selection and rewinding."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import CPU, RECIPE, TOY, Sketch, changed, learner, network_of, problem_of, round_of, state_of
from torch import nn

from bench.errors import Skip
from bench.measure.clock import Clock
from bench.recipe import Augment, Recipe
from bench.strategies import Phase
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.full_finetune import FullFinetune
from bench.strategies.partial_finetune import PartialFinetune
from bench.strategies.protonet import ProtoNet
from bench.tasks.few_shot import FewShot
from bench.training import progress
from bench.training import supply as supply_module
from bench.training.exams import curve_epochs
from bench.training.feed import batches
from bench.training.folded import PROBES
from bench.training.groups import choose, epochs_of, optimizer_for
from bench.training.loop import Diverged
from bench.training.passes import forward_size, infer
from bench.training.rows import Rows
from bench.training.standardize import Standardized
from bench.training.step import pieces


def rates(network, phase: Phase, recipe: Recipe = RECIPE) -> dict[str, float]:
    choose(network, phase)
    names = {id(p): n for n, p in network.model.named_parameters()}
    groups = optimizer_for(network, phase, recipe).param_groups
    return {names[id(p)]: group["lr"] for group in groups for p in group["params"]}


# rates and groups


def test_each_stage_further_from_the_head_learns_at_a_fixed_part_of_the_next():
    network = network_of()
    found = rates(network, Phase(decay=0.5, lr=2.0))
    base = 2 * RECIPE.lr
    assert found["head.weight"] == pytest.approx(base)
    for stage, factor in (("last", 0.5), ("middle", 0.25), ("stem", 0.125)):
        own = [rate for name, rate in found.items() if name.startswith(stage)]
        assert own == pytest.approx([base * factor] * 3)
    # First to last of L stages and a head: decay^L.
    assert found["stem.0.weight"] / found["head.weight"] == pytest.approx(0.5**3)


def test_one_rate_for_all_without_decay():
    assert set(rates(network_of(), Phase()).values()) == {RECIPE.lr}


def test_biases_and_norms_do_not_decay_and_weights_do():
    network = network_of()
    choose(network, Phase())
    groups = optimizer_for(network, Phase(weight_decay=0.5), replace(RECIPE, weight_decay=0.2)).param_groups
    for group in groups:
        assert {p.dim() > 1 for p in group["params"]} == {group["weight_decay"] > 0}
    assert {g["weight_decay"] for g in groups} == {0.1, 0.0}


def test_the_optimiser_holds_each_parameter_that_learns_once():
    network = network_of()
    for phase in (Phase(), Phase(unfrozen=1), Phase(unfrozen=0), Phase(only=lambda module, name: name == "bias")):
        learning = choose(network, phase)
        held = [id(p) for g in optimizer_for(network, phase, RECIPE).param_groups for p in g["params"]]
        wanted = [id(p) for n, p in network.model.named_parameters() if n in learning]
        assert sorted(held) == sorted(wanted)


phases = st.builds(Phase, share=st.floats(0.01, 5), solve=st.sampled_from([None, None, None, lambda f, y, c: None]))


@given(made_of=st.lists(phases, min_size=1, max_size=6), extra=st.integers(0, 40))
def test_phases_share_exactly_the_epochs_of_the_recipe(made_of, extra):
    trained = [p for p in made_of if p.solve is None]
    epochs = len(trained) + extra
    got = epochs_of(made_of, max(epochs, 1))
    assert sum(got) == (max(epochs, 1) if trained else 0)
    assert [e > 0 for e in got] == [p.solve is None for p in made_of]


def test_phases_get_their_shares():
    assert epochs_of([Phase(), Phase()], 10) == (5, 5)
    assert epochs_of([Phase(share=1), Phase(share=4)], 10) == (2, 8)
    assert epochs_of([Phase(share=0.001), Phase(), Phase(share=0.001)], 10) == (1, 8, 1)


def test_more_phases_than_epochs_is_a_skip_and_not_a_longer_training():
    with pytest.raises(Skip, match="3 phases of training need 3 epochs or more; the recipe has 2"):
        epochs_of([Phase()] * 3, 2)


# batches


@given(count=st.integers(1, 70), size=st.integers(1, 40))
def test_batches_hold_every_example_once_and_none_is_of_one(count, size):
    parts = [range(count)[part] for part in batches(count, size)]
    assert [i for part in parts for i in part] == list(range(count))
    assert all(len(part) <= size + 1 for part in parts)
    if size > 1 and count > 1:
        assert min(len(part) for part in parts) > 1


def test_a_training_set_whose_last_batch_is_one_example_trains_a_batchnorm_of_one_pixel(tmp_path):
    made = learner(tmp_path, FullFinetune(), replace(RECIPE, epochs=1), backbone="resnet10t")
    made.fit(round_of(17))
    assert np.isfinite(made.logits(round_of(17).test)).all()


# the standardised head


@given(
    seed=st.integers(0, 999),
    scale=st.floats(-5, 4),
    offset=st.floats(-3, 3),
    count=st.integers(1, 40),
)
@settings(max_examples=60)
def test_a_folded_head_gives_the_same_logits(seed, scale, offset, count):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, 12, generator=generator) * 10 ** (scale + torch.randn(12, generator=generator) / 2)
    rows += 10**offset * torch.randn(12, generator=generator)
    rows[:, 0], rows[:, 1] = 3.25, 0.0
    head = Standardized(rows, nn.Linear(12, 4))
    with torch.no_grad():
        before = head(rows)
        folded = head.folded()
        assert isinstance(folded, nn.Linear)
        # The terms of the folded sum are large where the mean is many deviations, and each is rounded by 6e-8 of it.
        rounding = torch.finfo(torch.float32).eps * (folded.weight.abs() @ rows.abs().T).max()
        assert (folded(rows) - before).abs().max() <= 4 * rounding + 1e-6


def test_a_folded_head_is_exact_on_features_of_a_usual_scale():
    rows = torch.rand(50, 200, generator=torch.Generator().manual_seed(0)) * 3
    head = Standardized(rows, nn.Linear(200, 10))
    before = head(rows)
    assert torch.allclose(head.folded()(rows), before, atol=1e-5)


def test_standardised_features_have_mean_0_and_deviation_1():
    rows = 5 + 3 * torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
    rows[:, 2] = 7.0
    head = Standardized(rows, nn.Identity())
    seen = head(rows)
    assert torch.allclose(seen.mean(dim=0), torch.zeros(6), atol=1e-5)
    assert torch.allclose(seen.std(dim=0, correction=0), torch.tensor([1.0, 1, 0, 1, 1, 1]), atol=1e-5)


def test_the_head_that_comes_out_is_the_librarys_own(tmp_path):
    made = learner(tmp_path, FeatureExtract())
    own = made.network.head
    made.fit(round_of(12))
    assert made.network.head is own
    assert type(own) is nn.Linear


# rows


def squares(keys: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([keys.astype(np.float32), keys.astype(np.float32) ** 2], axis=1))


@given(draws=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=8))
@settings(max_examples=30)
def test_rows_come_in_the_order_asked_and_are_computed_once(draws, tmp_path_factory):
    folder, computed = tmp_path_factory.mktemp("rows"), []

    def compute(keys):
        computed.extend(keys.tolist())
        return squares(keys)

    rows = Rows(folder, "squares", {"of": "tests"})
    for i, draw in enumerate(draws):
        keys = np.array(draw)
        assert torch.equal(rows.get(keys, compute, Clock(CPU), "features"), squares(keys))
        if i % 2:
            rows.save()
            rows = Rows(folder, "squares", {"of": "tests"})
            computed_so_far = set(computed)
            rows.get(keys, compute, Clock(CPU), "features")
            assert set(computed) == computed_so_far
    assert len(computed) == len(set(computed))


def test_a_row_costs_the_mean_of_all_that_were_computed_whoever_did(tmp_path):
    def slow(keys):
        time.sleep(0.02)
        return squares(keys)

    rows, clock = Rows(tmp_path, "squares", {}), Clock(CPU)
    rows.get(np.arange(4), slow, clock, "features")
    rows.get(np.arange(2, 8), slow, clock, "features")
    rows.save()
    again = Rows(tmp_path, "squares", {})
    assert again.price(8) == pytest.approx(clock.seconds["features"], rel=1e-6)
    assert again.price(4) == pytest.approx(clock.seconds["features"] / 2, rel=1e-6)
    assert again.spent_seconds == 0.0


def test_rows_of_another_identity_are_others(tmp_path):
    one, other = Rows(tmp_path, "squares", {"cut": 1}), Rows(tmp_path, "squares", {"cut": 2})
    one.get(np.arange(3), squares, Clock(CPU), "features")
    one.save()
    assert one.id != other.id
    assert Rows(tmp_path, "squares", {"cut": 2}).price(1) == 0.0


# cached and uncached


@pytest.mark.parametrize("strategy", [FeatureExtract(), FeatureExtract(standardize=False), PartialFinetune()])
@pytest.mark.parametrize("backbone", ["toy_cnn", "resnet10t"])
def test_kept_activations_give_what_running_the_frozen_stages_gives(tmp_path, monkeypatch, backbone, strategy):
    recipe = replace(RECIPE, augment=Augment(flip=True))
    one = round_of(24, recipe)
    kept = learner(tmp_path / "kept", strategy, recipe, backbone)
    kept.fit(one)
    kept_logits = kept.logits(one.test)
    assert {(len(one.train), 2)} == {(used.examples, used.views) for used in kept.spent.used}
    monkeypatch.setattr(supply_module, "CACHE_LIMIT_BYTES", 0)
    plain = learner(tmp_path / "plain", strategy, recipe, backbone)
    plain.fit(one)
    assert not plain.spent.used
    plain_logits = plain.logits(one.test)
    assert np.abs(kept_logits - plain_logits).max() <= 1e-5 * max(1, np.abs(plain_logits).max())
    assert (kept_logits.argmax(axis=1) == plain_logits.argmax(axis=1)).mean() == 1
    assert [p.train_accuracy for p in kept.progress.curve] == [p.train_accuracy for p in plain.progress.curve]


def test_the_frozen_stages_run_once_over_each_view_of_each_example(tmp_path):
    recipe = replace(RECIPE, augment=Augment(flip=True), curve_points=1)
    made, one = learner(tmp_path, FeatureExtract(), recipe), round_of(24, recipe, monitor_size=0)
    seen = []
    made.network.stages[0].modules[0].register_forward_hook(lambda module, args, out: seen.append(len(out)))
    whole = forward_size(CPU)  # the last batch is filled up
    for _ in range(2):
        made.fit(one)
        assert sum(size for size in seen if size > PROBES) == -(-2 * 24 // whole) * whole


def test_features_that_two_phases_use_are_paid_for_once(tmp_path):
    def mean(features, labels, classes):
        return nn.Linear(features.shape[1], classes)

    recipe = replace(RECIPE, augment=Augment(shift=1, views=3))
    made = learner(tmp_path, Sketch((Phase(solve=mean), Phase(unfrozen=0), Phase(unfrozen=0, lr=0.1))), recipe)
    made.fit(round_of(12, recipe))
    assert [used.views for used in made.spent.used] == [1, 2]


# rewinding


@pytest.mark.parametrize("strategy", [FeatureExtract(), PartialFinetune(), FullFinetune()])
def test_the_learner_rewinds_to_the_byte_between_rounds(tmp_path, strategy):
    recipe = replace(RECIPE, augment=Augment(flip=True, shift=2, views=3))
    made = learner(tmp_path, strategy, recipe)
    first, other = round_of(12, recipe), round_of(24, recipe, seed=1)
    made.fit(first)
    once, curve = made.logits(first.test), [replace(p, seconds=0) for p in made.progress.curve]
    made.fit(other)
    assert not np.array_equal(made.logits(first.test), once)
    made.fit(first)
    assert np.array_equal(made.logits(first.test), once)
    assert [replace(p, seconds=0) for p in made.progress.curve] == curve


def test_a_learner_of_one_round_gives_what_a_learner_of_many_gives(tmp_path):
    episodes = list(FewShot(ways=3, queries=5, episodes=4).rounds(problem_of(6)))
    for strategy in (FeatureExtract(), PartialFinetune()):
        for episode, logits in learner(tmp_path / "many", strategy).learn(episodes):
            alone = learner(tmp_path / "alone", strategy)
            alone.fit(episode)
            assert np.allclose(alone.logits(episode.test), logits, atol=1e-5)


def test_many_heads_at_once_see_the_features_and_the_phase_that_one_alone_sees(tmp_path):
    @dataclass(frozen=True)
    class Sees(Sketch):
        """Cross-entropy and, from the second phase on, a pull that depends on the features."""

        def loss(self, step):
            (weight,) = (w for w in step.weights.values() if w.dim() == 2)
            return super().loss(step) + step.phase * step.features.square().mean() * weight.square().sum()

    strategy = Sees((Phase(unfrozen=0), Phase(unfrozen=0, lr=3.0)))
    episodes = list(FewShot(ways=3, queries=5, episodes=3).rounds(problem_of(6)))
    for episode, logits in learner(tmp_path / "many", strategy).learn(episodes):
        alone = learner(tmp_path / "alone", strategy)
        alone.fit(episode)
        assert np.allclose(alone.logits(episode.test), logits, atol=1e-5)


def test_dropout_is_drawn_from_the_cells_own_generator(tmp_path):
    one = round_of(12)

    def trained(seed: int, drawn_before: int) -> np.ndarray:
        torch.manual_seed(drawn_before)
        made = learner(tmp_path, FullFinetune(), generator=torch.Generator().manual_seed(seed))
        made.network.before_head = nn.Dropout(0.5)
        state = torch.get_rng_state()
        made.fit(one)
        assert torch.equal(torch.get_rng_state(), state)
        return made.logits(one.test)

    assert np.array_equal(trained(1, drawn_before=7), trained(1, drawn_before=8))
    assert not np.array_equal(trained(1, drawn_before=7), trained(2, drawn_before=7))


# selection


def snapshots(made, one) -> list[dict[str, torch.Tensor]]:
    """Fit a round and return the state at the end of each epoch, before anything is restored."""
    taken = []
    plain = made.progress.best.judge

    def judge(*seen):
        taken.append(state_of(made.network))
        return plain(*seen)

    made.progress.best.judge = judge
    made.fit(one)
    return taken


@pytest.mark.parametrize(
    ("strategy", "rate"), [(FeatureExtract(standardize=False), 0.3), (PartialFinetune(), 1.0), (FullFinetune(), 1.0)]
)
def test_the_best_epoch_on_validation_is_restored_bit_for_bit_with_its_buffers(tmp_path, strategy, rate):
    # At so high a rate the last epoch is not the best.
    recipe = Recipe(epochs=8, batch_size=8, lr=rate, schedule="constant", selection="best_val", validation=0.5)
    one = round_of(24, recipe)
    made = learner(tmp_path, strategy, recipe)
    epochs = snapshots(made, one)
    assert len(epochs) == 8
    quality = []
    for state in epochs:
        network = network_of()
        network.model.load_state_dict(state)
        other = learner(tmp_path, strategy, recipe, network=network, identity={"epoch": len(quality)})
        logits = torch.from_numpy(other.logits(one.validation))
        labels = torch.from_numpy(one.validation.labels)
        loss = float(nn.functional.cross_entropy(logits, labels))
        quality.append((float((logits.argmax(dim=1) == labels).float().mean()), -loss))
    best = max(range(8), key=lambda i: quality[i])
    assert made.progress.selected_epoch == best + 1
    assert not changed(epochs[best], state_of(made.network))
    assert changed(epochs[-1], state_of(made.network))


@pytest.mark.parametrize(
    "ruin", [Phase(lr=1e4), Phase(unfrozen=0, lr=1e6), Phase(unfrozen=0, lr=1e6, standardize=True)]
)
def test_the_best_epoch_is_the_best_of_all_phases(tmp_path, ruin):
    recipe = Recipe(epochs=4, batch_size=8, lr=1e-3, selection="best_val", validation=0.5)
    one = round_of(24, recipe)
    made = learner(tmp_path, Sketch((Phase(unfrozen=0, standardize=True, lr=30), ruin)), recipe)
    good = learner(tmp_path, Sketch((Phase(unfrozen=0, standardize=True, lr=30),)), replace(recipe, epochs=2))
    made.fit(one)
    good.fit(one)
    assert made.progress.selected_epoch == good.progress.selected_epoch <= 2
    assert not changed(state_of(good.network), state_of(made.network))


def test_nothing_to_select_on_is_a_skip_and_not_the_last_epoch(tmp_path):
    recipe = replace(RECIPE, selection="best_val")
    with pytest.raises(Skip, match="holds out no examples to select on"):
        learner(tmp_path, FullFinetune(), recipe).fit(round_of(12))


@pytest.mark.parametrize("strategy", [FeatureExtract(), FullFinetune()])
def test_training_and_selection_never_look_at_the_test_split(tmp_path, strategy):
    recipe = replace(RECIPE, selection="best_val")
    made, one = learner(tmp_path, strategy, recipe), round_of(24, recipe)
    read = []
    plain = made.cache.material.prepared
    made.cache.material.prepared = lambda split, *rest: read.append(split) or plain(split, *rest)
    made.fit(one)
    assert set(read) == {"train"}
    made.logits(one.test)
    assert "test" in read


def test_the_last_epoch_is_kept_without_selection(tmp_path):
    made = learner(tmp_path, FullFinetune())
    made.fit(round_of(12))
    assert made.progress.selected_epoch is None


def test_selection_is_a_cost_of_training_and_monitoring_is_not(tmp_path, monkeypatch):
    recipe = replace(RECIPE, epochs=4, selection="best_val")
    one = round_of(24, recipe)
    made = learner(tmp_path, FullFinetune(), recipe)
    plain = progress.quality

    def slow(network, exam, precision):
        time.sleep(0.03 if exam.labels.shape == one.validation.labels.shape else 0.2)
        return plain(network, exam, precision)

    assert len(one.validation) != len(one.monitor)
    monkeypatch.setattr(progress, "quality", slow)
    made.fit(one)
    assert 0.12 <= made.clock.seconds["train"] < 0.7
    assert made.clock.seconds["evaluate"] >= 0.8
    assert made.progress.curve[-1].seconds <= made.clock.seconds["train"]


def test_the_feature_pass_over_validation_is_a_part_of_the_price(tmp_path):
    recipe = replace(RECIPE, selection="best_val", augment=Augment(flip=True))
    one = round_of(24, recipe)
    made = learner(tmp_path, FeatureExtract(), recipe)
    made.fit(one)
    assert [(used.split, used.examples, used.views) for used in made.spent.used] == [
        ("train", len(one.train), 2),
        ("train", len(one.validation), 1),
    ]
    assert sum(count for _, count in made.spent.shown) == 24
    assert [(w.examples, w.backward) for w in made.spent.work] == [(19 * 3, 3), (5 * 3, None)]


# the curve, and divergence


@given(epochs=st.integers(1, 60), points=st.integers(1, 20))
def test_the_curve_always_ends_at_the_last_epoch(epochs, points):
    chosen = curve_epochs(epochs, points)
    assert max(chosen) == epochs
    assert min(chosen) >= 1
    assert len(chosen) <= max(min(points, epochs), 2)


def test_points_are_epochs_steps_and_training_seconds(tmp_path):
    told = []
    recipe = replace(RECIPE, epochs=4)
    made = learner(tmp_path, Sketch((Phase(unfrozen=0), Phase())), recipe, watch=told.append)
    made.fit(round_of(20, recipe))
    assert told == made.progress.curve
    assert [(p.epoch, p.step) for p in told] == [(1, 3), (2, 6), (3, 9), (4, 12)]
    seconds = [p.seconds for p in told]
    assert seconds == sorted(seconds)
    assert seconds[-1] <= made.clock.seconds["train"]


def test_a_loss_that_is_no_number_is_said_with_its_rate(tmp_path):
    recipe = replace(RECIPE, lr=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(Diverged, match=r"the training loss is (nan|inf) in epoch \d"):
        learner(tmp_path, FullFinetune(), recipe).fit(round_of(12))


def test_bf16_trains_and_keeps_weights_in_fp32(tmp_path):
    recipe = replace(RECIPE, precision="bf16")
    made = learner(tmp_path, FullFinetune(), recipe)
    made.fit(round_of(12))
    logits = made.logits(round_of(12).test)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert {p.dtype for p in made.network.parameters()} == {torch.float32}


# everything together: the loop learns


def test_two_phases_continue_one_another(tmp_path):
    one = round_of(24)
    made = learner(tmp_path, Sketch((Phase(unfrozen=0), Phase(unfrozen=0, lr=0.0))), replace(RECIPE, epochs=2))
    made.fit(one)
    first = learner(tmp_path, Sketch((Phase(unfrozen=0),)), replace(RECIPE, epochs=1))
    first.fit(one)
    assert np.array_equal(made.logits(one.test), first.logits(one.test))


def test_a_head_after_a_trained_backbone_uses_what_was_not_touched(tmp_path):
    one = round_of(24)
    made = learner(
        tmp_path, Sketch((Phase(unfrozen=1), Phase(unfrozen=0, standardize=True))), replace(RECIPE, epochs=4)
    )
    made.fit(one)
    # Training, then features for the deviation of each, then training of the head.
    assert [(w.forward, w.backward) for w in made.spent.work] == [(2, 2), (2, None), (2, 3)]
    pixels = torch.zeros(2, 3, 16, 16)
    assert torch.isfinite(infer(made.network, pixels, 0, None, "fp32")).all()


def test_a_full_finetune_learns_the_toy_task(tmp_path):
    recipe = Recipe(epochs=15, batch_size=16, lr=1e-2, augment=Augment(shift=1))
    one = round_of(45, recipe, TOY)
    made = learner(tmp_path, FullFinetune(), recipe)
    made.fit(one)
    assert (made.logits(one.test).argmax(axis=1) == one.test.labels).mean() > 0.9


# fewer examples at once


@given(count=st.integers(1, 200), most=st.integers(1, 70))
def test_pieces_are_few_and_equal_and_never_too_large(count, most):
    found = pieces(count, most)
    sizes = [piece.stop - piece.start for piece in found]
    assert [i for piece in found for i in range(count)[piece]] == list(range(count))
    assert len(sizes) == -(-count // most)
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("strategy", [FullFinetune(), PartialFinetune()])
def test_fewer_examples_at_once_learn_what_the_whole_batch_learns(tmp_path, strategy):
    """But for BatchNorm, which sees the pieces: here there is none that learns. 17 examples leave an unequal batch."""
    recipe = replace(RECIPE, batch_size=8, label_smoothing=0.1)
    one = round_of(17, recipe)
    whole = learner(tmp_path, strategy, recipe, "vit_tiny_patch16_224")
    whole.fit(one)
    parts = learner(tmp_path, strategy, recipe, "vit_tiny_patch16_224", at_once=3)
    parts.fit(one)
    for mine, other in zip(parts.progress.curve, whole.progress.curve, strict=True):
        assert mine.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert mine.train_accuracy == other.train_accuracy


@pytest.mark.parametrize("strategy", [FeatureExtract(), ProtoNet()])
def test_the_frozen_stages_run_once_for_many_rounds_and_not_for_the_few_that_each_lacks(tmp_path, strategy):
    task = FewShot(ways=3, queries=2, episodes=20)
    rounds = list(task.rounds(problem_of(6)))
    made = learner(tmp_path, strategy, RECIPE)
    seen = []
    made.network.stages[0].modules[0].register_forward_hook(lambda module, args, out: seen.append(len(out)))
    assert len(list(made.learn(rounds))) == 20
    whole = forward_size(CPU)
    shown = [{int(i) for r in rounds for i in part(r).index} for part in (lambda r: r.train, lambda r: r.test)]
    assert sum(size for size in seen if size > PROBES) == sum(-(-len(each) // whole) * whole for each in shown)


def test_fewer_examples_at_once_settle_an_automatic_precision_everywhere(tmp_path):
    made = learner(tmp_path, PartialFinetune(), replace(RECIPE, precision="auto"), at_once=3)
    made.tune(round_of(12), {})
    assert (made.recipe.precision, made.supply.precision, made.verdict) == ("fp32", "fp32", None)

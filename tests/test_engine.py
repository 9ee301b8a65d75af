"""The engine under the loop: where rows come from, how a step is taken, which way of running is chosen."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import CPU, RECIPE, Sketch, learner, network_of, problem_of, round_of, state_of
from torch import nn

from bench.measure.clock import Clock
from bench.recipe import Augment, Recipe
from bench.strategies import Phase
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.full_finetune import FullFinetune
from bench.strategies.partial_finetune import PartialFinetune
from bench.tasks.few_shot import FewShot
from bench.training import autotune as autotune_module
from bench.training import learner as learner_module
from bench.training import rows as rows_module
from bench.training import sources as sources_module
from bench.training import supply as supply_module
from bench.training.autotune import MARGIN, TUNE_STEPS, Autotune, Mode, Stretch, Trial, Verdict, best_of, modes
from bench.training.feed import batches
from bench.training.learner import Learner
from bench.training.loop import Diverged
from bench.training.passes import FORWARD_BATCH, side_by_side
from bench.training.rows import Rows
from bench.training.sources import Resident, Streamed

FLIPS = replace(RECIPE, augment=Augment(flip=True))
DEFAULT, OTHER = Mode(), Mode(layout="contiguous")


def counted(keys: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([keys, keys**2, -keys], axis=1).astype(np.int32))


def rows_of(folder, count: int) -> Rows:
    rows = Rows(folder, "counted", {})
    rows.ensure(np.arange(count), counted, Clock(CPU), "features")
    return rows


# streaming


@given(count=st.integers(2, 60), size=st.integers(1, 20), seed=st.integers(0, 99), pieces=st.integers(3, 50))
@settings(max_examples=25, deadline=None)
def test_streamed_batches_are_the_resident_ones(tmp_path_factory, count, size, seed, pieces):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "PIECE", pieces)
        patch.setattr(rows_module, "FRESH_LIMIT_BYTES", 0)  # each piece is a chunk on disk
        rows = rows_of(tmp_path_factory.mktemp("rows"), 2 * count)
    keys = np.random.default_rng(seed).permutation(2 * count)[:count]
    order, parts = torch.randperm(count, generator=torch.Generator().manual_seed(seed)), batches(count, size)
    streamed = list(Streamed(rows, keys, CPU).batches(order, parts))
    resident = list(Resident(rows.take(keys)).batches(order, parts))
    assert len(list(rows.folder.glob("*.safetensors"))) == -(-2 * count // pieces)
    assert len(streamed) == len(parts)
    for one, other, part in zip(streamed, resident, parts, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, counted(keys[order[part].numpy()]))


@pytest.mark.parametrize("strategy", [FeatureExtract(), PartialFinetune(), FullFinetune()])
def test_data_larger_than_the_budget_give_the_same_training(tmp_path, monkeypatch, strategy):
    one = round_of(24, FLIPS)
    held = learner(tmp_path / "held", strategy, FLIPS)
    held.fit(one)
    monkeypatch.setattr(sources_module, "RESIDENT_LIMIT_BYTES", 0)
    monkeypatch.setattr(rows_module, "FRESH_LIMIT_BYTES", 0)
    monkeypatch.setattr(rows_module, "PIECE", 64)
    streamed = learner(tmp_path / "streamed", strategy, FLIPS)
    streamed.fit(one)
    assert np.array_equal(streamed.logits(one.test), held.logits(one.test))
    assert [p.train_loss for p in streamed.progress.curve] == [p.train_loss for p in held.progress.curve]


def test_rows_are_mapped_and_not_read_into_memory(tmp_path):
    rows = Rows(tmp_path, "wide", {})
    rows.ensure(np.arange(64), lambda keys: torch.ones(len(keys), 2**18), Clock(CPU), "features")
    rows.save()
    before = anonymous_bytes()
    again = Rows(tmp_path, "wide", {})
    assert float(again.take(np.array([63])).sum()) == 2**18
    assert anonymous_bytes() - before < 16 * 2**20  # of 64 MiB


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def test_a_pass_that_is_cut_short_keeps_what_it_had_written(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "PIECE", 10)
    monkeypatch.setattr(rows_module, "FRESH_LIMIT_BYTES", 0)

    def dies(keys):
        if keys[0] >= 20:
            raise KeyboardInterrupt
        return counted(keys)

    with pytest.raises(KeyboardInterrupt):
        Rows(tmp_path, "counted", {}).ensure(np.arange(40), dies, Clock(CPU), "features")
    computed = []
    again = Rows(tmp_path, "counted", {})
    again.ensure(np.arange(40), lambda keys: computed.extend(keys) or counted(keys), Clock(CPU), "features")
    assert computed == list(range(20, 40))


# kept activations in half precision


@pytest.mark.parametrize("strategy", [FeatureExtract(), PartialFinetune()])
@pytest.mark.parametrize("backbone", ["toy_cnn", "resnet10t"])
def test_kept_activations_in_bf16_lose_nothing(tmp_path, monkeypatch, backbone, strategy):
    recipe = replace(FLIPS, precision="bf16")
    one = round_of(24, recipe)
    kept = learner(tmp_path / "kept", strategy, recipe, backbone)
    kept.fit(one)
    monkeypatch.setattr(supply_module, "CACHE_LIMIT_BYTES", 0)
    plain = learner(tmp_path / "plain", strategy, recipe, backbone)
    plain.fit(one)
    kept_logits, plain_logits = kept.logits(one.test), plain.logits(one.test)
    # bf16 has 8 bits: what is kept has the very bits, and only the order of sums differs.
    assert np.abs(kept_logits - plain_logits).max() <= 0.02 * max(1, np.abs(plain_logits).max())
    assert (kept_logits.argmax(axis=1) == plain_logits.argmax(axis=1)).mean() >= 0.98


def test_activations_are_kept_in_the_precision_they_were_computed_in(tmp_path):
    for precision, wanted in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        recipe = replace(RECIPE, precision=precision)
        made, one = learner(tmp_path, PartialFinetune(), recipe), round_of(12, recipe)
        feed = made.supply.feed(one.train, 2, made.views, "features")
        order = torch.arange(12)
        (rows,) = feed.epoch(order, torch.zeros_like(order), [slice(0, 12)])
        assert rows.dtype == wanted


# autotune


def test_the_default_is_kept_unless_another_way_is_clearly_faster():
    assert best_of(DEFAULT, {DEFAULT: 1.0, OTHER: MARGIN + 0.01}) == DEFAULT
    assert best_of(DEFAULT, {DEFAULT: 1.0, OTHER: MARGIN - 0.01}) == OTHER
    assert best_of(DEFAULT, {DEFAULT: None, OTHER: 5.0}) == OTHER
    assert best_of(DEFAULT, {DEFAULT: None, OTHER: None}) == DEFAULT


@given(st.lists(st.floats(0.001, 10), min_size=4, max_size=4))
def test_a_verdict_is_never_wrong_by_more_than_a_tenth_of_what_was_measured(seconds):
    tried = dict(zip(modes("auto", CPU), seconds, strict=True))
    assert tried[best_of(Mode(), tried)] <= min(seconds) / 0.9


def test_what_is_tried_follows_the_recipe_and_the_device():
    assert modes("fp32", CPU) == [DEFAULT, OTHER]
    assert {m.precision for m in modes("auto", CPU)} == {"fp32", "bf16"}
    gpu = modes("bf16", torch.device("cuda"))
    assert gpu[0] == Mode("bf16")
    assert {(m.layout, m.stepping) for m in gpu} == {
        (layout, stepping) for layout in ("channels_last", "contiguous") for stepping in ("eager", "graph")
    }


def test_a_short_training_is_not_worth_a_trial_and_automatic_precision_is(tmp_path):
    tuner = Autotune(tmp_path, CPU, {})
    assert tuner.verdict(network_of(), RECIPE, Stretch(TUNE_STEPS - 1), {}) is None
    assert tuner.spent_seconds == 0.0
    assert tuner.verdict(network_of(), replace(RECIPE, precision="auto"), Stretch(1), {}) is not None
    assert tuner.verdict(network_of(), RECIPE, Stretch(TUNE_STEPS), {}) is not None


@pytest.mark.parametrize("faster", ["fp32", "bf16"])
def test_the_features_of_a_head_alone_are_made_in_the_precision_that_is_faster(tmp_path, monkeypatch, faster):
    monkeypatch.setattr(Trial, "_timed", lambda self, step: (step(), 1.0)[1])
    seconds = Trial.seconds
    monkeypatch.setattr(Trial, "seconds", lambda self, mode: seconds(self, mode) - 0.5 * (mode.precision == faster))
    made, one = learner(tmp_path, FeatureExtract(), replace(RECIPE, precision="auto")), round_of(12)
    before = {name: tensor.clone() for name, tensor in made.network.model.state_dict().items()}
    made.tune(one, {})
    assert set(made.verdict.step_seconds) == {"fp32/channels_last/eager", "bf16/channels_last/eager"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.network.model.state_dict().items())
    assert (made.mode, made.recipe.precision) == (Mode(faster), faster)
    made.fit(one)
    assert {used.forward.precision for used in made.spent.used} == {faster}


@pytest.mark.parametrize(("device", "examples"), [("cpu", 8), ("cuda", FORWARD_BATCH["cuda"])])
def test_features_are_tried_on_as_many_examples_as_tell_the_precisions_apart(device, examples):
    network = network_of()
    trial = Trial(network, RECIPE, Stretch(0, len(network.stages)), torch.device(device))
    assert len(trial.noise) == examples


@pytest.mark.parametrize("backbone", ["toy_cnn", "resnet10t"])
def test_a_head_stays_in_fp32_where_the_stages_are_in_bf16(backbone):
    network = network_of(backbone).eval()
    x, seen = network.noise(4), []
    network.head.register_forward_hook(lambda _, given, made: seen.append((given[0].dtype, made.dtype)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        inside = network.stages[0].run(x)
        features, logits = network.answer(x, 0)
    assert seen == [(torch.float32, torch.float32)]
    assert inside.dtype == torch.bfloat16
    assert torch.equal(logits, network.head(features))
    assert network.to("meta")(x.to("meta")).shape == logits.shape


def test_a_verdict_is_measured_once_and_kept_for_its_network_and_machine(tmp_path):
    first = Autotune(tmp_path, CPU, {"cpu": "a"})
    found = first.verdict(network_of(), RECIPE, Stretch(999), {"name": "toy"})
    assert isinstance(found, Verdict)
    assert found.seconds == first.spent_seconds > 0
    again = Autotune(tmp_path, CPU, {"cpu": "a"})
    assert again.verdict(network_of(seed=9), RECIPE, Stretch(999), {"name": "toy"}) == found
    assert again.spent_seconds == 0.0
    for other in ({"cpu": "b"}, {"cpu": "a", "torch": "9"}):
        elsewhere = Autotune(tmp_path, CPU, other)
        assert elsewhere.verdict(network_of(), RECIPE, Stretch(999), {"name": "toy"}).id != found.id
        assert elsewhere.spent_seconds > 0
    for recipe in (replace(RECIPE, batch_size=4), replace(RECIPE, precision="auto")):
        assert again.verdict(network_of(), recipe, Stretch(999), {"name": "toy"}).id != found.id
    assert again.verdict(network_of(), RECIPE, Stretch(999, 2, 0.2), {"name": "toy"}).id != found.id


@pytest.mark.parametrize(
    ("strategy", "passes", "wanted"),
    [
        (FullFinetune(), 0.0, 0),
        (PartialFinetune(unfreeze=2), 2 / 4, -2),
        (FeatureExtract(), 0.0, None),
    ],
)
def test_a_trial_is_of_what_the_strategy_trains(tmp_path, monkeypatch, strategy, passes, wanted):
    asked = []
    monkeypatch.setattr(Autotune, "verdict", lambda self, network, recipe, stretch, identity: asked.append(stretch))
    recipe = replace(FLIPS, epochs=4, batch_size=8)
    made = learner(tmp_path, strategy, recipe)
    made.tune(round_of(24, recipe), {})
    (stretch,) = asked
    assert stretch == (Stretch(0, made.depth) if wanted is None else Stretch(12, wanted % made.depth, passes))
    monkeypatch.setattr(supply_module, "CACHE_LIMIT_BYTES", 0)
    made.tune(round_of(24, recipe), {})
    # Rows that are not kept are passed at every step.
    assert asked[1].passes == float(bool(stretch.steps and stretch.cut))


def test_a_trial_counts_the_frozen_passes_and_trains_what_is_left(tmp_path):
    trial = Trial(network_of("resnet10t"), RECIPE, Stretch(10, 2, 0.5), CPU)
    assert trial.first_seconds(DEFAULT) is not None
    assert trial._prefixes[DEFAULT] > 0
    trial._prefixes[DEFAULT] = 1000.0
    assert 500 < trial.seconds(DEFAULT) < 600


def test_ways_that_are_far_behind_are_not_timed_again(tmp_path, monkeypatch):
    taken = {mode: [] for mode in modes("auto", CPU)}
    worth = dict(zip(taken, (1.0, 1.1, 1.3, 2.0), strict=True))
    monkeypatch.setattr(Trial, "first_seconds", lambda self, mode: worth[mode])
    monkeypatch.setattr(Trial, "seconds", lambda self, mode: taken[mode].append(1) or worth[mode])
    found = Autotune(tmp_path, CPU, {}).verdict(network_of(), replace(RECIPE, precision="auto"), Stretch(5), {})
    assert [len(times) for times in taken.values()] == [3, 3, 1, 0]
    assert found.mode == DEFAULT
    assert list(found.step_seconds.values()) == [1.0, 1.1, 1.3]


def test_a_damaged_verdict_is_measured_again(tmp_path):
    first = Autotune(tmp_path, CPU, {})
    first.verdict(network_of(), RECIPE, Stretch(999), {})
    (path,) = first.folder.glob("*.json")
    path.write_text(path.read_text(encoding="utf-8")[:40], encoding="utf-8")
    again = Autotune(tmp_path, CPU, {})
    assert again.verdict(network_of(), RECIPE, Stretch(999), {}) is not None
    assert again.spent_seconds > 0
    assert json.loads(path.read_text(encoding="utf-8"))["mode"]["layout"] in autotune_module.LAYOUTS


@pytest.mark.parametrize("backbone", ["toy_cnn", "resnet10t"])
def test_a_trial_leaves_the_network_and_the_draws_as_they_were(tmp_path, backbone):
    network = network_of(backbone)
    before, drawn = state_of(network), torch.get_rng_state()
    frozen, training = network.frozen, network.training
    assert Autotune(tmp_path, CPU, {}).verdict(network, RECIPE, Stretch(999), {}) is not None
    after = state_of(network)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert (network.frozen, network.training) == (frozen, training)
    assert all(p.grad is None for p in network.parameters())


def test_a_way_that_fails_is_not_the_way(tmp_path, monkeypatch):
    plain = autotune_module.stepper_for

    def fails(stepping, network, *rest):
        if network.layout is torch.channels_last:
            raise RuntimeError("no kernel")
        return plain(stepping, network, *rest)

    monkeypatch.setattr(autotune_module, "stepper_for", fails)
    found = Autotune(tmp_path, CPU, {}).verdict(network_of(), RECIPE, Stretch(999), {})
    assert found.mode == OTHER
    assert "fp32/channels_last/eager" not in found.step_seconds


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize("strategy", [FeatureExtract(), PartialFinetune(), FullFinetune()])
def test_a_layout_changes_numbers_by_rounding_alone(tmp_path, layout, strategy):
    one = round_of(24, FLIPS)
    plain = learner(tmp_path / "plain", strategy, FLIPS, "resnet10t")
    plain.fit(one)
    made = learner(tmp_path / layout, strategy, FLIPS, "resnet10t")
    made.network.arrange(Mode(layout=layout).memory_format)
    made.fit(one)
    assert np.allclose(made.logits(one.test), plain.logits(one.test), atol=2e-3)
    assert made.progress.curve[0].train_loss == pytest.approx(plain.progress.curve[0].train_loss, rel=1e-3)


def test_a_learner_runs_as_its_verdict_says(tmp_path, monkeypatch):
    verdict = Verdict("0" * 16, Mode("bf16", "contiguous"), {}, 0.5)
    monkeypatch.setattr(Autotune, "verdict", lambda self, *rest: verdict)
    made = learner(tmp_path, FullFinetune(), Recipe(epochs=1, batch_size=8, precision="auto"))
    made.tune(round_of(12), {})
    assert made.recipe.precision == "bf16"
    assert made.network.layout is torch.contiguous_format
    made.fit(round_of(12))
    assert np.isfinite(made.logits(round_of(12).test)).all()


# ways to take a step


def trained(folder, stepping: str, device: torch.device = CPU) -> tuple[list[float], np.ndarray]:
    """Return the losses and the test logits after some epochs; on a GPU their last batch is smaller."""
    recipe = replace(FLIPS, epochs=4)
    made, one = learner(folder, FullFinetune(), recipe, device=device), round_of(24 if device == CPU else 27, recipe)
    made.mode = replace(made.mode, stepping=stepping)
    made.fit(one)
    return [p.train_loss for p in made.progress.curve], made.logits(one.test)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns about itself
def test_a_compiled_step_gives_the_numbers_of_the_step_as_written(tmp_path):
    losses, logits = trained(tmp_path / "eager", "eager")
    again, compiled = trained(tmp_path / "compiled", "compiled")
    assert again == pytest.approx(losses, rel=1e-4)
    assert np.allclose(compiled, logits, atol=1e-3)


@pytest.mark.gpu
def test_a_captured_step_gives_the_numbers_of_the_step_as_written(tmp_path):
    gpu = torch.device("cuda")
    losses, logits = trained(tmp_path / "eager", "eager", gpu)
    again, captured = trained(tmp_path / "graph", "graph", gpu)
    assert again == pytest.approx(losses, rel=1e-3)
    assert np.allclose(captured, logits, atol=1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("stepping", ["eager", "graph"])
@pytest.mark.parametrize("strategy", [FeatureExtract(), PartialFinetune(), FullFinetune()])
def test_nothing_waits_for_the_device_within_an_epoch(tmp_path, monkeypatch, stepping, strategy):
    gpu, recipe = torch.device("cuda"), replace(FLIPS, clip_norm=1.0, ema=0.9, class_weights="balanced")
    made, one = learner(tmp_path, strategy, recipe, device=gpu), round_of(27, recipe)
    made.mode = replace(made.mode, stepping=stepping)
    taken = []
    plain = learner_module.train

    def watched(network, method, phase, recipe, lesson, *rest):
        feed = lesson.feed
        whole = feed.epoch

        def epoch(*order):
            torch.cuda.set_sync_debug_mode("error")
            for x in whole(*order):
                taken.append(len(x))
                yield x
            torch.cuda.set_sync_debug_mode("default")

        feed.epoch = epoch
        return plain(network, method, phase, recipe, lesson, *rest)

    monkeypatch.setattr(learner_module, "train", watched)
    try:
        made.fit(one)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum(taken) == 27 * FLIPS.epochs


# heads of many rounds at once


def assert_heads_learn_alike(folder, strategy, recipe: Recipe, episodes: int) -> tuple[Learner, Learner]:
    """Learn episodes at once and one by one, compare the logits of each, and return both learners."""
    at_once, one_by_one = learner(folder, strategy, recipe), learner(folder, strategy, recipe)
    rounds = list(FewShot(ways=3, queries=5, episodes=episodes).rounds(problem_of(9)))
    for episode, logits in at_once.learn(rounds):
        one_by_one.fit(episode)
        assert np.allclose(one_by_one.logits(episode.test), logits, atol=1e-4)
    return at_once, one_by_one


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    "made_of",
    [
        (Phase(unfrozen=0),),
        (Phase(unfrozen=0, standardize=True),),
        (Phase(unfrozen=0, standardize=True, weight_decay=0.0), Phase(unfrozen=0, lr=0.1)),
    ],
)
def test_heads_that_learn_at_once_learn_what_each_would_learn_alone(tmp_path, made_of, optimizer):
    recipe = Recipe(
        epochs=4, batch_size=4, lr=0.05, label_smoothing=0.1, optimizer=optimizer, augment=Augment(shift=2, views=3)
    )
    at_once, one_by_one = assert_heads_learn_alike(tmp_path, Sketch(made_of), recipe, episodes=7)
    assert sorted(map(repr, at_once.spent.work)) == sorted(map(repr, one_by_one.spent.work))
    assert [used[1:] for used in at_once.spent.used] == [used[1:] for used in one_by_one.spent.used]
    assert at_once.spent.shown == one_by_one.spent.shown
    assert at_once.trained == one_by_one.trained


def test_a_loss_that_looks_at_the_weights_is_each_heads_own(tmp_path):
    @dataclass(frozen=True)
    class Ridge(FeatureExtract):
        def loss(self, step):
            return super().loss(step) + step.weights["head.weight"].square().sum()

    assert_heads_learn_alike(tmp_path, Ridge(), replace(RECIPE, lr=0.05), episodes=3)


def test_a_loss_that_decides_by_its_numbers_is_taken_head_by_head(tmp_path):
    @dataclass(frozen=True)
    class Capped(FeatureExtract):
        def loss(self, step):
            whole = super().loss(step)
            return whole * 0.5 if float(whole.detach()) > 1.0 else whole

    assert_heads_learn_alike(tmp_path, Capped(), replace(RECIPE, lr=0.05), episodes=3)


def test_heads_on_features_of_bf16_learn_at_once_as_they_do_alone(tmp_path):
    recipe = replace(RECIPE, precision="bf16", lr=0.05)
    at_once, _ = assert_heads_learn_alike(tmp_path, FeatureExtract(), recipe, episodes=3)
    assert at_once._heads_alone(next(iter(FewShot(ways=3, queries=5, episodes=3).rounds(problem_of(9)))))
    assert {used.forward.precision for used in at_once.spent.used} == {"bf16"}


def test_what_is_drawn_or_watched_is_learnt_one_by_one(tmp_path):
    episodes = list(FewShot(ways=3, queries=5, episodes=3).rounds(problem_of(9)))
    made = learner(tmp_path, FeatureExtract())
    assert made._heads_alone(episodes[0])
    assert not made._heads_alone(round_of(12))
    assert not learner(tmp_path, PartialFinetune())._heads_alone(episodes[0])
    made.network.before_head = nn.Dropout(0.5)
    assert not made._heads_alone(episodes[0])


def test_a_head_that_diverges_among_others_is_said(tmp_path):
    episodes = list(FewShot(ways=3, queries=5, episodes=3).rounds(problem_of(9)))
    recipe = replace(RECIPE, lr=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(Diverged, match=r"not finite in epoch \d"):
        list(learner(tmp_path, FeatureExtract(), recipe).learn(episodes))


# many batches forward at once


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_batches_go_forward_side_by_side_and_come_in_their_order():
    def forward(x):
        time.sleep(0.02 if int(x) % 2 else 0.0)
        return x * 2

    given = [torch.tensor(i) for i in range(20)]
    assert [int(x) for x in side_by_side(forward, iter(given), CPU)] == [2 * i for i in range(20)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_pass_that_fails_gives_the_threads_back():
    def fails(x):
        if int(x) == 3:
            raise ValueError("no")
        return x

    with pytest.raises(ValueError, match="no"):
        list(side_by_side(fails, iter([torch.tensor(i) for i in range(9)]), CPU))
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("backbone", ["toy_cnn", "resnet10t"])
def test_passes_on_several_cores_give_what_one_core_gives(tmp_path, backbone):
    one = round_of(48, FLIPS)
    several = learner(tmp_path / "several", FeatureExtract(), FLIPS, backbone)
    several.fit(one)
    logits = several.logits(one.test)
    torch.set_num_threads(1)
    alone = learner(tmp_path / "alone", FeatureExtract(), FLIPS, backbone)
    alone.fit(one)
    assert np.abs(logits - alone.logits(one.test)).max() <= 1e-5 * np.abs(logits).max()

"""Learning from augmented pictures: what is kept of them, what is not, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from learners import RECIPE, every_strategy, learner, network_of, problem_of, round_of
from refusals import refused
from worked import HEAD, LAST, TRUNK, WHOLE, worked

from bench.measure.cost import cost_of, counted_for
from bench.measure.roofline import Limits, roofline
from bench.planner import expand
from bench.recipe import Augment
from bench.record import Record
from bench.report.recipes import _fields as recipe_fields
from bench.strategies.distill import Distill
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.full_finetune import FullFinetune
from bench.strategies.hint_distill import HintDistill
from bench.strategies.partial_finetune import PartialFinetune
from bench.strategies.protonet import ProtoNet
from bench.suite import load
from bench.tasks.few_shot import FewShot
from bench.training import supply as supply_module
from suites import write

TEACHER = {"backbone": "other", "strategy": "full_finetune"}
COLOUR = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2}
FINITE = {
    "vertical_flip": Augment(flip=True, vertical_flip=True),
    "rotate": Augment(rotate=20, views=3),
    "colour": Augment(**COLOUR, views=3),
    "rand_augment": Augment(policy="rand_augment", number=3, views=3),
    "auto_augment": Augment(policy="auto_augment", views=3),
    "trivial_augment": Augment(policy="trivial_augment", views=3),
}
PASSING = {
    "fresh": Augment(flip=True, shift=1, rotate=10, fresh=True),
    "mixup": Augment(mixup=0.2),
    "cutmix": Augment(flip=True, cutmix=1.0),
    "both": Augment(mixup=0.4, cutmix=1.0),
    "all": Augment(flip=True, **COLOUR, policy="trivial_augment", fresh=True, mixup=0.4, cutmix=1.0),
}


def test_an_augmentation_says_whether_its_pictures_come_again():
    assert {augment.lasting for augment in (Augment(), Augment(flip=True, fresh=True), *FINITE.values())} == {True}
    assert {augment.lasting for augment in PASSING.values()} == {False}
    assert FINITE["vertical_flip"].count == 4
    assert Augment(vertical_flip=True).count == 2
    assert Augment(rotate=1).count == 8
    assert Augment(rotate=1, fresh=True).count is None
    assert [a.spoils for a in (Augment(mixup=0.1), Augment(cutmix=0.1), PASSING["fresh"])] == [
        {"hard_labels"}, {"hard_labels"}, frozenset(),
    ]  # fmt: skip


@pytest.mark.parametrize("augment", FINITE.values(), ids=FINITE)
def test_what_is_kept_of_finite_views_gives_what_running_the_frozen_stages_gives(augment, tmp_path, monkeypatch):
    recipe = replace(RECIPE, augment=augment)
    one = round_of(24, recipe)
    kept = learner(tmp_path / "kept", PartialFinetune(), recipe)
    kept.fit(one)
    kept_logits = kept.logits(one.test)
    assert {used.views for used in kept.spent.used} == {augment.count}
    monkeypatch.setattr(supply_module, "CACHE_LIMIT_BYTES", 0)
    plain = learner(tmp_path / "plain", PartialFinetune(), recipe)
    plain.fit(one)
    assert not plain.spent.used
    assert np.allclose(plain.logits(one.test), kept_logits, atol=1e-5)
    untouched = learner(tmp_path / "untouched", PartialFinetune(), RECIPE)
    untouched.fit(one)
    assert not np.allclose(untouched.logits(one.test), kept_logits, atol=1e-3)


@pytest.mark.parametrize("augment", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("strategy", [FeatureExtract(), PartialFinetune(), FullFinetune()], ids=lambda s: s.name)
def test_pictures_that_do_not_come_again_are_learnt_from_and_give_the_same_each_time(strategy, augment, tmp_path):
    recipe = replace(RECIPE, augment=augment)
    made, one, other = learner(tmp_path, strategy, recipe), round_of(24, recipe), round_of(12, recipe, seed=1)
    made.fit(one)
    once, curve = made.logits(one.test), [replace(p, seconds=0) for p in made.progress.curve]
    assert np.isfinite(once).all()
    assert {work.forward for work in made.spent.work} == {0}
    assert {used.views for used in made.spent.used} <= {1}
    made.fit(other)
    made.fit(one)
    assert np.array_equal(made.logits(one.test), once)
    assert [replace(p, seconds=0) for p in made.progress.curve] == curve
    assert all((point.train_accuracy is None) == augment.mixes for point in curve)
    again = learner(tmp_path / "elsewhere", strategy, recipe)
    again.fit(one)
    assert np.array_equal(again.logits(one.test), once)


@pytest.mark.parametrize("augment", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("made_as", [Distill, HintDistill])
def test_a_teacher_answers_in_eval_mode_on_the_very_picture_that_its_student_sees(made_as, augment, tmp_path):
    steps, seen = [], []

    class Watched(made_as):
        def loss(self, step: Any) -> Any:
            steps.append(step)
            return super().loss(step)

    teacher, recipe = network_of(seed=9).train(), replace(RECIPE, augment=augment)
    made = learner(tmp_path, Watched(TEACHER), recipe, parents={"teacher": teacher})
    made.network.stages[0].modules[0].register_forward_pre_hook(
        lambda module, args: seen.append(args[0].clone()) if module.training else None
    )
    made.fit(round_of(24, recipe))
    assert len(seen) == len(steps) == 9
    teacher.eval()
    with torch.no_grad():
        for pictures, step in zip(seen, steps, strict=True):
            assert torch.allclose(teacher(pictures), step.parents["teacher"], atol=1e-4)
            assert not step.parents["teacher"].requires_grad
            assert (step.targets is not None) == augment.mixes
    assert not made.spent.used
    roles = 2 if made_as.hints else 1
    assert all(forward.network is teacher for forward, *_ in made.spent.asked)
    assert sum(pictures for _, pictures, _ in made.spent.asked) == roles * 72


@pytest.mark.parametrize("augment", [PASSING["fresh"], PASSING["both"]], ids=["fresh", "both"])
def test_episodes_learn_alone_from_pictures_that_do_not_come_again(augment, tmp_path):
    recipe = replace(RECIPE, augment=augment)
    episodes = list(FewShot(ways=3, queries=5, episodes=2).rounds(problem_of(6)))
    for episode, logits in learner(tmp_path / "many", FeatureExtract(), recipe).learn(episodes):
        alone = learner(tmp_path / "alone", FeatureExtract(), recipe)
        alone.fit(episode)
        assert np.array_equal(alone.logits(episode.test), logits)


@pytest.mark.parametrize("strategy", every_strategy(), ids=lambda strategy: strategy.name)
def test_every_strategy_learns_from_mixed_examples_or_says_that_it_needs_others(strategy, tmp_path):
    recipe = replace(RECIPE, epochs=6, augment=PASSING["both"])
    if strategy.needs & recipe.augment.spoils:
        changes = {"matrix": {"strategy": [{"name": strategy.name, "teacher": {"strategy": "scratch"}}]}}
        changes["recipe"] = {"augment": {"cutmix": 1.0}}
        entry = expand(load(write(tmp_path, changes))).entries[-1]
        assert entry.skip == f"{strategy.name} needs hard_labels; the recipe mixes examples"
        return
    made = learner(tmp_path, strategy, recipe, parents={role: network_of(seed=9) for role in strategy.parents()})
    one = round_of(24, recipe)
    made.fit(one)
    assert np.isfinite(made.logits(one.test)).all()


def test_the_cost_of_pictures_that_do_not_come_again_is_that_of_a_hand_count(tmp_path):
    """The frozen stages and the teacher run in each epoch, and once over the plain pictures for their deviation."""
    recipe = replace(RECIPE, augment=Augment(mixup=0.2))
    passes, flops, floors = 24 * RECIPE.epochs, {}, {}
    limits = Limits({"fp32": 1e9}, ((1, 1e18),))  # nothing but arithmetic takes time
    for made_as in (FeatureExtract(), PartialFinetune(unfreeze=1), FullFinetune(), Distill(TEACHER), ProtoNet()):
        parents = {role: network_of(seed=9) for role in made_as.parents()}
        made = learner(tmp_path, made_as, recipe, parents=parents)
        made.fit(round_of(24, recipe))
        counted = counted_for(made)
        flops[made_as.name] = cost_of(made, [], None, counted).flops_train
        floors[made_as.name] = roofline(made, counted, limits, 1e9).floor_seconds
    assert flops == {
        "feature_extract": 2 * passes * WHOLE + 4 * passes * HEAD + 2 * 24 * TRUNK,
        "partial_finetune": 2 * passes * WHOLE + 4 * passes * (LAST + HEAD),
        "full_finetune": 6 * passes * WHOLE,
        "distill": 8 * passes * WHOLE,
        "protonet": 2 * 24 * TRUNK,
    }
    assert floors["distill"] - floors["full_finetune"] == pytest.approx(passes / 24 * floors["protonet"], rel=0.02)


def test_a_record_says_why_there_is_no_training_accuracy_and_has_no_price_of_what_was_not_kept(tmp_path):
    changes = {"matrix": {"strategy": ["partial_finetune"]}, "recipe": {"augment": {"cutmix": 1.0}}}
    (record,) = worked(tmp_path, changes).values()
    assert [point["train_accuracy"] for point in record["curve"]] == [None, None]
    assert all(point["train_loss"] > 0 and point["monitor_accuracy"] is not None for point in record["curve"])
    assert "mixed" in record["reasons"]["curve.train_accuracy"]
    assert {artifact["kind"] for artifact in record["artifacts"]} == {"pixels"}


def test_cells_are_told_apart_by_an_option_that_only_some_of_them_have(tmp_path):
    plan = expand(load(write(tmp_path, {"matrix": {"recipe.augment.mixup": [0, 0.2]}})))
    assert list(plan.titles.values()) == ["feature_extract · n=12", "feature_extract · n=12 · augment.mixup=0.2"]
    records = [Record(entry.cell.id, "toy", entry.cell, "ok") for entry in plan.entries]
    told = recipe_fields(records)
    assert list(told["augment.mixup"]) == ["default", 0.2]
    assert list(told["epochs"]) == [2]


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"rotate": 200}, "rotate must be between 0 and 180, not 200"),
        ({"hue": 0.6}, "hue must be between 0 and 0.5, not 0.6"),
        ({"magnitude": 31}, "magnitude must be between 0 and 30, not 31"),
        ({"number": 0}, "number must be 1 or more"),
        ({"mixup": -0.5}, "mixup must be 0 or more, not -0.5"),
        ({"brightness": -0.1}, "brightness must be 0 or more, not -0.1"),
        ({"policy": "randaugment"}, "did you mean 'rand_augment'"),
        ({"vflip": True}, "unknown option 'vflip' of augment; did you mean 'flip' or 'vertical_flip'?"),
        ({"fresh": 1}, "fresh must be true or false, not 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_augmentation_is_refused_with_its_place(augment, message, tmp_path, monkeypatch, capsys):
    path = write(tmp_path, {"recipe": {"augment": augment}})
    lines = path.read_text(encoding="utf-8").splitlines()
    (place,) = [i for i, text in enumerate(lines, 1) if f"{next(iter(augment))}:" in text]
    monkeypatch.chdir(tmp_path)
    told = refused(["plan", "toy.yaml"], capsys, tmp_path)
    assert told.startswith(f"toy.yaml:{place}:"), told
    assert message in told

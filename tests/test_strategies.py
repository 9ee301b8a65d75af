"""What each strategy changes, what it leaves alone, and the loss it learns by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import (
    RECIPE,
    TEACHER,
    changed,
    learner,
    network_of,
    problem_of,
    round_of,
    state_of,
    tensors_of,
    trained,
)
from torch import nn
from torch.nn.functional import cross_entropy

from bench.errors import OptionError, Skip
from bench.planner import expand
from bench.recipe import Augment, Recipe
from bench.strategies import Step
from bench.strategies._taught import soft_divergence
from bench.strategies.distill import Distill
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.full_finetune import FullFinetune
from bench.strategies.partial_finetune import PartialFinetune
from bench.strategies.protonet import ProtoNet, prototype_head
from bench.strategies.scratch import Scratch
from bench.suite import load
from bench.tasks.few_shot import FewShot
from suites import write

RECIPES = {"plain": RECIPE, "flips": replace(RECIPE, augment=Augment(flip=True))}


# what is frozen and what is not


@pytest.mark.parametrize("backbone", ["toy_cnn", "resnet10t"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_frozen_weights_and_buffers_are_byte_identical_after_feature_extraction(tmp_path, backbone, recipe):
    made = learner(tmp_path, FeatureExtract(), recipe, backbone)
    assert trained(made) == set()


@pytest.mark.parametrize("backbone", ["toy_cnn", "resnet10t"])
@pytest.mark.parametrize("cached", [True, False])
def test_partial_finetuning_changes_exactly_the_last_stages_and_moves_their_statistics(
    tmp_path, monkeypatch, backbone, cached
):
    if not cached:
        monkeypatch.setattr("bench.training.supply.CACHE_LIMIT_BYTES", 0)
    made = learner(tmp_path, PartialFinetune(unfreeze=2), backbone=backbone)
    last = {stage.name for stage in made.network.stages[-2:]}
    moved = trained(made)
    assert moved == tensors_of(made, last)
    assert any("running_mean" in name for name in moved)


def test_full_finetuning_changes_every_tensor(tmp_path):
    made = learner(tmp_path, FullFinetune())
    assert trained(made) == {n for n in made.network.model.state_dict() if not n.startswith("head.")}


def test_scratch_changes_every_tensor_and_has_nothing_of_the_pretrained_weights(tmp_path):
    assert Scratch.start == "random"
    made = learner(tmp_path, Scratch())
    pretrained = network_of().model.state_dict()
    for name, tensor in made.network.model.state_dict().items():
        if name.endswith("0.weight"):
            assert not torch.equal(tensor, pretrained[name])
    assert trained(made) == {n for n in made.network.model.state_dict() if not n.startswith("head.")}


def test_the_head_learns_in_every_strategy(tmp_path):
    for strategy in (FeatureExtract(), PartialFinetune(), FullFinetune(), Scratch(), ProtoNet()):
        made = learner(tmp_path, strategy)
        before = state_of(made.network)
        made.fit(round_of(12))
        assert {"head.weight", "head.bias"} <= changed(before, state_of(made.network))


def test_partial_finetuning_of_every_stage_is_a_skip_with_the_reason():
    with pytest.raises(Skip, match=r"leaves nothing frozen: this backbone has 2 stage\(s\), stem, last"):
        PartialFinetune(unfreeze=2).phases(["stem", "last"])


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (lambda: PartialFinetune(unfreeze=0), "unfreeze must be 1 or more"),
        (lambda: FullFinetune(decay=0.0), "decay must be in"),
        (lambda: FullFinetune(decay=1.5), "decay must be in"),
        (lambda: Distill(TEACHER, temperature=0.0), "temperature must be positive"),
        (lambda: Distill(TEACHER, alpha=1.5), "alpha must be between 0 and 1"),
    ],
)
def test_an_option_out_of_range_is_refused(made, wrong):
    with pytest.raises(OptionError, match=wrong):
        made()


def test_all_strategies_see_the_same_examples_in_the_same_order(tmp_path):
    one, seen = round_of(24), []
    for strategy in (FullFinetune(), Scratch(), FullFinetune(decay=0.5)):
        made, order = learner(tmp_path, strategy), []
        made.network.stages[0].modules[0].register_forward_pre_hook(
            lambda module, args, order=order: order.append(args[0].clone()) if module.training else None
        )
        made.fit(one)
        seen.append(torch.cat(order))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


# feature extraction is logistic regression


@pytest.mark.parametrize("standardize", [True, False])
def test_a_head_trained_to_the_end_is_sklearns_logistic_regression(tmp_path, standardize):
    """The objective is mean cross-entropy + L2/2 |W|^2, biases free; in scikit-learn's words C = 1 / (n L2)."""
    from sklearn.linear_model import LogisticRegression

    strength = 0.05

    @dataclass(frozen=True)
    class Ridge(FeatureExtract):
        """Feature extraction with L2 in the loss, since AdamW's decay has no objective."""

        def loss(self, step: Step) -> Any:
            (weight,) = (w for w in step.weights.values() if w.dim() == 2)
            return super().loss(step) + strength / 2 * weight.square().sum()

    recipe = Recipe(epochs=500, batch_size=64, optimizer="adam", lr=0.05, schedule="cosine", weight_decay=0.0)
    one = round_of(30, recipe, monitor_size=0)
    made = learner(tmp_path, Ridge(standardize=standardize), recipe)
    extractor = learner(tmp_path, FeatureExtract())
    features = {}
    for part, selection in (("train", one.train), ("test", one.test)):
        feed = extractor.supply.feed(selection, extractor.depth, extractor.views, "features")
        features[part] = extractor._features(feed, len(selection)).double().numpy()
    if standardize:
        mean, std = features["train"].mean(axis=0), features["train"].std(axis=0)
        std = np.where(std > 1e-6 + 1e-5 * np.abs(mean), std, 1.0)
        features = {part: (rows - mean) / std for part, rows in features.items()}
    reference = LogisticRegression(C=1 / (30 * strength), tol=1e-10, max_iter=10_000)
    reference.fit(features["train"], one.train.labels)

    made.fit(one)
    mine = torch.from_numpy(made.logits(one.test)).softmax(dim=1).numpy()
    assert np.abs(mine - reference.predict_proba(features["test"])).max() < 2e-3

    def objective(probabilities: np.ndarray, weight: np.ndarray) -> float:
        right = probabilities[np.arange(30), one.train.labels]
        return float(-np.log(right).mean() + strength / 2 * np.square(weight).sum())

    head = made.network.head
    weight = head.weight.detach().numpy() * (std if standardize else 1.0)
    seen = torch.from_numpy(made.logits(one.train)).softmax(dim=1).numpy()
    best = objective(reference.predict_proba(features["train"]), reference.coef_)
    assert best <= objective(seen, weight) + 1e-6
    assert objective(seen, weight) == pytest.approx(best, rel=1e-4)


# distillation


def logits(seed: int, batch: int = 16, classes: int = 7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed))


def step_of(student: torch.Tensor, teacher: torch.Tensor, **other: Any) -> Step:
    labels = torch.arange(len(student)) % student.shape[1]
    return Step(student, labels, {"teacher": teacher}, **other)


@given(seed=st.integers(0, 99), temperature=st.floats(0.5, 20))
def test_a_teacher_that_is_the_student_gives_no_soft_loss_and_no_gradient(seed, temperature):
    student = logits(seed).requires_grad_()
    loss = soft_divergence(student, student.detach().clone(), temperature)
    loss.backward()
    assert abs(float(loss.detach())) < 1e-4 * temperature**2
    assert float(student.grad.abs().max()) < 1e-5 * temperature


@given(seed=st.integers(0, 99), temperature=st.floats(0.5, 10), batch=st.integers(1, 9), classes=st.integers(2, 12))
@settings(max_examples=50)
def test_the_soft_loss_is_its_formula_averaged_over_examples_and_not_over_classes(seed, temperature, batch, classes):
    student, teacher = logits(seed, batch, classes).double(), logits(seed + 1000, batch, classes).double()
    total = 0.0
    for s, t in zip(student.numpy(), teacher.numpy(), strict=True):
        p = np.exp(t / temperature) / np.exp(t / temperature).sum()
        q = np.exp(s / temperature) / np.exp(s / temperature).sum()
        total += float((p * (np.log(p) - np.log(q))).sum())
    found = float(soft_divergence(student, teacher, temperature))
    assert found == pytest.approx(temperature**2 * total / batch, rel=1e-9)
    # KLDivLoss('mean') would be `classes` times smaller.
    assert found >= 0


def test_the_gradient_keeps_its_size_when_the_temperature_changes():
    def norm(temperature: float) -> float:
        student = logits(1, scale=1.0).requires_grad_()
        soft_divergence(student, logits(2, scale=1.0), temperature).backward()
        return float(student.grad.norm())

    norms = [norm(temperature) for temperature in (2.0, 4.0, 8.0, 16.0, 100.0)]
    assert max(norms) / min(norms) < 1.5
    # In the limit it is the gradient of |s - t|^2 / 2C of centred logits, averaged over the batch.
    student, teacher = logits(1, scale=1.0), logits(2, scale=1.0)
    gap = (student - student.mean(dim=1, keepdim=True)) - (teacher - teacher.mean(dim=1, keepdim=True))
    assert norms[-1] == pytest.approx(float(gap.norm()) / (16 * 7), rel=0.02)


@given(seed=st.integers(0, 20), smoothing=st.sampled_from([0.0, 0.1]))
@settings(max_examples=20)
def test_alpha_1_is_plain_cross_entropy_and_alpha_0_is_the_teacher_alone(seed, smoothing):
    step = step_of(logits(seed), logits(seed + 1), label_smoothing=smoothing)
    plain = cross_entropy(step.logits, step.labels, label_smoothing=smoothing)
    assert torch.allclose(Distill(TEACHER, alpha=1.0).loss(step), plain)
    assert torch.allclose(FullFinetune().loss(step), plain)
    soft = soft_divergence(step.logits, step.parents["teacher"], 4.0)
    assert torch.allclose(Distill(TEACHER, alpha=0.0).loss(step), soft)
    half = Distill(TEACHER, alpha=0.5).loss(step)
    assert torch.allclose(half, (plain + soft) / 2)


def test_extreme_logits_give_a_finite_loss():
    step = step_of(logits(0, scale=1e4), logits(1, scale=1e4))
    assert torch.isfinite(Distill(TEACHER).loss(step))


@pytest.mark.parametrize("augment", [Augment(flip=True), Augment(flip=True, shift=2, views=4)])
def test_the_teacher_answers_in_eval_mode_on_the_very_views_that_the_student_sees(tmp_path, augment):
    recipe = replace(RECIPE, augment=augment)
    teacher = network_of(seed=9).train()
    teacher.before_head = nn.Dropout(0.5)
    before = state_of(teacher)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    @dataclass(frozen=True)
    class Watched(Distill):
        """Distillation that notes the teacher's logits."""

        def loss(self, step: Step) -> Any:
            assert not step.parents["teacher"].requires_grad
            answers.append(step.parents["teacher"].clone())
            return super().loss(step)

    answers: list[torch.Tensor] = []
    made = learner(tmp_path, Watched(TEACHER), recipe, parents={"teacher": teacher})
    made.network.stages[0].modules[0].register_forward_pre_hook(
        lambda module, args: seen.append(args[0].clone()) if module.training else None
    )
    made.fit(round_of(24, recipe))
    assert not changed(before, state_of(teacher))
    assert len(seen) == len(answers) == 9
    teacher.eval()
    with torch.no_grad():
        for pictures, answer in zip(seen, answers, strict=True):
            assert torch.allclose(teacher(pictures), answer, atol=1e-5)


def test_a_student_distilled_at_alpha_1_is_a_plain_finetune(tmp_path):
    one, recipe = round_of(24), RECIPE
    student = learner(tmp_path, Distill(TEACHER, alpha=1.0), recipe, parents={"teacher": network_of(seed=9)})
    plain = learner(tmp_path, FullFinetune(), recipe)
    student.fit(one)
    plain.fit(one)
    assert np.allclose(student.logits(one.test), plain.logits(one.test), atol=1e-5)


def test_the_teacher_is_a_cell_of_the_same_examples(tmp_path):
    """Its task, data, size and seed, and so its split, are those of the student."""
    student = {"name": "distill", "teacher": {"backbone": "toy_cnn", "strategy": "full_finetune"}}
    matrix = {"size": [9, 12], "seed": [0, 1], "strategy": [student]}
    entries = {e.cell.id: e for e in expand(load(write(tmp_path, {"matrix": matrix}))).entries}
    students = [e.cell for e in entries.values() if e.cell.strategy["name"] == "distill"]
    assert len(students) == 4
    for cell in students:
        teacher = entries[cell.parents["teacher"]].cell
        assert list(entries).index(teacher.id) < list(entries).index(cell.id)
        for part in ("task", "dataset", "size", "seed"):
            assert getattr(teacher, part) == getattr(cell, part)


# prototypes


@given(
    seed=st.integers(0, 99),
    classes=st.integers(2, 6),
    shots=st.integers(1, 5),
    dim=st.integers(1, 12),
)
@settings(max_examples=50)
def test_prototype_logits_are_minus_squared_distances_to_class_means(seed, classes, shots, dim):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(shots)
    features = torch.randn(classes * shots, dim, generator=generator)
    queries = torch.randn(10, dim, generator=generator)
    prototypes = torch.stack([features[labels == c].mean(dim=0) for c in range(classes)])
    squared = torch.cdist(queries, prototypes) ** 2
    with torch.no_grad():
        found = prototype_head(features, labels, classes)(queries)
    assert torch.allclose(found.log_softmax(dim=1), (-squared).log_softmax(dim=1), atol=1e-4)
    assert torch.equal(found.argmax(dim=1), squared.argmin(dim=1))


@given(order=st.permutations(range(5)), seed=st.integers(0, 20))
@settings(max_examples=30)
def test_prototypes_do_not_depend_on_the_order_of_classes_or_examples(order, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(5).repeat(3)
    features, queries = torch.randn(15, 8, generator=generator), torch.randn(6, 8, generator=generator)
    shuffle = torch.randperm(15, generator=generator)
    renamed = torch.tensor(order)[labels]
    with torch.no_grad():
        plain = prototype_head(features, labels, 5)(queries)
        other = prototype_head(features[shuffle], renamed[shuffle], 5)(queries)
    assert torch.allclose(other[:, torch.tensor(order)], plain, atol=1e-5)


def test_a_prototype_network_leaves_the_backbone_alone_and_takes_no_steps(tmp_path):
    made = learner(tmp_path, ProtoNet())
    assert trained(made) == set()
    assert made.progress.curve == []
    assert made.spent.work == []
    assert made.trained == {"head.weight", "head.bias"}


def test_a_prototype_network_learns_every_episode_anew(tmp_path):
    made = learner(tmp_path, ProtoNet())
    for episode in FewShot(ways=3, queries=10, episodes=5).rounds(problem_of(15)):
        made.fit(episode)
        features = {}
        for part, selection in (("support", episode.train), ("queries", episode.test)):
            feed = made.supply.feed(selection, made.depth, made.views, "features")
            features[part] = made._features(feed, len(selection))
        means = [features["support"][torch.from_numpy(episode.train.labels == c)].mean(dim=0) for c in range(3)]
        nearest = torch.cdist(features["queries"], torch.stack(means)).argmin(dim=1)
        assert (made.logits(episode.test).argmax(axis=1) == nearest.numpy()).all()

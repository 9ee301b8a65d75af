"""Distillation by other losses than the first one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import RECIPE, TEACHER, changed, learner, network_of, round_of, state_of
from torch.nn.functional import cross_entropy

from bench.errors import OptionError
from bench.measure.cost import sizes_of
from bench.recipe import Augment
from bench.strategies import Step
from bench.strategies._taught import soft_divergence
from bench.strategies.consistent_distill import ConsistentDistill
from bench.strategies.decoupled_distill import DecoupledDistill, decoupled
from bench.strategies.hint_distill import HintDistill


def logits(seed: int, batch: int = 16, classes: int = 7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed))


def labels_of(student: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(student)) % student.shape[1]


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (lambda: ConsistentDistill(TEACHER, temperature=0.0), "temperature must be positive"),
        (lambda: HintDistill(TEACHER, hint=1.0), "hint must be between"),
        (lambda: HintDistill(TEACHER, temperature=0.0), "temperature must be positive"),
        (lambda: HintDistill(TEACHER, alpha=2.0), "alpha must be between"),
        (lambda: DecoupledDistill(TEACHER, temperature=0.0), "temperature must be positive"),
        (lambda: DecoupledDistill(TEACHER, alpha=-1.0), "alpha must be 0 or more"),
        (lambda: DecoupledDistill(TEACHER, beta=-1.0), "beta must be 0 or more"),
    ],
)
def test_an_option_out_of_range_is_refused(made, wrong):
    with pytest.raises(OptionError, match=wrong):
        made()


# decoupled


@given(seed=st.integers(0, 99), temperature=st.floats(0.5, 10), batch=st.integers(1, 9), classes=st.integers(2, 12))
@settings(max_examples=50)
def test_the_two_parts_add_up_to_plain_distillation_by_the_teachers_own_weight(seed, temperature, batch, classes):
    """KL = TCKD + (1 - p_t of the label) * NCKD, exactly, for every example."""
    student, teacher = logits(seed, batch, classes).double(), logits(seed + 1000, batch, classes).double()
    labels = labels_of(student)
    target, others = decoupled(student, teacher, labels, temperature)
    unsure = 1 - (teacher / temperature).softmax(dim=1).gather(1, labels[:, None])[:, 0]
    found = temperature**2 * float((target + unsure * others).mean())
    assert found == pytest.approx(float(soft_divergence(student, teacher, temperature)), rel=1e-9, abs=1e-12)


def test_the_parts_are_their_formulas():
    student, teacher = logits(1, 5, 4).double(), logits(2, 5, 4).double()
    labels, temperature = labels_of(student), 3.0
    target, others = decoupled(student, teacher, labels, temperature)
    for i, label in enumerate(labels.tolist()):
        p, q = ((x[i] / temperature).softmax(dim=0).numpy() for x in (teacher, student))
        b, c = (np.array([x[label], 1 - x[label]]) for x in (p, q))
        assert float(target[i]) == pytest.approx(float((b * np.log(b / c)).sum()), rel=1e-9)
        p, q = (np.delete(x, label) / np.delete(x, label).sum() for x in (p, q))
        assert float(others[i]) == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-9)


def test_what_a_sure_teacher_knows_of_other_classes_still_counts():
    """In plain distillation its weight is next to nothing, which is why the parts are weighted apart."""
    teacher = logits(1, 8, 5, scale=1.0).double()
    labels = torch.zeros(8, dtype=torch.long)
    teacher[:, 0] += 30.0
    student = torch.cat([teacher[:, :1], teacher[:, 1:].flip(1)], dim=1)
    target, others = decoupled(student, teacher, labels, 1.0)
    assert float(soft_divergence(student, teacher, 1.0)) < 1e-9
    assert float(target.abs().max()) < 1e-9
    assert float(others.mean()) > 0.1


def test_the_loss_has_the_labels_and_both_weights_and_is_zero_beyond_them_for_the_teacher_itself():
    student, teacher = logits(3), logits(4)
    step = Step(student, labels_of(student), {"teacher": teacher})
    plain = cross_entropy(student, step.labels)
    target, others = (x.mean() for x in decoupled(student, teacher, step.labels, 4.0))
    found = DecoupledDistill(TEACHER, alpha=0.5, beta=2.0).loss(step)
    assert torch.allclose(found, plain + 16 * (0.5 * target + 2 * others), rtol=1e-5)
    same = Step(student, step.labels, {"teacher": student.clone()})
    assert torch.allclose(DecoupledDistill(TEACHER).loss(same), plain, atol=1e-4)


def test_extreme_logits_give_a_finite_loss_and_gradient():
    student = logits(0, scale=1e3).requires_grad_()
    loss = DecoupledDistill(TEACHER).loss(Step(student, labels_of(student), {"teacher": logits(1, scale=1e3)}))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


# hints


def watched(strategy: Any, notes: list[Step]) -> Any:
    """Return the strategy, noting every step."""

    class Watched(type(strategy)):
        def loss(self, step: Step) -> Any:
            notes.append(step)
            return super().loss(step)

    return Watched(**vars(strategy))


def test_hints_are_the_teachers_features_in_eval_mode_on_the_very_views_that_the_student_sees(tmp_path):
    recipe = replace(RECIPE, augment=Augment(flip=True, shift=2, views=4))
    teacher, notes, seen = network_of(seed=9).train(), [], []
    made = learner(tmp_path, watched(HintDistill(TEACHER), notes), recipe, parents={"teacher": teacher})
    made.network.stages[0].modules[0].register_forward_pre_hook(
        lambda module, args: seen.append(args[0].clone()) if module.training else None
    )
    made.fit(round_of(24, recipe))
    assert len(seen) == len(notes) == 9
    teacher.eval()
    with torch.no_grad():
        for pictures, step in zip(seen, notes, strict=True):
            assert torch.allclose(teacher.features(pictures), step.parents["teacher/features"], atol=1e-4)
            assert torch.allclose(teacher(pictures), step.parents["teacher"], atol=1e-4)
            assert not step.parents["teacher/features"].requires_grad


def test_the_hint_is_half_the_mean_squared_gap_and_zero_for_a_regressor_that_hits():
    features, wanted = logits(1, 6, 4), logits(2, 6, 3)
    labels = torch.zeros(6, dtype=torch.long)
    regressor = HintDistill(TEACHER).beside(4, {"teacher": 3})
    step = Step(logits(3, 6, 5), labels, {"teacher/features": wanted}, features=features, beside=regressor)
    found = HintDistill(TEACHER).loss(step)
    assert torch.allclose(found, (regressor(features) - wanted).square().mean() / 2)
    hit = replace(step, parents={"teacher/features": regressor(features).detach()})
    assert float(HintDistill(TEACHER).loss(hit).detach()) < 1e-12


def test_the_head_waits_for_the_second_phase_and_the_regressor_is_no_part_of_what_is_stored(tmp_path):
    recipe = replace(RECIPE, epochs=4)
    made = learner(tmp_path, HintDistill(TEACHER), recipe, parents={"teacher": network_of("resnet10t", seed=9)})
    states, learn = [state_of(made.network)], made._learn

    def noted(*given):
        learn(*given)
        states.append(state_of(made.network))

    made._learn = noted
    made.fit(round_of(24, recipe))
    first, second, last = states
    assert changed(first, second) == {name for name in first if not name.startswith("head.")}
    assert changed(second, last) == set(first)
    own = sum(p.numel() for p in made.network.model.parameters())
    width = network_of("resnet10t").dim
    assert sizes_of(made, None).params_trained == own + 32 * width + width
    assert sizes_of(made, None).params_total == own


def test_the_regressor_learns(tmp_path):
    notes: list[Step] = []
    made = learner(tmp_path, watched(HintDistill(TEACHER), notes), RECIPE, parents={"teacher": network_of(seed=9)})
    before = made.strategy.beside(32, {"teacher": 32})
    weights: list[torch.Tensor] = []
    plain = type(made.strategy).loss

    def loss(self, step):
        weights.append(step.beside.weight.detach().clone())
        return plain(self, step)

    type(made.strategy).loss = loss
    made.fit(round_of(24))
    assert before.weight.shape == weights[0].shape
    assert not torch.equal(weights[0], weights[2])


# patient and consistent


def test_labels_say_nothing_to_a_consistent_student(tmp_path):
    found = []
    one = round_of(24)
    for labels in (one.train.labels, one.train.labels[::-1].copy()):
        teacher = network_of(seed=9)
        made = learner(tmp_path / str(len(found)), ConsistentDistill(TEACHER), parents={"teacher": teacher})
        made.fit(replace(one, train=replace(one.train, labels=labels)))
        found.append(state_of(made.network))
    assert not changed(*found)


def test_a_consistent_loss_is_the_divergence_alone():
    student, teacher = logits(5), logits(6)
    step = Step(student, labels_of(student), {"teacher": teacher}, label_smoothing=0.1)
    assert torch.equal(ConsistentDistill(TEACHER, 2.0).loss(step), soft_divergence(student, teacher, 2.0))

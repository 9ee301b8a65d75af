"""Distillation by other losses than the first one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import TEACHER
from torch.nn.functional import cross_entropy

from bench.errors import OptionError
from bench.strategies import Step
from bench.strategies.decoupled_distill import DecoupledDistill, decoupled
from bench.strategies.distill import soft_divergence


def logits(seed: int, batch: int = 16, classes: int = 7, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed))


def labels_of(student: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(student)) % student.shape[1]


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
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

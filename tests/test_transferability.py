"""Scores without training: equal to their definitions, noted in the record, graded in the report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import learner, round_of
from records import cell, record, study
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from torch import Tensor

from bench.measure import transferability as scores
from bench.recipe import Recipe
from bench.report import page
from bench.report.page import Table
from bench.strategies.transferability import Transferability

CLASSES = 3


def drawn(n: int, dim: int, seed: int, apart: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return features whose class means are `apart`, and labels with every class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    means = apart * torch.randn(CLASSES, dim, generator=generator, dtype=torch.float64)
    return means[labels] + torch.randn(n, dim, generator=generator, dtype=torch.float64), labels


@pytest.mark.parametrize(("n", "dim"), [(12, 4), (9, 9), (8, 20)])
def test_log_me_is_the_greatest_evidence_of_a_dense_gaussian(n: int, dim: int) -> None:
    features, labels = drawn(n, dim, n + dim, 0.4)
    f = features.numpy()

    def evidence(y: np.ndarray, log_alpha: float, log_beta: float) -> float:
        covariance = f @ f.T / math.exp(log_alpha) + np.eye(n) / math.exp(log_beta)
        return float(multivariate_normal(np.zeros(n), covariance).logpdf(y))

    found = []
    for k in range(CLASSES):
        y = (labels == k).double().numpy()
        tries = [
            minimize(lambda p, y=y: -evidence(y, *p), [a, b], bounds=[(-15, 15)] * 2) for a in (0, 4) for b in (0, 3)
        ]
        found.append(-min(t.fun for t in tries) / n)
    assert scores.log_me(features, labels, CLASSES) == pytest.approx(float(np.mean(found)), abs=2e-4)


def test_h_score_is_its_definition() -> None:
    features, labels = drawn(40, 5, 3)
    f, y = features.numpy(), labels.numpy()
    means = np.stack([f[y == k].mean(axis=0) for k in range(CLASSES)])[y]
    by_hand = np.trace(np.linalg.inv(np.cov(f.T, bias=True)) @ np.cov(means.T, bias=True))
    assert scores.h_score(features, labels, CLASSES) == pytest.approx(by_hand, rel=1e-9)
    assert scores.h_score(7 * features + 2, labels, CLASSES) == pytest.approx(by_hand, rel=1e-9)


def test_h_score_says_nothing_where_there_are_more_features_than_examples_and_its_shrunk_form_does() -> None:
    near, labels = drawn(30, 60, 5, 0.1)
    far, _ = drawn(30, 60, 5, 2.0)
    assert scores.h_score(near, labels, CLASSES) == pytest.approx(CLASSES - 1, abs=1e-6)
    assert scores.h_score(far, labels, CLASSES) == pytest.approx(CLASSES - 1, abs=1e-6)
    assert scores.h_score_shrunk(near, labels, CLASSES) + 0.1 < scores.h_score_shrunk(far, labels, CLASSES)


def test_the_shrunk_h_score_is_scikit_learns_covariance_in_the_definition() -> None:
    from sklearn.covariance import LedoitWolf

    features, labels = drawn(50, 8, 11)
    f, y = features.numpy(), labels.numpy()
    fitted = LedoitWolf().fit(f)
    means = np.stack([f[y == k].mean(axis=0) for k in range(CLASSES)])[y]
    by_hand = (1 - fitted.shrinkage_) * np.trace(np.linalg.inv(fitted.covariance_) @ np.cov(means.T, bias=True))
    assert scores.h_score_shrunk(features, labels, CLASSES) == pytest.approx(by_hand, rel=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_leep_and_nce_are_sums_over_their_tables(seed: int, source: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(15, source, generator=generator, dtype=torch.float64)
    labels = torch.arange(15) % CLASSES
    p = logits.softmax(dim=1)
    total = 0.0
    for i in range(15):
        expected = 0.0
        for z in range(source):
            joint = sum(float(p[j, z]) for j in range(15) if labels[j] == labels[i])
            expected += joint / sum(float(p[j, z]) for j in range(15)) * float(p[i, z])
        total += math.log(expected)
    assert scores.leep(logits, labels, CLASSES) == pytest.approx(total / 15, rel=1e-9)

    z = logits.argmax(dim=1)
    entropy = 0.0
    for i in range(15):
        same = [j for j in range(15) if z[j] == z[i]]
        entropy -= math.log(sum(1 for j in same if labels[j] == labels[i]) / len(same)) / 15
    assert scores.nce(logits, labels, CLASSES) == pytest.approx(-entropy, rel=1e-9, abs=1e-12)


def test_a_classifier_that_knows_the_labels_scores_0_by_leep_and_nce() -> None:
    labels = torch.arange(12) % CLASSES
    sure = 200.0 * torch.nn.functional.one_hot(labels, CLASSES)
    assert scores.leep(sure, labels, CLASSES) == pytest.approx(0.0, abs=1e-9)
    assert scores.nce(sure, labels, CLASSES) == 0.0


def test_nearest_neighbours_never_see_themselves() -> None:
    features, labels = drawn(60, 4, 2, 30.0)
    assert scores.nearest_neighbours(features, labels, CLASSES) == 1.0
    # Two clusters of two classes each: the nearest of each is of the other class.
    pairs = torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [0.01, 1.0]])
    assert scores.nearest_neighbours(pairs, torch.tensor([0, 1, 0, 1]), 2, k=1) == 0.0


@pytest.mark.parametrize("name", ["log_me", "h_score_shrunk", "nearest_neighbours"])
def test_features_that_tell_classes_apart_score_higher(name: str) -> None:
    score = getattr(scores, name)
    found = [score(*drawn(60, 6, 4, apart), CLASSES) for apart in (0.0, 0.5, 3.0)]
    assert found == sorted(found)


def test_the_strategy_notes_each_score_with_its_seconds_and_trains_nothing(tmp_path: Path) -> None:
    made = learner(tmp_path, Transferability(), Recipe(epochs=1))
    before = {n: p.clone() for n, p in made.network.model.named_parameters()}
    (only,) = list(made.learn([round_of(24)]))
    (noted,) = made.notes
    names = {"log_me", "h_score", "h_score_shrunk", "leep", "nce", "nearest_neighbours", "linear_probe"}
    assert set(noted["scores"]) == names
    assert set(noted["score_seconds"]) == names | {"features"}
    assert all(math.isfinite(v) for v in noted["scores"].values())
    moved = {n for n, p in made.network.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"head.weight", "head.bias"}
    assert only[1].shape[1] == CLASSES


def test_weights_without_their_classifier_have_no_leep(tmp_path: Path) -> None:
    made = learner(tmp_path, Transferability(), Recipe(epochs=1))
    made.network.source_head = None
    list(made.learn([round_of(24)]))
    assert not {"leep", "nce"} & set(made.notes[0]["scores"])


def graded(reached: dict[str, float], said: dict[str, float], **other: Any) -> list[Table]:
    """Return the tables of a study of backbones, each with a score and a fine-tuned accuracy."""
    records = []
    for backbone, accuracy in reached.items():
        records.append(record(cell("full_finetune", backbone=backbone), accuracy))
        notes = [{"scores": {"log_me": said[backbone]}, "score_seconds": {"log_me": 0.5, "features": 1.5}}]
        scored = record(cell("transferability", backbone=backbone), 0.9, details={"decided": notes})
        records.append(scored)
    found = page(study(records, **other))
    return [b for b in found.blocks if isinstance(b, Table) and b.name in ("transferability", "foretold")]


def test_a_score_that_orders_backbones_as_training_does_has_tau_1_and_loses_nothing() -> None:
    said, foretold = graded({"a": 0.7, "b": 0.8, "c": 0.9}, {"a": -2.0, "b": -1.0, "c": 0.5})
    assert [span.text for span in foretold.rows[0]] == ["LogME", "1.00", "1.00 to 1.00", "1 of 1", "0.000", "6.0"]
    assert [row[3].text for row in said.rows] == ["0.700", "0.800", "0.900"]
    assert [row[4].text for row in said.rows] == ["−2.000", "−1.000", "0.500"]


def test_a_score_that_is_wrong_says_what_it_costs() -> None:
    (_, foretold) = graded({"a": 0.7, "b": 0.8, "c": 0.9}, {"a": 3.0, "b": 2.0, "c": 1.0})
    assert [span.text for span in foretold.rows[0]][1:5] == ["−1.00", "−1.00 to −1.00", "0 of 1", "0.200"]


def test_one_backbone_is_not_graded_and_none_has_no_section() -> None:
    assert [t.name for t in graded({"a": 0.7}, {"a": 1.0})] == ["transferability"]
    found = page(study([record(cell("full_finetune"), 0.8)]))
    assert not [b for b in found.blocks if isinstance(b, Table) and b.name in ("transferability", "foretold")]

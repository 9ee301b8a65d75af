"""Metrics of predictions against hand-made cases, scikit-learn and simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from bench.quality.bootstrap import drawn_areas, drawn_margins, drawn_weights, draws_of_areas, interval, wilson
from bench.quality.confusion import by_class, confusion, margins, overall
from bench.quality.curves import areas, at_specificity, curve, one_against_rest, operating, youden
from bench.quality.errors import by_confidence, by_group, confused_pairs, hardest, surest_mistakes, suspected_labels
from bench.quality.probabilities import (
    ECE_BINS,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    softmax,
    temperature,
)

seeds = st.integers(0, 2**32 - 1)


def made(seed: int, classes: int = 3, n: int = 60, skill: float = 1.0):
    """Return labels that have every class, and logits that lean towards them; some scores are equal."""
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), draw.integers(classes, size=n - classes)])
    logits = draw.normal(size=(n, classes)).round(1) + skill * np.eye(classes)[labels]
    return labels, logits.astype(np.float32)


# Confusion


def test_a_case_of_three_by_three_that_was_worked_out_by_hand():
    #                  taken for:  a  b  c
    counts = np.array([[3, 1, 0], [0, 2, 2], [0, 0, 4]])
    each, found = by_class(margins(counts)), overall(margins(counts))
    assert each.precision == pytest.approx([1, 2 / 3, 4 / 6])
    assert each.sensitivity == pytest.approx([3 / 4, 1 / 2, 1])
    assert each.specificity == pytest.approx([1, 7 / 8, 6 / 8])
    assert each.f1 == pytest.approx([6 / 7, 4 / 7, 8 / 10])
    mean = (6 / 7 + 4 / 7 + 8 / 10) / 3
    assert {k: float(v) for k, v in found.items()} == pytest.approx(
        {
            "accuracy": 9 / 12,
            "balanced_accuracy": (3 / 4 + 1 / 2 + 1) / 3,
            "macro_specificity": (1 + 7 / 8 + 6 / 8) / 3,
            "macro_f1": mean,
            "weighted_f1": mean,  # as many examples of each class
            # (9 * 12 - (3*4 + 3*4 + 6*4)) / sqrt((144 - 9 - 9 - 36) (144 - 48))
            "mcc": 60 / np.sqrt(90 * 96),
        }
    )


@given(seed=seeds, classes=st.integers(2, 6), skill=st.sampled_from([0.0, 1.0, 4.0]))
@settings(max_examples=60, deadline=None)
def test_metrics_of_a_confusion_matrix_are_scikit_learns(seed, classes, skill):
    labels, logits = made(seed, classes, 40, skill)
    predicted = logits.argmax(axis=1)
    counts = confusion(labels, predicted, classes)
    assert counts.tolist() == metrics.confusion_matrix(labels, predicted).tolist()
    found, each = overall(margins(counts)), by_class(margins(counts))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted, zero_division=np.nan)
    assert each.precision == pytest.approx(precision, nan_ok=True)
    assert each.sensitivity == pytest.approx(recall)
    assert each.f1 == pytest.approx(np.nan_to_num(f1))  # an F1 of a class that is never predicted is 0
    assert counts.sum(axis=1).tolist() == support.tolist()
    (tn, fp), _ = metrics.confusion_matrix(labels == 0, predicted == 0)
    assert each.specificity[0] == pytest.approx(tn / (tn + fp))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found["weighted_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="weighted"))
    assert np.nan_to_num(found["mcc"]) == pytest.approx(metrics.matthews_corrcoef(labels, predicted))


def test_a_class_that_is_missing_from_test_leaves_no_number_and_never_a_zero():
    counts = np.array([[3, 1, 1], [0, 0, 0], [2, 0, 5]])
    each, found = by_class(margins(counts)), overall(margins(counts))
    for values in (each.precision, each.sensitivity, each.f1):
        assert np.isnan(values).tolist() == [False, True, False]
    assert each.specificity[1] == pytest.approx(11 / 12)
    assert {name for name, v in found.items() if np.isnan(v)} == {"balanced_accuracy", "macro_f1"}


def test_a_class_that_is_never_predicted_has_no_precision_and_an_f1_of_nothing():
    counts = margins(np.array([[5, 0], [3, 0]]))
    each = by_class(counts)
    assert np.isnan(each.precision).tolist() == [False, True]
    assert each.f1[1] == 0
    assert np.isnan(overall(counts)["mcc"])


def test_a_perfect_classifier_has_one_everywhere_and_no_ece():
    labels = np.repeat(np.arange(4), 5)
    probabilities = np.eye(4)[labels]
    assert {k: float(v) for k, v in overall(margins(confusion(labels, labels, 4))).items()} == dict.fromkeys(
        ("accuracy", "balanced_accuracy", "macro_specificity", "macro_f1", "weighted_f1", "mcc"), 1.0
    )
    for found in one_against_rest(labels, probabilities):
        assert found.tolist() == [[1.0] * 4]
    assert expected_calibration_error(probabilities, labels) == 0
    assert len(surest_mistakes(probabilities, labels)) == 0


# Areas and thresholds


@given(seed=seeds, classes=st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_areas_and_curves_are_scikit_learns(seed, classes):
    labels, logits = made(seed, classes)
    probabilities = softmax(logits)
    roc, pr = one_against_rest(labels, probabilities)
    for c in range(classes):
        positive, scores = labels == c, probabilities[:, c]
        assert roc[0, c] == pytest.approx(metrics.roc_auc_score(positive, scores))
        assert pr[0, c] == pytest.approx(metrics.average_precision_score(positive, scores))
        found = curve(positive, scores)
        fpr, tpr, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
        assert found.false_positive_rate == pytest.approx(fpr)
        assert found.sensitivity == pytest.approx(tpr)


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_drawing_examples_twice_is_having_them_twice(seed):
    labels, logits = made(seed, 2, 30)
    positive, scores = labels == 1, softmax(logits)[:, 1]
    weights = drawn_weights(labels, 5, np.random.default_rng(seed))
    assert weights[:, positive].sum(axis=1).tolist() == [positive.sum()] * 5  # stratified
    roc, pr = areas(positive, scores, weights)
    for draw in range(5):
        index = np.repeat(np.arange(30), weights[draw].astype(int))
        assert roc[draw] == pytest.approx(metrics.roc_auc_score(positive[index], scores[index]))
        assert pr[draw] == pytest.approx(metrics.average_precision_score(positive[index], scores[index]))


def test_areas_without_a_contrast_are_no_numbers():
    for labels in ([0, 0, 0], [1, 1, 1]):
        roc, pr = areas(np.array(labels) == 1, np.array([0.1, 0.5, 0.9]))
        assert np.isnan([roc[0], pr[0]]).all()


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_no_other_threshold_has_a_larger_youden_index(seed):
    labels, logits = made(seed, 2, 40)
    positive, scores = labels == 1, softmax(logits)[:, 1]
    at = operating(positive, scores, youden(positive, scores))
    fpr, tpr, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    assert at.sensitivity + at.specificity - 1 == pytest.approx((tpr - fpr).max())


@given(seed=seeds, least=st.sampled_from([0.5, 0.8, 0.95, 1.0]))
@settings(max_examples=60, deadline=None)
def test_a_threshold_at_a_specificity_keeps_it_and_misses_no_more_than_it_must(seed, least):
    labels, logits = made(seed, 2, 40)
    positive, scores = labels == 1, softmax(logits)[:, 1]
    at = operating(positive, scores, at_specificity(positive, scores, least))
    fpr, tpr, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    assert at.specificity >= least - 1e-9
    assert at.sensitivity == pytest.approx(tpr[1 - fpr >= least - 1e-9].max())


def test_the_threshold_between_classes_that_are_apart_is_in_the_middle():
    scores = np.array([0.1, 0.2, 0.8, 0.9])
    assert youden(scores > 0.5, scores) == pytest.approx(0.5)


# Calibration


@given(seed=seeds, hot=st.sampled_from([0.25, 1.0, 3.0]))
@settings(max_examples=15, deadline=None)
def test_the_temperature_follows_the_scale_of_the_logits_and_none_is_likelier(seed, hot):
    labels, logits = made(seed, 4, 200)
    best = temperature(logits, labels)
    assert temperature(logits * np.float32(hot), labels) == pytest.approx(best * hot, rel=1e-3)
    cost = [negative_log_likelihood(logits / np.float32(best * factor), labels) for factor in (1.0, 0.9, 1.1)]
    assert cost[0] <= min(cost[1:]) + 1e-9


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_the_gaps_of_the_diagram_are_the_calibration_error(seed):
    labels, logits = made(seed)
    probabilities = softmax(logits)
    found = reliability(probabilities, labels)
    assert len(found.counts) == ECE_BINS
    assert found.counts.sum() == len(labels)
    gaps = np.nansum(found.counts * np.abs(found.accuracy - found.confidence)) / len(labels)
    assert gaps == pytest.approx(expected_calibration_error(probabilities, labels))


# Intervals


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    # Of two classes the model gets 90 % and 70 % right: balanced accuracy 0.8.
    draw = np.random.default_rng(3)
    held = []
    for trial in range(300):
        counts = np.array([np.append(k := draw.binomial(100, 0.9), 100 - k), [100 - (m := draw.binomial(100, 0.7)), m]])
        found = interval(overall(drawn_margins(counts, 400, trial))["balanced_accuracy"])
        assert found is not None
        held.append(found.low <= 0.8 <= found.high)
    assert 0.91 <= np.mean(held) <= 0.98


def test_intervals_of_areas_hold_the_truth_about_as_often_as_they_say():
    # Scores of the classes are normal, one deviation apart: AUROC = Phi(1 / sqrt 2).
    draw, truth, held = np.random.default_rng(4), 0.76025, []
    labels = np.repeat([0, 1], 60)
    for trial in range(120):
        scores = draw.normal(labels.astype(float))
        probabilities = softmax(np.stack([np.zeros(120), scores], axis=1).astype(np.float32))
        found = interval(drawn_areas(labels, probabilities, 200, trial)[0][:, 1])
        assert found is not None
        held.append(found.low <= truth <= found.high)
    assert 0.88 <= np.mean(held) <= 0.99


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_draws_keep_the_number_of_examples_of_each_class(seed):
    counts = np.random.default_rng(seed).integers(0, 5, (4, 4))
    drawn = drawn_margins(counts, 50, seed)
    assert (drawn.support == counts.sum(axis=1)).all()
    assert (drawn.called.sum(axis=1) == counts.sum()).all()
    assert (drawn.hits <= np.minimum(drawn.called, drawn.support)).all()
    assert not drawn.hits[:, counts.diagonal() == 0].any()
    assert drawn.called.tolist() == drawn_margins(counts, 50, seed).called.tolist()


def test_the_mean_of_the_draws_is_what_was_counted():
    counts = np.array([[30, 9, 1], [0, 25, 5], [4, 4, 12]])
    drawn = drawn_margins(counts, 4000, 0)
    assert drawn.hits.mean(axis=0) == pytest.approx(counts.diagonal(), rel=0.02)
    assert drawn.called.mean(axis=0) == pytest.approx(counts.sum(axis=0), rel=0.02)


def test_areas_of_very_many_examples_and_classes_have_fewer_draws_or_none():
    assert draws_of_areas(2000, 10) == 1000
    assert draws_of_areas(10_000, 10) == 200
    assert draws_of_areas(50_000, 1000) == 0
    labels, logits = made(0)
    found = drawn_areas(labels, softmax(logits), 0)
    assert [values.shape for values in found] == [(0, 3)] * 2
    assert interval(found[0][:, 0]) is None


def test_an_interval_of_what_is_seldom_defined_is_none():
    assert interval(np.array([np.nan, np.nan, 0.5])) is None
    assert interval(np.array([])) is None


def test_wilsons_interval_is_that_of_a_table():
    # 81 of 263: Newcombe (1998), table I.
    found = wilson(81, 263)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 0) is None


@pytest.mark.parametrize("whole", [1, 7, 82, 500])
def test_wilsons_interval_ends_at_none_and_at_all(whole):
    low = wilson(0, whole).low
    assert 0 <= low < 1e-12
    assert not f"{low:.1%}".startswith("-")
    assert 1 - 1e-12 < wilson(whole, whole).high <= 1.0


# Errors


def test_the_surest_mistakes_come_first_and_nothing_that_is_right():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.01, 0.99]])
    assert surest_mistakes(probabilities, np.array([1, 0, 1, 0])).tolist() == [3, 0, 1]


def test_pairs_are_ordered_by_how_often_they_are_confused():
    found = confused_pairs(np.array([[5, 2, 0], [2, 2, 0], [1, 0, 9]]))
    assert [(p.true, p.predicted, p.count) for p in found] == [(1, 0, 2), (0, 1, 2), (2, 0, 1)]
    assert found[0].share == 0.5


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_every_example_is_in_one_bin_of_confidence(seed):
    labels, logits = made(seed)
    probabilities = softmax(logits)
    found = by_confidence(probabilities, labels)
    assert sum(s.count for s in found) == len(labels)
    assert sum(s.wrong for s in found) == (probabilities.argmax(axis=1) != labels).sum()
    first = found[0]
    if first.name == "up to 0.5":
        assert first.count == (probabilities.max(axis=1) <= 0.5).sum()


def test_groups_come_worst_first_and_small_ones_not_at_all():
    right = np.array([True, False, False, True, True, False])
    found = by_group(right, np.array([7, 7, 4, 4, 4, 9]), least=2)
    assert found is not None
    assert [(s.name, s.count, s.wrong) for s in found] == [("7", 2, 1), ("4", 3, 1)]
    assert by_group(right, None) is None


def test_what_most_models_get_wrong_is_hardest():
    right = [np.array([True, False, False]), np.array([True, True, False])]
    places, wrong = hardest(right)
    assert (places.tolist(), wrong.tolist()) == ([2, 1], [2, 1])


def test_labels_that_were_swapped_are_suspected():
    pytest.importorskip("cleanlab")
    draw = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 60)
    probabilities = softmax((3 * np.eye(3)[truth] + draw.normal(size=(180, 3))).astype(np.float32))
    labels = truth.copy()
    labels[[5, 70, 150]] = [2, 0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = suspected_labels(labels, probabilities)
    assert {5, 70, 150} <= set(found[:8].tolist())

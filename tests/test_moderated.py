"""The moderated t test: against its limits, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import polygamma
from scipy.stats import ttest_1samp

from bench.compare.moderated import MOST_FREEDOM, Prior, _trigamma_is
from bench.compare.statistics import difference


@given(st.floats(1e-4, 1e3))
def test_the_inverse_of_trigamma_is_its_inverse(value):
    assert float(polygamma(1, _trigamma_is(value))) == pytest.approx(value, rel=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=8))
def test_without_other_points_it_is_students_t(changes):
    changes = [round(c, 6) for c in changes]
    if max(changes) - min(changes) > 1e-3:
        assert difference(changes, Prior()).p == pytest.approx(ttest_1samp(changes, 0).pvalue, abs=1e-9)


def test_points_that_spread_alike_count_as_many_and_others_as_few():
    draw = np.random.default_rng(0)
    alike = Prior.of(draw.normal(0, 0.5, (4000, 4)).tolist())
    assert alike.freedom > 20
    assert math.sqrt(alike.variance) == pytest.approx(0.5, rel=0.05)
    unlike = Prior.of([draw.normal(0, 10 ** draw.uniform(-2, 0), 4).tolist() for _ in range(40)])
    assert unlike.freedom < 3
    assert Prior.of([[1.0, 2.0, 4.0]] * 2) == Prior()
    assert Prior.of([[1.0, 2.0, 4.0]] * 5).freedom == MOST_FREEDOM


@pytest.mark.parametrize("unlike", [False, True])
def test_it_is_wrong_in_5_of_100_whether_points_spread_alike_or_not(unlike):
    draw = np.random.default_rng(1)
    wrong = total = 0
    for _ in range(120):
        scales = 10 ** draw.uniform(-1, 0, 12) if unlike else np.ones(12)
        points = (draw.normal(0, 1, (12, 3)) * scales[:, None]).tolist()
        prior = Prior.of(points)
        wrong += sum(difference(point, prior).p < 0.05 for point in points)
        total += len(points)
    assert 0.03 <= wrong / total <= 0.06


def test_a_point_that_spreads_by_rounding_alone_says_nothing_of_noise():
    draw = np.random.default_rng(2)
    points = draw.normal(0, 0.01, (8, 3)).tolist()
    rounded = [0.78 - 0.80, 0.68 - 0.70, 0.58 - 0.60]
    assert len(set(rounded)) > 1
    assert Prior.of([*points, rounded]) == Prior.of(points)


def test_no_change_at_all_is_none_and_a_point_is_never_surer_than_its_own_spread():
    assert difference([0.0, 0.0, 0.0], Prior(1.0, 5.0)).p == 1.0
    variance, freedom = Prior(0.01, 8.0, 10.0).leant(4.0, 2)
    assert (variance, freedom) == (4.0, 10.0)
    assert difference([0.5, 0.5, 0.5]).p == 0.0

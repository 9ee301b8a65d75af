"""Two cells on the same test examples: exact tests against scipy, intervals against simulation."""

from __future__ import annotations

import base64
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, f, friedmanchisquare, studentized_range
from simulations.simulate import intervals_over_examples

from bench.compare.answers import difference, mcnemar, resampled, right_of
from bench.compare.pareto import front
from bench.compare.ranks import ranks


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_mcnemar_is_the_exact_binomial_test_of_the_answers_that_differ(pairs):
    first, second = np.array(pairs, dtype=bool).T
    found = mcnemar(first, second)
    b, c = sum(f and not s for f, s in pairs), sum(s and not f for f, s in pairs)
    assert (found.only_first, found.only_second) == (b, c)
    assert found.p == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0)


@given(st.lists(st.booleans(), min_size=1, max_size=100))
def test_answers_come_back_from_a_record(right):
    wanted = np.array(right, dtype=bool)
    details = {"asked": len(right), "right": base64.b64encode(np.packbits(wanted).tobytes()).decode()}
    found = right_of(details)
    assert found is not None
    assert found.tolist() == right
    with pytest.raises(ValueError, match="bytes of answers"):
        right_of({**details, "asked": len(right) + 8})


def test_a_record_without_answers_has_none():
    assert right_of({}) is None
    assert right_of({"right": "/w=="}) is None  # of how many is not known


def test_the_bootstrap_interval_of_a_mean_is_close_to_the_normal_one():
    by_example = (np.arange(1000) < 800).astype(float)
    found = resampled(by_example)
    error = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert found.mean == pytest.approx(0.8)
    assert found.low == pytest.approx(0.8 - error, abs=0.003)
    assert found.high == pytest.approx(0.8 + error, abs=0.003)


def test_intervals_over_test_examples_hold_the_difference_in_95_of_100_test_sets():
    assert 0.93 <= intervals_over_examples(300, 1000) <= 0.97


def test_the_same_answers_differ_by_nothing():
    right = [np.array([True, False, True])]
    found = difference(right, right)
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)


# ranks over data sets


@given(st.integers(3, 5), st.integers(2, 8), st.integers(0, 99))
def test_friedman_is_scipy_s_with_ties_too(k, n, seed):
    table = np.random.default_rng(seed).integers(0, 6, (k, n)).astype(float)
    found = ranks({str(i): list(row) for i, row in enumerate(table)})
    assert found is not None
    statistic = friedmanchisquare(*table).statistic
    if np.isnan(statistic):  # every data set has all strategies tied
        assert found.p == 1.0
        return
    room = n * (k - 1) - statistic
    if room < 1e-9:  # all data sets rank alike: no F is large enough
        orders = len(set(permutations(table[:, 0])))
        expected = orders ** (1.0 - n)
    else:
        expected = f.sf((n - 1) * statistic / room, k - 1, (k - 1) * (n - 1))
    assert found.p == pytest.approx(expected, abs=1e-6)
    assert sum(found.mean.values()) == pytest.approx(k * (k + 1) / 2)


def test_two_data_sets_that_agree_on_two_strategies_show_nothing():
    """They do so half of the time by chance."""
    found = ranks({"a": [0.9, 0.8], "b": [0.7, 0.6]})
    assert found is not None
    assert (found.p, found.apart("a", "b")) == (0.5, False)


def test_the_critical_difference_is_the_published_one():
    """Demšar (2006), table 5: q is 2.569 for 4 classifiers; section 3.2.2: over 14 data sets it is 1.25."""
    found = ranks({name: list(np.random.default_rng(i).random(14)) for i, name in enumerate("abcd")})
    assert found is not None
    assert studentized_range.ppf(0.95, 4, np.inf) / np.sqrt(2) == pytest.approx(2.569, abs=1e-3)
    assert found.critical == pytest.approx(1.25, abs=0.005)


def test_a_strategy_that_always_wins_is_told_apart_over_many_data_sets():
    generator = np.random.default_rng(0)
    found = ranks({"good": list(2 + generator.random(12)), **{n: list(generator.random(12)) for n in "abc"}})
    assert found is not None
    assert found.mean["good"] == 1.0
    assert found.apart("good", "a")
    assert not found.apart("b", "c")


def test_one_data_set_has_no_ranks():
    assert ranks({"a": [1.0], "b": [2.0]}) is None
    assert ranks({"a": [1.0, 2.0]}) is None


# Pareto fronts


@given(st.dictionaries(st.text(max_size=3), st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_front_is_what_nothing_beats(points):
    found = front(points)
    for name, (quality, cost) in points.items():
        beaten = any(q >= quality and c <= cost and (q, c) != (quality, cost) for q, c in points.values())
        assert (name in found) != beaten
    costs = [points[name][1] for name in found]
    assert costs == sorted(costs)

"""Statistics over seeds, against closed forms, scipy and simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from simulations.simulate import NOISES, STRATEGIES, false_verdicts, intervals_over_seeds, slack

from bench.compare.statistics import MIN_SEEDS, compare_all, holm, paired, summarise

FINITE = st.floats(-1e3, 1e3, allow_nan=False)
P = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(st.lists(FINITE, min_size=2, max_size=20))
def test_mean_and_deviation_are_those_of_numpy_with_ddof_1(values):
    found = summarise(values)
    assert found is not None
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
    assert found.sd == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-9)


def test_one_value_has_no_spread_and_no_value_no_mean():
    assert summarise([]) is None
    one = summarise([0.5])
    assert one is not None
    assert (one.n, one.mean, one.sd) == (1, 0.5, None)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=2, max_size=12))
def test_paired_difference_equals_scipys_paired_t_test(pairs):
    a = {seed: x for seed, (x, _) in enumerate(pairs)}
    b = {seed: y for seed, (_, y) in enumerate(pairs)}
    differences = np.array([x - y for x, y in pairs])
    if np.std(differences, ddof=1) < 1e-6 * (1 + abs(differences).max()):
        return  # the degenerate case has its own test
    found = paired(a, b)
    theirs = stats.ttest_rel(list(a.values()), list(b.values()))
    interval = theirs.confidence_interval()
    assert found is not None
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-5, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-5, abs=1e-5)


def test_pairs_are_matched_by_seed_and_not_by_order():
    found = paired({2: 0.9, 0: 0.5, 7: 0.1}, {0: 0.4, 2: 0.7, 9: 0.0})
    assert found is not None
    assert found.n == 2
    assert found.mean == pytest.approx(0.15)


def test_equal_pairs_show_nothing_and_constant_gaps_are_certain():
    same = paired({0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.5, 1: 0.6, 2: 0.7})
    gap = paired({0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.4, 1: 0.5, 2: 0.6})
    assert same is not None
    assert gap is not None
    assert (same.mean, same.p) == (0.0, 1.0)
    assert gap.p == pytest.approx(0.0, abs=1e-9)
    assert gap.mean == pytest.approx(0.1)


def test_holm_matches_an_example_worked_by_hand():
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(P)
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferroni(p):
    adjusted = holm(p)
    for raw, out in zip(p, adjusted, strict=True):
        assert raw <= out <= min(1.0, len(p) * raw)
    order = sorted(range(len(p)), key=lambda i: p[i])
    assert all(adjusted[i] <= adjusted[j] for i, j in pairwise(order))
    assert min(adjusted) == pytest.approx(min(1.0, len(p) * min(p)))


def test_fewer_than_three_seeds_give_no_verdict():
    two = compare_all({"a": {0: 0.9, 1: 0.91}, "b": {0: 0.1, 1: 0.12}})
    assert two["a", "b"].verdict is None
    assert two["a", "b"].difference is not None
    seeds = range(MIN_SEEDS)
    three = compare_all({"a": dict.fromkeys(seeds, 0.9), "b": dict.fromkeys(seeds, 0.1)})
    assert three["a", "b"].verdict == "better"


def test_groups_without_a_common_seed_are_not_comparable():
    found = compare_all({"a": {0: 0.9}, "b": {1: 0.1}})
    assert found["a", "b"].verdict == "not comparable"


@given(st.lists(st.tuples(FINITE, FINITE, FINITE), min_size=3, max_size=6))
def test_a_comparison_reads_the_same_from_both_sides(rows):
    groups = {name: {s: row[i] for s, row in enumerate(rows)} for i, name in enumerate("abc")}
    found = compare_all(groups)
    turned = {"better": "worse", "worse": "better"}
    for a, b in (("a", "b"), ("a", "c"), ("b", "c")):
        there, back = found[a, b], found[b, a]
        assert there.verdict == turned.get(back.verdict, back.verdict)
        assert there.p_adjusted == back.p_adjusted
        assert there.difference.mean == -back.difference.mean
        if there.difference.low is not None and not math.isnan(there.difference.low):
            assert there.difference.low == -back.difference.high


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_the_true_difference_in_95_of_100_studies(seeds):
    assert 0.93 <= intervals_over_seeds(NOISES["normal"], seeds, 2000) <= 0.97


@pytest.mark.parametrize("seeds", [3, 4, 5])
def test_five_equal_strategies_are_told_apart_in_at_most_5_of_100_studies(seeds):
    assert STRATEGIES == 5
    assert false_verdicts(NOISES["normal"], seeds, 1000) <= 0.05 + slack(1000)

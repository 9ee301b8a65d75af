"""Learning curves over data size: laws that are known come back, and intervals hold what they say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulations.simulate import intervals_of_crossings, intervals_of_laws

from bench.compare.scaling import MOST_TIMES, Law, crossing, fit, meeting

SIZES = (100, 250, 500, 1000, 2000)


def law(n: float, floor: float, scale: float, slope: float) -> float:
    return floor + scale * n**-slope


def exact(floor: float, scale: float, slope: float, seeds: int = 3, sizes: tuple[int, ...] = SIZES) -> Law:
    found = fit({n: [law(n, floor, scale, slope)] * seeds for n in sizes})
    assert found is not None
    return found


@given(floor=st.floats(0, 0.2), scale=st.floats(0.5, 5), slope=st.floats(0.2, 1))
@settings(max_examples=40, deadline=None)
def test_a_law_without_noise_comes_back(floor, scale, slope):
    found = exact(floor, scale, slope)
    for n in (100, 300, 2000):
        assert found.at(n).value == pytest.approx(law(n, floor, scale, slope), rel=0.02)
    assert found.at(4000).value == pytest.approx(law(4000, floor, scale, slope), rel=0.06)


def test_two_sizes_are_too_few_for_a_law():
    assert fit({100: [0.3, 0.4], 200: [0.2, 0.3]}) is None
    assert fit({100: [0.3], 200: [0.2], 400: []}) is None


def test_an_error_of_nothing_has_no_law():
    assert fit({100: [0.3], 200: [0.1], 400: [0.0]}) is None


def test_one_seed_has_a_curve_and_no_interval():
    found = fit({n: [law(n, 0.1, 2.0, 0.5)] for n in SIZES})
    assert found is not None
    interval = found.at(1000)
    assert interval.value == pytest.approx(law(1000, 0.1, 2.0, 0.5), rel=0.01)
    assert interval.low is interval.high is None


def test_labels_for_an_error_is_the_inverse_of_the_curve():
    found = exact(0.0, 2.0, 0.5)
    for n in (150, 900, 8000):
        wanted = found.labels_for(law(n, 0.0, 2.0, 0.5))
        assert wanted.value == pytest.approx(n, rel=0.02)


def test_an_error_under_the_floor_is_never_reached():
    wanted = exact(0.1, 2.0, 0.5).labels_for(0.05)
    assert wanted.value is wanted.high is None


def test_an_error_that_is_reached_beyond_what_anyone_should_be_told_has_no_end():
    wanted = exact(0.0, 2.0, 0.5).labels_for(law(2 * MOST_TIMES * max(SIZES), 0.0, 2.0, 0.5))
    assert wanted.value is wanted.high is None


def test_a_steeper_curve_meets_a_flatter_one_where_the_algebra_says():
    steep, flat = exact(0.0, 8.0, 0.6), exact(0.0, 1.5, 0.3)
    assert meeting(steep, flat).value == pytest.approx((8.0 / 1.5) ** (1 / 0.3), rel=0.03)
    assert meeting(flat, steep).value is None
    assert meeting(exact(0.0, 0.5, 0.6), flat).value == 0


def test_a_crossing_between_sizes_is_found_on_the_line_between_them():
    flat = {100: {0: 0.7, 1: 0.7}, 1000: {0: 0.7, 1: 0.7}}
    rising = {100: {0: 0.6, 1: 0.6}, 1000: {0: 0.8, 1: 0.8}}
    found = crossing(flat, rising)
    assert found.value == pytest.approx(10**2.5)
    assert (found.low, found.high) == (pytest.approx(10**2.5), pytest.approx(10**2.5))


def test_lines_that_never_cross_have_no_crossing():
    low, high = {100: {0: 0.1}, 200: {0: 0.2}}, {100: {0: 0.5}, 200: {0: 0.6}}
    assert crossing(high, low).value is None
    assert crossing({100: {0: 0.5}}, {100: {0: 0.6}}).value is None
    assert crossing({100: {0: 0.5}}, {200: {1: 0.6}}).value is None


@pytest.mark.parametrize("seeds", [3, 5])
def test_crossing_intervals_hold_the_crossing_in_95_of_100_studies(seeds):
    assert 0.93 <= intervals_of_crossings(seeds, 400) <= 1


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_a_fitted_curve_hold_it_in_95_of_100_studies(seeds):
    assert intervals_of_laws(seeds, 700, 300) >= 0.93

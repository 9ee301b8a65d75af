"""Keyed views: a view is a function of (data seed, view, example) alone."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.recipe import Augment
from bench.training.views import Views, key_of

PICTURES = torch.randint(0, 256, (6, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
EXAMPLES = np.array([3, 1, 4, 15, 9, 2])

augments = st.builds(Augment, flip=st.booleans(), shift=st.integers(0, 4), views=st.integers(1, 9))


def shown(augment: Augment, view: int, seed: int = 0) -> torch.Tensor:
    return Views(augment, seed).moves(EXAMPLES, np.full(len(EXAMPLES), view)).apply(PICTURES)


def moved(picture: torch.Tensor, right: int, down: int) -> torch.Tensor:
    """Shift one picture the slow way."""
    out = torch.zeros_like(picture)
    _, height, width = picture.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                out[:, y, x] = picture[:, y - down, x - right]
    return out


def test_flip_alone_is_exactly_two_views():
    augment = Augment(flip=True)
    assert augment.count == 2
    assert torch.equal(shown(augment, 0), PICTURES)
    assert torch.equal(shown(augment, 1), PICTURES.flip(3))


def test_no_augmentation_is_one_view():
    assert Augment().count == 1


def test_flips_are_shared_by_all_seeds_and_shifts_are_not():
    assert key_of(Augment(flip=True), 1) == key_of(Augment(flip=True), 2)
    assert key_of(Augment(shift=2), 1) != key_of(Augment(shift=2), 2)
    assert torch.equal(shown(Augment(flip=True), 1, seed=1), shown(Augment(flip=True), 1, seed=2))
    assert not torch.equal(shown(Augment(shift=2), 1, seed=1), shown(Augment(shift=2), 1, seed=2))


@given(augment=augments, seed=st.integers(0, 2**40))
def test_view_0_is_the_plain_picture(augment, seed):
    assert torch.equal(shown(augment, 0, seed), PICTURES)


@given(shift=st.integers(1, 4), flip=st.booleans(), seed=st.integers(0, 2**40), view=st.integers(0, 7))
@settings(max_examples=40)
def test_a_view_is_each_pictures_own_shift_and_then_flip(shift, flip, seed, view):
    views = Views(Augment(flip=flip, shift=shift), seed)
    sides, right, down = views.draw(EXAMPLES, np.full(len(EXAMPLES), view))
    assert np.abs(right).max() <= shift
    assert np.abs(down).max() <= shift
    expected = [moved(p, r, d) for p, r, d in zip(PICTURES, right.tolist(), down.tolist(), strict=True)]
    expected = [p.flip(2) if side else p for p, side in zip(expected, sides, strict=True)]
    assert torch.equal(shown(Augment(flip=flip, shift=shift), view, seed), torch.stack(expected))


@given(augment=augments, order=st.permutations(range(6)), views=st.lists(st.integers(0, 7), min_size=6, max_size=6))
@settings(max_examples=40)
def test_a_view_does_not_depend_on_the_rest_of_the_batch(augment, order, views):
    drawn = np.array(views) % augment.count
    together = Views(augment, 7).moves(EXAMPLES, drawn).apply(PICTURES)
    apart = Views(augment, 7).moves(EXAMPLES[order], drawn[order]).apply(PICTURES[order])
    assert torch.equal(apart, together[order])


def test_the_pictures_of_a_batch_are_shifted_each_in_its_own_way():
    views = Views(Augment(flip=True, shift=3), 0)
    flip, right, down = views.draw(np.arange(1000), np.ones(1000, dtype=np.int64))
    assert len({(f, r, d) for f, r, d in zip(flip, right, down, strict=True)}) == 2 * 7 * 7
    for offsets in (right, down):
        assert np.bincount(offsets + 3, minlength=7).min() > 100
    assert abs(flip.mean() - 0.5) < 0.06
    assert abs(np.corrcoef(right, down)[0, 1]) < 0.1


def test_the_views_of_a_picture_differ():
    views = Views(Augment(shift=4, views=8), 0)
    _, right, down = views.draw(np.full(8, 42), np.arange(8))
    assert len({(r, d) for r, d in zip(right, down, strict=True)}) > 5

"""Keyed views: a view is a function of (data seed, view, example) alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.recipe import Augment
from bench.training.feed import _groups, batches
from bench.training.views import Views

CPU = torch.device("cpu")
PICTURES = torch.randint(0, 256, (6, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
EXAMPLES = np.array([3, 1, 4, 15, 9, 2])

parts = st.sampled_from([0.0, 0.2, 0.5])
augments = st.builds(
    Augment, flip=st.booleans(), vertical_flip=st.booleans(), shift=st.integers(0, 4), views=st.integers(1, 9),
    rotate=st.sampled_from([0.0, 25.0]), brightness=parts, contrast=parts, saturation=parts, hue=parts,
    policy=st.sampled_from([None, "rand_augment", "auto_augment", "trivial_augment"]), number=st.integers(1, 3),
)  # fmt: skip
EACH = {
    "shift": Augment(shift=2), "rotate": Augment(rotate=30), "brightness": Augment(brightness=0.5),
    "contrast": Augment(contrast=0.5), "saturation": Augment(saturation=0.9), "hue": Augment(hue=0.5),
    "rand_augment": Augment(policy="rand_augment"), "auto_augment": Augment(policy="auto_augment"),
    "trivial_augment": Augment(policy="trivial_augment"),
}  # fmt: skip


def shown(augment: Augment, view: int, seed: int = 0) -> torch.Tensor:
    return Views(augment, seed).moves(EXAMPLES, np.full(len(EXAMPLES), view), CPU).apply(PICTURES)


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
    assert Views(Augment(flip=True), 1).key == Views(Augment(flip=True), 2).key
    assert Views(Augment(shift=2), 1).key != Views(Augment(shift=2), 2).key
    assert torch.equal(shown(Augment(flip=True), 1, seed=1), shown(Augment(flip=True), 1, seed=2))
    assert not torch.equal(shown(Augment(shift=2), 1, seed=1), shown(Augment(shift=2), 1, seed=2))


@given(augment=augments, seed=st.integers(0, 2**40))
def test_view_0_is_the_plain_picture(augment, seed):
    assert torch.equal(shown(augment, 0, seed), PICTURES)


@given(shift=st.integers(1, 4), flip=st.booleans(), seed=st.integers(0, 2**40), view=st.integers(0, 7))
@settings(max_examples=40)
def test_a_view_is_each_pictures_own_shift_and_then_flip(shift, flip, seed, view):
    views = Views(Augment(flip=flip, shift=shift), seed)
    sides, right, down, _ = views.draw(EXAMPLES, np.full(len(EXAMPLES), view))
    assert np.abs(right).max() <= shift
    assert np.abs(down).max() <= shift
    expected = [moved(p, r, d) for p, r, d in zip(PICTURES, right.tolist(), down.tolist(), strict=True)]
    expected = [p.flip(2) if side else p for p, side in zip(expected, sides, strict=True)]
    assert torch.equal(shown(Augment(flip=flip, shift=shift), view, seed), torch.stack(expected))


@given(augment=augments, order=st.permutations(range(6)), views=st.lists(st.integers(0, 7), min_size=6, max_size=6))
@settings(max_examples=40)
def test_a_view_does_not_depend_on_the_rest_of_the_batch(augment, order, views):
    drawn = np.array(views) % augment.count
    together = Views(augment, 7).moves(EXAMPLES, drawn, CPU).apply(PICTURES)
    apart = Views(augment, 7).moves(EXAMPLES[order], drawn[order], CPU).apply(PICTURES[order])
    assert torch.equal(apart, together[order])


def test_the_pictures_of_a_batch_are_shifted_each_in_its_own_way():
    views = Views(Augment(flip=True, shift=3), 0)
    flip, right, down, _ = views.draw(np.arange(1000), np.ones(1000, dtype=np.int64))
    assert len({(f, r, d) for f, r, d in zip(flip, right, down, strict=True)}) == 2 * 7 * 7
    for offsets in (right, down):
        assert np.bincount(offsets + 3, minlength=7).min() > 100
    assert abs(flip.mean() - 0.5) < 0.06
    assert abs(np.corrcoef(right, down)[0, 1]) < 0.1


def test_the_views_of_a_picture_differ():
    views = Views(Augment(shift=4, views=8), 0)
    _, right, down, _ = views.draw(np.full(8, 42), np.arange(8))
    assert len({(r, d) for r, d in zip(right, down, strict=True)}) > 5


def test_flips_of_both_kinds_are_exactly_four_views():
    both = Augment(flip=True, vertical_flip=True)
    wanted = [PICTURES, PICTURES.flip(3), PICTURES.flip(2), PICTURES.flip(2, 3)]
    assert both.count == 4
    assert all(torch.equal(shown(both, view), each) for view, each in enumerate(wanted))
    assert torch.equal(shown(Augment(vertical_flip=True), 1), PICTURES.flip(2))
    keys = [Views(Augment(flip=f, vertical_flip=v), 3).key for f in (False, True) for v in (False, True)]
    assert len({str(sorted(key.items())) for key in keys}) == 4


@pytest.mark.parametrize("augment", EACH.values(), ids=EACH)
def test_one_picture_shown_as_many_examples_and_in_many_views_is_many_pictures(augment):
    examples, views = np.arange(40), np.ones(40, dtype=np.int64)
    same = PICTURES[:1].expand(40, -1, -1, -1)
    for pair in ((examples, views), (views, 1 + examples)):
        found = Views(augment, 0).moves(*pair, CPU).apply(same)
        assert found.dtype == torch.uint8
        assert len(found.flatten(1).unique(dim=0)) > 12
    anew = Views(augment, 1).moves(examples, views, CPU).apply(same)
    assert not torch.equal(anew, Views(augment, 0).moves(examples, views, CPU).apply(same))


def test_each_operation_of_a_policy_is_drawn_as_often_as_any_other():
    count = 14 * 300
    acts = list(Views(Augment(policy="trivial_augment"), 0)._acts(np.arange(count), np.ones(count, dtype=np.int64)))
    sizes = [len(act.pictures) for act in acts[3:]]
    assert len(sizes) == 13  # the fourteenth is to do nothing
    assert min(sizes) > 230
    assert max(sizes) < 370


def test_colours_are_changed_in_every_order():
    colour = Augment(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5)
    count = 24 * 100
    acts = list(Views(colour, 0)._acts(np.arange(count), np.ones(count, dtype=np.int64)))[3:]
    order = {i: "".join(a.operation.__name__[0] for a in acts if i in set(a.pictures.tolist())) for i in range(200)}
    assert all(sorted(each) == list("bchs") for each in order.values())
    assert len(set(order.values())) == 24


@pytest.mark.parametrize("augment", [Augment(shift=1, fresh=True), Augment(policy="rand_augment", fresh=True)])
def test_fresh_views_are_never_shown_twice_and_none_of_them_is_kept(augment):
    views = Views(augment, 5)
    drawn = torch.cat([views.random(50, torch.Generator().manual_seed(seed)) for seed in range(4)])
    assert len(drawn.unique()) == 200
    assert drawn.min() >= 1
    assert (views.shown, views.count, views.key) == (None, 1, Views(Augment(), 0).key)
    moved = views.moves(EXAMPLES, drawn[:6].numpy(), CPU).apply(PICTURES)
    assert torch.equal(
        moved, Views(replace(augment, fresh=False), 5).moves(EXAMPLES, drawn[:6].numpy(), CPU).apply(PICTURES)
    )
    assert not torch.equal(moved, PICTURES)


@pytest.mark.parametrize("most", [0, 40])
def test_batches_that_are_moved_together_are_those_that_are_moved_alone(most):
    """On 5 x 7 pixels: as many batches at once as there may be, or one."""
    count, augment = 30, Augment(flip=True, rotate=30, policy="rand_augment")
    examples, views = np.arange(count) * 7, np.arange(count) % 4
    pictures = PICTURES[torch.arange(count) % 6]
    moves = Views(augment, 0).moves(examples, views, CPU)
    parts = batches(count, 8)
    whole = torch.cat(
        [moves[slice(g[0].start, g[-1].stop)].apply(pictures[g[0].start : g[-1].stop]) for g in _groups(parts, most)]
    )
    assert torch.equal(whole, moves.apply(pictures))

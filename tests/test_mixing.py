"""Mixed examples: targets of sum 1, the share that was realised, partners of any class, and the identity at 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from bench.backbones._inputs import PictureInputs
from bench.recipe import Augment
from bench.strategies import Step, Strategy
from bench.training.feed import Normalise, batches
from bench.training.mixing import Mixer, Mixing, boxes

CPU = torch.device("cpu")
WAYS = {"mixup": Augment(mixup=0.4), "cutmix": Augment(cutmix=1.0), "both": Augment(mixup=0.4, cutmix=1.0)}
COUNT, EDGE = 50, 16
PARTS = batches(COUNT, 8)
# One level a picture, so that a mixed one tells what it is made of; labels sorted by class.
LEVELS = torch.arange(COUNT, dtype=torch.uint8) * 5
PICTURES = LEVELS[:, None, None, None].expand(-1, 3, EDGE, EDGE)
LABELS = torch.arange(COUNT) * 3 // COUNT


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def mixing(request) -> Mixing:
    return drawn(request.param)


def drawn(augment: Augment, seed: int = 0) -> Mixing:
    return Mixer(augment, EDGE, 3, CPU).draw(PARTS, torch.Generator().manual_seed(seed))


def test_targets_sum_to_1_and_are_what_the_picture_is_made_of(mixing):
    for part in PARTS:
        targets = mixing.targets(LABELS[part], part)
        assert torch.allclose(targets.sum(dim=1), torch.ones(len(targets)))
        assert targets.min() >= 0
        own, other = LEVELS[part].double(), LEVELS[part][mixing.partner[part]].double()
        mean = mixing.pictures(PICTURES[part], part).double().mean(dim=(1, 2, 3))
        share = mixing.share[part].double()
        assert torch.allclose(mean, share * own + (1 - share) * other, atol=1e-4)
        wanted = torch.zeros(len(targets), 3)
        for row, (mine, partner) in enumerate(zip(LABELS[part], LABELS[part][mixing.partner[part]], strict=True)):
            wanted[row, mine] += mixing.share[part][row]
            wanted[row, partner] += 1 - mixing.share[part][row]
        assert torch.allclose(targets, wanted)


def test_a_share_of_1_is_the_identity_to_the_bit(mixing):
    draw = torch.Generator().manual_seed(1)
    noise = torch.randint(0, 256, (COUNT, 3, EDGE, EDGE), dtype=torch.uint8, generator=draw)
    whole = replace(mixing, share=torch.ones(COUNT), box=torch.full((COUNT, 4), 3))
    normalise = Normalise(PictureInputs(EDGE, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), "bilinear"), CPU)
    for part in PARTS:
        assert torch.equal(normalise(whole.pictures(noise[part], part)), normalise(noise[part]))
        assert torch.equal(whole.targets(LABELS[part], part), torch.eye(3)[LABELS[part]])


def test_a_batch_that_is_sorted_by_class_is_mixed_between_classes(mixing):
    part = next(p for p in PARTS if len(LABELS[p].unique()) > 1)
    several = drawn(Augment(mixup=1.0))
    for each in (mixing, several):
        for whole in PARTS:
            assert sorted(each.partner[whole].tolist()) == list(range(whole.stop - whole.start))
    met = {bool((LABELS[part] != LABELS[part][drawn(WAYS["both"], seed).partner[part]]).any()) for seed in range(5)}
    assert met == {True}
    neighbours = (mixing.partner[PARTS[0]] - torch.arange(8)) % 8
    assert len(neighbours.unique()) > 1


def test_each_example_has_a_share_of_its_own_and_each_batch_one_way(mixing):
    assert len(mixing.share.unique()) > COUNT / 4
    assert len(mixing.cut) == len(PARTS)
    many = [cut for seed in range(40) for cut in drawn(WAYS["both"], seed).cut.values()]
    assert abs(sum(many) / len(many) - 0.5) < 0.12
    assert not any(drawn(WAYS["mixup"]).cut.values())
    assert all(drawn(WAYS["cutmix"]).cut.values())


def test_what_is_mixed_comes_from_the_generator_alone():
    one, same, other = drawn(WAYS["both"]), drawn(WAYS["both"]), drawn(WAYS["both"], 1)
    for name in ("partner", "share", "box"):
        assert torch.equal(getattr(one, name), getattr(same, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))


@given(
    share=st.lists(st.floats(0, 1), min_size=1, max_size=5), x=st.floats(0, 0.999), y=st.floats(0, 0.999),
    edge=st.integers(1, 70),
)  # fmt: skip
def test_a_box_is_inside_the_picture_and_the_share_is_what_is_left(share, x, y, edge):
    box, left = boxes(np.array(share), np.tile([x, y], (len(share), 1)), edge)
    assert box.min() >= 0
    assert box.max() <= edge
    for (x1, y1, x2, y2), realised, wanted in zip(box.tolist(), left, share, strict=True):
        inside = torch.zeros(edge, edge)
        inside[y1:y2, x1:x2] = 1
        assert realised == pytest.approx(1 - float(inside.mean()))
        assert realised >= wanted - 1e-9


def test_the_loss_of_a_mixed_example_is_the_mean_of_its_parts_losses():
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    part, mixing = PARTS[2], drawn(WAYS["mixup"])
    labels, share = LABELS[part], mixing.share[part]
    targets = mixing.targets(labels, part)
    found = Strategy().loss(Step(logits, targets.argmax(dim=1), {}, targets=targets, label_smoothing=0.1))
    own, other = (
        cross_entropy(logits, y, reduction="none", label_smoothing=0.1) for y in (labels, labels[mixing.partner[part]])
    )
    assert torch.allclose(found, (share * own + (1 - share) * other).mean())

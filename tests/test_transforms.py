"""Operations on pictures are torchvision's, each picture with numbers of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from bench.training import policies, transforms

BILINEAR = v2.InterpolationMode.BILINEAR
FACTORS = [0.0, 0.37, 1.0, 1.63]


def pictures(channels: int = 3) -> torch.Tensor:
    """Return four pictures, 19 high and 24 wide: noise, a slope, one level, and few levels."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (channels, 19, 24), generator=draw)
    slope = torch.linspace(20, 230, 19 * 24).view(1, 19, 24) * torch.tensor([1.0, 0.6, 0.3])[:channels, None, None]
    flat = torch.full((channels, 19, 24), 140)
    few = torch.randint(0, 4, (channels, 19, 24), generator=draw) * 60 + 30
    return torch.stack([noise, slope.long(), flat, few]).to(torch.uint8)


def close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Say whether levels are equal but for one step in few of them."""
    gap = (found.int() - wanted.int()).abs()
    return found.dtype == torch.uint8 and int(gap.max()) <= 1 and float((gap > 0).float().mean()) < 0.02


CASES = {
    "flip": ([()] * 4, lambda p: functional.horizontal_flip(p)),
    "vertical_flip": ([()] * 4, lambda p: functional.vertical_flip(p)),
    "shift": ([(3, -2), (0, 0), (-7, 5), (24, 1)], lambda p, x, y: functional.affine(p, 0.0, [x, y], 1.0, [0.0, 0.0])),
    "brightness": ([(f,) for f in FACTORS], functional.adjust_brightness),
    "contrast": ([(f,) for f in FACTORS], functional.adjust_contrast),
    "saturation": ([(f,) for f in FACTORS], functional.adjust_saturation),
    "hue": ([(-0.5,), (-0.13,), (0.2,), (0.41,)], functional.adjust_hue),
    "sharpness": ([(f,) for f in FACTORS], functional.adjust_sharpness),
    "posterize": ([(1,), (3,), (5,), (8,)], lambda p, bits: functional.posterize(p, int(bits))),
    "solarize": ([(0,), (90,), (140,), (255,)], functional.solarize),
    "invert": ([()] * 4, functional.invert),
    "autocontrast": ([()] * 4, functional.autocontrast),
    "equalize": ([()] * 4, functional.equalize),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_an_operation_does_to_each_picture_what_torchvision_does_with_its_numbers(name, channels):
    rows, reference = CASES[name]
    numbers, given = torch.tensor(rows, dtype=torch.float32).reshape(4, -1), pictures(channels)
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):  # each kind of picture with two rows of numbers
        before = given.clone()
        found = getattr(transforms, name)(given[order], numbers)
        assert torch.equal(given, before)
        wanted = torch.stack([reference(p, *row) for p, row in zip(given[order], rows, strict=True)])
        assert close(found, wanted), name


def test_a_picture_is_turned_by_its_own_angle():
    angles = np.array([-90.0, -17.0, 0.0, 41.5])
    found = transforms.affine(pictures(), torch.from_numpy(policies.rotation(angles)).float())
    wanted = [functional.rotate(p, a, BILINEAR) for p, a in zip(pictures(), angles.tolist(), strict=True)]
    assert close(found, torch.stack(wanted))


SPACES = {
    "rand_augment": (policies.NARROW, v2.RandAugment, 31, [0, 9, 17, 30]),
    "trivial_augment": (policies.WIDE, v2.TrivialAugmentWide, 31, [1, 8, 20, 30]),
    "auto_augment": (policies.LEARNT, v2.AutoAugment, 10, [0, 3, 8, 9]),
}


@pytest.mark.parametrize("policy", SPACES)
def test_every_operation_of_a_policy_does_what_torchvisions_does_at_the_same_magnitude(policy):
    choices, reference, bins, magnitudes = SPACES[policy]
    space, made = reference._AUGMENTATION_SPACE, reference(interpolation="bilinear")
    assert set(space) == {name for name in choices if name != "Identity" or policy != "auto_augment"}
    for name, (levels, signed) in space.items():
        choice, table = choices[name], levels(bins, 19, 24)
        assert choice.signed == signed
        if choice.operation is None:
            continue
        signs = np.array([1, -1, -1, 1]) if signed else np.ones(4)
        strength = signs * np.array(magnitudes) / (bins - 1)
        found = choice.operation(pictures(), torch.from_numpy(choice.numbers(strength)).float())
        for mine, picture, magnitude, sign in zip(found, pictures(), magnitudes, signs, strict=True):
            level = 0.0 if table is None else sign * float(table[magnitude])
            wanted = made._apply_image_or_video_transform(picture, name, level, "bilinear", {torch.Tensor: None})
            assert close(mine, wanted), (name, magnitude, sign)


def test_the_pairs_of_auto_augment_are_those_of_the_paper():
    wanted = v2.AutoAugment()._get_policies(v2.AutoAugmentPolicy.IMAGENET)
    assert [tuple((n, p, m or 0) for n, p, m in pair) for pair in wanted] == list(policies.IMAGENET)


def test_shears_keep_the_first_row_and_column_in_place():
    strength = np.array([1.0])
    for name, angles, first in (
        ("ShearX", [30.0, 0.0], (slice(None), 0)),
        ("ShearY", [0.0, 30.0], (slice(None), slice(None), 0)),
    ):
        numbers = policies._sheared(name == "ShearX", math.tan(math.radians(30)))(strength)
        (found,) = transforms.affine(pictures()[:1], torch.from_numpy(numbers).float())
        wanted = functional.affine(pictures()[0], 0.0, [0, 0], 1.0, angles, BILINEAR, center=[0, 0])
        assert close(found, wanted)
        assert found[first].any()

"""Which operations a view is made by: what is asked for, and policies that draw from a list of operations.

The lists, magnitudes and probabilities are those of torchvision.transforms.v2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from bench.augment import MAGNITUDES, Augment
from bench.training import transforms
from bench.training.transforms import Operation

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
# Gives the draw of a number by its place, float64 [n] in [0, 1): one for each picture.
Draw = Callable[[int], Floats]


@dataclass(frozen=True)
class Act:
    """An operation on some of n pictures: which, int64 [m] ascending, and the numbers of each, float32 [m, k]."""

    operation: Operation
    pictures: Indices
    numbers: NDArray[np.float32]


@dataclass(frozen=True)
class Choice:
    """An operation of a policy, and its numbers [n, k] by strength [n]: in [0, 1], in [-1, 1] where it is `signed`."""

    operation: Operation | None
    numbers: Callable[[Floats], Floats] = lambda strength: np.zeros((len(strength), 0))
    signed: bool = False


def rotation(degrees: Floats) -> Floats:
    """Return the numbers of `transforms.affine` that turn a picture against the clock about its middle."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.stack([cos, -sin, sin, cos, np.zeros_like(cos)], axis=1)


def _sheared(across: bool, most: float) -> Callable[[Floats], Floats]:
    """Return the numbers of `transforms.affine` that shear a picture, its first row or column in its place."""

    def numbers(strength: Floats) -> Floats:
        one, none, by = np.ones_like(strength), np.zeros_like(strength), most * strength
        return np.stack([one, by if across else none, none if across else by, one, one * -0.5], axis=1)

    return numbers


def _moved(across: bool, most: float) -> Callable[[Floats], Floats]:
    def numbers(strength: Floats) -> Floats:
        by, none = np.trunc(most * strength) if most > 1 else most * strength, np.zeros_like(strength)
        return np.stack([by, none] if across else [none, by], axis=1)

    return numbers


def choices(shear: float, move: float, degrees: float, factor: float, bits: int) -> dict[str, Choice]:
    """Return the operations of RandAugment by name, with what each does at full strength.

    `move` is a part of the edge, or pixels where it is more than 1; `bits` of 8 are lost.
    """
    moving = transforms.shift if move > 1 else transforms.translate

    def factors(operation: Operation) -> Choice:
        return Choice(operation, lambda strength: 1 + factor * strength[:, None], signed=True)

    return {
        "Identity": Choice(None),
        "ShearX": Choice(transforms.affine, _sheared(True, shear), signed=True),
        "ShearY": Choice(transforms.affine, _sheared(False, shear), signed=True),
        "TranslateX": Choice(moving, _moved(True, move), signed=True),
        "TranslateY": Choice(moving, _moved(False, move), signed=True),
        "Rotate": Choice(transforms.affine, lambda strength: rotation(degrees * strength), signed=True),
        "Brightness": factors(transforms.brightness),
        "Color": factors(transforms.saturation),
        "Contrast": factors(transforms.contrast),
        "Sharpness": factors(transforms.sharpness),
        "Posterize": Choice(transforms.posterize, lambda strength: np.round(8 - bits * strength)[:, None]),
        "Solarize": Choice(transforms.solarize, lambda strength: 255 * (1 - strength)[:, None]),
        "AutoContrast": Choice(transforms.autocontrast),
        "Equalize": Choice(transforms.equalize),
    }


NARROW = choices(shear=0.3, move=150 / 331, degrees=30, factor=0.9, bits=4)
WIDE = choices(shear=0.99, move=32, degrees=135, factor=0.99, bits=6)
LEARNT = {**NARROW, "Invert": Choice(transforms.invert)}
# Pairs of (operation, probability, strength in ninths).
Pair = tuple[tuple[str, float, int], tuple[str, float, int]]
IMAGENET: tuple[Pair, ...] = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.8, 0), ("Equalize", 0.6, 0)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 0), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 0), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 0)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 0)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 0), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 0)),
    (("Equalize", 0.0, 0), ("Equalize", 0.8, 0)),
    (("Invert", 0.6, 0), ("Equalize", 1.0, 0)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 0)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 0)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 0)),
    (("Equalize", 0.4, 0), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 0)),
    (("Invert", 0.6, 0), ("Equalize", 1.0, 0)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 0), ("Equalize", 0.6, 0)),
)

# Places of draws: one by its name, four of the colours from the second on, three of each step of a policy.
ROTATE, ORDER, PAIR, COLOURS, STEPS = 0, 1, 2, 3, 8
ORDERS = np.array(list(permutations(range(4))))


def rotated(augment: Augment, pictures: Indices, draw: Draw) -> Iterator[Act]:
    """Yield what turns pictures by an angle."""
    if augment.rotate:
        yield _act(transforms.affine, pictures, rotation(augment.rotate * (2 * draw(ROTATE)[pictures] - 1)))


def coloured(augment: Augment, pictures: Indices, draw: Draw) -> Iterator[Act]:
    """Yield what changes colours: each picture goes through all that are asked for, in an order of its own."""
    asked = (augment.brightness, augment.contrast, augment.saturation)
    operations = (transforms.brightness, transforms.contrast, transforms.saturation, transforms.hue)
    ranges = [(max(0.0, 1 - most), 1 + most) for most in asked] + [(-augment.hue, augment.hue)]
    on = [i for i, most in enumerate((*asked, augment.hue)) if most]
    if not on:
        return
    values = {i: ranges[i][0] + (ranges[i][1] - ranges[i][0]) * draw(COLOURS + i) for i in on}
    order = ORDERS[(draw(ORDER) * len(ORDERS)).astype(np.int64)[pictures]]
    for place in range(4):
        for i in on:
            here = pictures[order[:, place] == i]
            yield _act(operations[i], here, values[i][here, None])


def rand_augment(augment: Augment, draw: Draw) -> Iterator[tuple[Mapping[str, Choice], Indices, Floats, Floats]]:
    """Yield, for each step, the operation of each picture by number, its strength, and the draw of its sign."""
    for step in range(augment.number):
        kind, sign = draw(STEPS + 3 * step), draw(STEPS + 3 * step + 1)
        strength = np.full(len(kind), augment.magnitude / (MAGNITUDES - 1))
        yield NARROW, (kind * len(NARROW)).astype(np.int64), strength, sign


def trivial_augment(augment: Augment, draw: Draw) -> Iterator[tuple[Mapping[str, Choice], Indices, Floats, Floats]]:
    """Yield the one step, as `rand_augment` does."""
    kind, sign, magnitude = (draw(STEPS + i) for i in range(3))
    strength = np.floor(magnitude * MAGNITUDES) / (MAGNITUDES - 1)
    yield WIDE, (kind * len(WIDE)).astype(np.int64), strength, sign


def auto_augment(augment: Augment, draw: Draw) -> Iterator[tuple[Mapping[str, Choice], Indices, Floats, Floats]]:
    """Yield the two steps of a pair, as `rand_augment` does."""
    names = list(LEARNT)
    pair = (draw(PAIR) * len(IMAGENET)).astype(np.int64)
    for step in range(2):
        kinds = np.array([names.index(each[step][0]) for each in IMAGENET])
        often, ninths = (np.array([each[step][i] for each in IMAGENET]) for i in (1, 2))
        taken = draw(STEPS + 3 * step) < often[pair]
        kind = np.where(taken, kinds[pair], names.index("Identity"))
        yield LEARNT, kind, ninths[pair] / 9, draw(STEPS + 3 * step + 1)


POLICIES = {"rand_augment": rand_augment, "auto_augment": auto_augment, "trivial_augment": trivial_augment}


def by_policy(augment: Augment, pictures: Indices, draw: Draw) -> Iterator[Act]:
    """Yield what a policy does with pictures."""
    if augment.policy is None:
        return
    for every, kinds, strengths, signs in POLICIES[augment.policy](augment, draw):
        for number, choice in enumerate(every.values()):
            here = pictures[kinds[pictures] == number]
            if choice.operation is not None:
                sign = np.where(signs[here] < 0.5, -1, 1) if choice.signed else 1
                yield _act(choice.operation, here, choice.numbers(strengths[here] * sign))


def _act(operation: Operation, pictures: Indices, numbers: Floats) -> Act:
    return Act(operation, pictures, numbers.astype(np.float32))

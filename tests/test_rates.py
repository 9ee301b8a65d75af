"""Schedules of the learning rate: by name or with options, and step by step what torch's own give."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD, lr_scheduler

from bench.errors import OptionError
from bench.rates import SCHEDULES, Cosine, Plateau, Rates, Schedule, Step
from bench.recipe import Recipe
from bench.registry import build, choice, plain

FALLING = ("one_cycle", "cosine", "linear", "constant")


def parts(schedule: Any, steps: int, each: int = 1) -> list[float]:
    """Return the parts of the peak that so many steps have, `each` of them an epoch."""
    rates = Rates(schedule, steps // each, each)
    return [rates.part(step) for step in range(steps)]


def torch_rates(make: Callable[[SGD], Any], steps: int) -> list[float]:
    """Return the rates of a scheduler of torch with a peak of 1, one for each of its steps."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@given(schedule=st.sampled_from(FALLING), steps=st.integers(1, 400))
def test_a_rate_stays_within_its_peak_and_every_schedule_learns(schedule, steps):
    found = parts(schedule, steps)
    assert all(0 < f <= 1 for f in found)
    # Schedules that fall give half of the peak in the mean, however few the steps.
    mean = sum(found) / steps
    assert mean == pytest.approx(1.0 if schedule == "constant" else 0.5, abs=0.35 if steps < 4 else 0.05)


def test_one_cycle_rises_over_the_first_three_tenths_and_falls_to_almost_nothing():
    found = np.array(parts("one_cycle", 1000))
    assert found[0] == pytest.approx(1 / 25, rel=1e-3)
    assert abs(int(found.argmax()) - 300) <= 1
    assert found.max() == pytest.approx(1, rel=1e-4)
    assert found[-1] < 2e-5
    assert (np.diff(found[:300]) > 0).all()
    assert (np.diff(found[301:]) < 0).all()


# torch takes the rate of a step's beginning, and this harness that of its middle: every other half step of torch's.


def halves(make: Callable[[SGD], Any], steps: int) -> list[float]:
    return torch_rates(make, 2 * steps)[1::2]


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_a_cosine_and_a_line_are_torchs(steps):
    cosine = halves(lambda o: lr_scheduler.CosineAnnealingLR(o, 2 * steps), steps)
    line = halves(lambda o: lr_scheduler.LinearLR(o, 1.0, 1e-12, 2 * steps), steps)
    assert parts("cosine", steps) == pytest.approx(cosine, abs=1e-9)
    assert parts("linear", steps) == pytest.approx(line, abs=1e-9)


@pytest.mark.parametrize(("warmup", "first"), [(0.1, 10), (25, 25), (1, 1)])
def test_a_warm_up_is_a_line_and_the_rest_falls_after_it(warmup, first):
    def both(optimizer: SGD) -> Any:
        up = lr_scheduler.LinearLR(optimizer, 1e-12, 1.0, 2 * first)
        down = lr_scheduler.CosineAnnealingLR(optimizer, 2 * (100 - first))
        return lr_scheduler.SequentialLR(optimizer, [up, down], [2 * first])

    found = parts({"name": "cosine", "warmup": warmup}, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls what torch itself deprecates
        wanted = halves(both, 100)
    assert found == pytest.approx(wanted, abs=1e-9)


def test_more_warm_up_than_there_are_steps_only_rises():
    found = parts({"name": "constant", "warmup": 50}, 4)
    assert found == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert parts({"name": "linear", "warmup": 0.5}, 4) == pytest.approx([0.25, 0.75, 0.75, 0.25])


@given(every=st.integers(1, 5), gamma=st.floats(0.05, 1), epochs=st.integers(1, 12), each=st.integers(1, 4))
def test_steps_are_those_of_torch(every, gamma, epochs, each):
    wanted = torch_rates(lambda o: lr_scheduler.StepLR(o, every, gamma), epochs)
    found = parts({"name": "step", "every": every, "gamma": gamma}, epochs * each, each)
    assert found == pytest.approx([rate for rate in wanted for _ in range(each)], rel=1e-9)


@given(
    judged=st.lists(st.tuples(st.floats(0.1, 3), st.floats(0, 1)), min_size=1, max_size=25),
    on=st.sampled_from(["loss", "accuracy"]),
    factor=st.floats(0.3, 1),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
)
def test_a_plateau_is_torchs_evaluation_by_evaluation(judged, on, factor, patience, threshold):
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    mode = "min" if on == "loss" else "max"
    peer = lr_scheduler.ReduceLROnPlateau(optimizer, mode, factor, patience, threshold, eps=0.0) if factor < 1 else None
    schedule = {"name": "plateau", "on": on, "factor": factor, "patience": patience, "threshold": threshold}
    rates = Rates(choice("schedule", schedule, SCHEDULES), len(judged), 2)
    for epoch, (loss, accuracy) in enumerate(judged):
        assert rates.part(2 * epoch) == rates.part(2 * epoch + 1)
        assert rates.part(2 * epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        rates.judged(loss, accuracy)
        if peer is not None:
            peer.step(loss if on == "loss" else accuracy)


# names and options


@pytest.mark.parametrize("name", FALLING)
def test_a_schedule_without_options_is_its_bare_name_however_it_is_said(name):
    for said in (name, {"name": name}, SCHEDULES[name]()):
        assert plain(Recipe(schedule=said))["schedule"] == name
    assert plain(Recipe(schedule={"name": "cosine", "warmup": 0.0}))["schedule"] == "cosine"


def test_options_are_a_part_of_the_recipe_and_come_back_from_it():
    recipe = build(Recipe, {"schedule": {"name": "step", "every": 3}}, "the recipe")
    assert recipe.schedule == Step(every=3)
    told = plain(recipe)["schedule"]
    assert told == {"name": "step", "every": 3, "gamma": 0.1}
    assert build(Recipe, {"schedule": told}, "the recipe") == recipe
    assert Recipe(schedule={"name": "cosine", "warmup": 5}).schedule == Cosine(warmup=5)


@pytest.mark.parametrize(
    ("schedule", "path", "said"),
    [
        ("cosin", ("schedule",), "unknown schedule 'cosin'; did you mean 'cosine'"),
        ("zigzag", ("schedule",), "unknown schedule 'zigzag'; there are constant, cosine, linear, one_cycle, plateau"),
        (3, ("schedule",), "schedule must be a name or a mapping with a name, not 3"),
        ({"every": 3}, ("schedule",), "schedule must be a name or a mapping with a name"),
        ("step", ("schedule",), "schedule 'step' needs the option 'every'"),
        ({"name": "step", "evry": 1}, ("schedule", "evry"), "unknown option 'evry' of schedule 'step'; did you mean"),
        ({"name": "step", "every": 0}, ("schedule", "every"), "every must be 1 epoch or more, not 0"),
        ({"name": "step", "every": 1.5}, ("schedule", "every"), "every must be a whole number, not 1.5"),
        ({"name": "step", "every": 2, "gamma": 0}, ("schedule", "gamma"), r"gamma must be in \(0, 1\], not 0"),
        ({"name": "cosine", "warmup": 1.5}, ("schedule", "warmup"), "warmup must be a part of the steps, below 1, or"),
        ({"name": "linear", "warmup": -1}, ("schedule", "warmup"), "warmup must be a part of the steps"),
        ({"name": "one_cycle", "warmup": 1}, ("schedule", "warmup"), "unknown option 'warmup' of schedule 'one_cycle'"),
        ({"name": "plateau", "factor": 2}, ("schedule", "factor"), "factor must be in"),
        ({"name": "plateau", "patience": -1}, ("schedule", "patience"), "patience must be 0 or more, not -1"),
        ("plateau", ("schedule",), "schedule 'plateau' looks at validation; it needs selection: best_val"),
    ],
    ids=str,
)
def test_a_wrong_schedule_is_refused_with_its_place(schedule, path, said):
    with pytest.raises(OptionError, match=said) as refused:
        build(Recipe, {"schedule": schedule}, "the recipe")
    assert refused.value.path == path


def test_every_schedule_has_a_name_and_a_docstring():
    for name, kind in SCHEDULES.items():
        assert issubclass(kind, Schedule)
        assert kind.__dataclass_fields__["name"].default == name
        assert (kind.__doc__ or "").strip()
    assert [name for name, kind in SCHEDULES.items() if kind.watches] == [Plateau().name]

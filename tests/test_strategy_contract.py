"""What every strategy keeps to: it changes what it says and nothing else, and gives the same when it is run again."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import numpy as np
import pages
import pytest
from learners import RECIPE, changed, every_strategy, learner, network_of, round_of, state_of, tensors_of
from torch import Tensor

from bench.backbones._heads import with_head
from bench.backbones._network import Network
from bench.errors import Skip
from bench.measure.cost import sizes_of, trained_shares
from bench.recipe import Augment, Head, Recipe
from bench.strategies import Strategy
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.full_finetune import FullFinetune
from bench.strategies.lora import LoRA
from bench.strategies.norm_only import NormOnly
from bench.strategies.partial_finetune import PartialFinetune
from bench.strategies.surgical import Surgical
from bench.training.learner import Learner

SIX = replace(RECIPE, epochs=6, augment=Augment(flip=True))


@pytest.fixture(params=every_strategy(), ids=lambda strategy: strategy.name)
def strategy(request) -> Strategy:
    return request.param


def made(folder, strategy: Strategy) -> Learner:
    return learner(folder, strategy, SIX, parents=parents_of(strategy, SIX))


def parents_of(strategy: Strategy, recipe: Recipe) -> dict[str, Network]:
    return {role: with_head(network_of(seed=9), recipe.head, 3, seed=9) for role in strategy.parents()}


def test_every_strategy_says_what_it_is_and_trains_the_toy(strategy, tmp_path):
    assert strategy.version >= 1
    assert strategy.start in ("pretrained", "random")
    assert (type(strategy).__doc__ or "").strip()
    student, one = made(tmp_path, strategy), round_of(24, SIX)
    before = state_of(student.network)
    student.fit(one)
    found = student.logits(one.test)
    assert found.shape == (60, 3)
    assert np.isfinite(found).all()
    assert {"head.weight", "head.bias"} <= student.trained
    assert {"head.weight", "head.bias"} <= changed(before, state_of(student.network))
    assert sizes_of(student, None).params_trained > 0


def test_only_what_a_strategy_declares_changes_and_frozen_buffers_are_byte_identical(strategy, tmp_path):
    student = made(tmp_path, strategy)
    before = state_of(student.network)
    student.fit(round_of(24, SIX))
    assert_only_what_is_declared_changed(student, before)


def assert_only_what_is_declared_changed(student: Learner, before: dict[str, Tensor]) -> None:
    parameters = {name for name, _ in student.network.model.named_parameters()}
    moved = changed(before, state_of(student.network))
    assert moved & parameters <= student.trained | student.adapted.keys()
    learnt = {s.name for s in student.network.stages if tensors_of(student, {s.name}) & student.trained}
    head = f"{student.network.head_path}."
    buffers = {name for name in moved - parameters if not name.startswith(head)}
    assert {name for name in buffers if name not in tensors_of(student, learnt)} == set()


def test_every_strategy_trains_with_all_of_a_recipe_at_once(strategy, tmp_path):
    recipe = replace(
        SIX, selection="best_val", validation=0.4, patience=2, schedule={"name": "plateau", "patience": 0}, ema=0.8,
        clip_norm=0.5, decay_norms=True, class_weights="effective", head=Head(8, "batch", 0.3), label_smoothing=0.1,
    )  # fmt: skip
    solved = any(phase.solve is not None for phase in strategy.phases(["stem", "middle", "last"]))
    if solved:
        with pytest.raises(Skip, match="solves for a linear head"):
            learner(tmp_path, strategy, recipe, parents=parents_of(strategy, recipe))
        recipe = replace(recipe, head=Head(dropout=0.3))
    student = learner(tmp_path, strategy, recipe, parents=parents_of(strategy, recipe))
    before, one = state_of(student.network), round_of(24, recipe)
    student.fit(one)
    assert np.isfinite(student.logits(one.test)).all()
    assert_only_what_is_declared_changed(student, before)
    assert {name for name, p in student.network.head_parameters() if p.dim() > 1} <= student.trained
    assert (student.progress.selected_epoch is None) == (not student.progress.curve)


@pytest.mark.parametrize(
    ("made_as", "shares"),
    [
        (FeatureExtract(), [0, 0, 0]),
        (PartialFinetune(unfreeze=1), [0, 0, 1]),
        (FullFinetune(), [1, 1, 1]),
        (Surgical(first=1), [1, 0, 0]),
        (NormOnly(), [16 / 232, 32 / 1184, 64 / 4672]),
        (LoRA(rank=1), [(8 + 27) / 232, (16 + 72) / 1184, (32 + 144) / 4672]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_part_of_each_stage_that_learnt_is_told(made_as, shares, tmp_path):
    student = made(tmp_path, made_as)
    student.fit(round_of(24, SIX))
    assert trained_shares(student) == pytest.approx(
        dict(zip(["stem", "middle", "last"], shares, strict=True)), abs=1e-6
    )


def test_a_strategy_gives_the_same_to_the_byte_when_it_is_run_again(strategy, tmp_path):
    """A run that was cut off is run again from its start: here in the same process, and in another learner."""
    first, other = round_of(24, SIX), round_of(12, SIX, seed=1)
    once = made(tmp_path, strategy)
    once.fit(first)
    wanted = once.logits(first.test)
    once.fit(other)
    once.fit(first)
    assert np.array_equal(once.logits(first.test), wanted)
    again = made(tmp_path, strategy)
    again.fit(first)
    assert np.array_equal(again.logits(first.test), wanted)
    assert again.trained == once.trained


def test_the_page_of_strategies_has_a_row_for_each_with_its_options_and_a_paper():
    page = (pages.DOCS / "strategies.md").read_text(encoding="utf-8")
    rows = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", page, re.M)}
    every = {strategy.name: strategy for strategy in every_strategy()}
    assert rows.keys() == every.keys()
    for name, (options, formula, paper) in rows.items():
        told = set(re.findall(r"`(\w+)(?::[^`]*)?`", options))
        assert told == {field.name for field in fields(every[name])}, name
        assert formula.strip(), name
        assert re.search(r"\b(19|20)\d\d\b", paper) or paper == "–", name

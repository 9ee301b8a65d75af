"""Strategies that look at a round before they decide: surgery by gradients, and the textbook's rule."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from learners import RECIPE, changed, learner, network_of, round_of, state_of, tensors_of
from torch.nn.functional import cross_entropy

from bench.errors import OptionError
from bench.report import choice
from bench.strategies import Phase
from bench.strategies.advised import Advised
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.full_finetune import FullFinetune
from bench.strategies.partial_finetune import PartialFinetune
from bench.strategies.surgical import Surgical
from bench.training.learner import Learner

STAGES = ("stem", "middle", "last")
FOUR = replace(RECIPE, epochs=4)


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (lambda: Advised(few=10, many=10), "few must be 0 or more and less than many"),
        (lambda: Advised(unfreeze=0), "unfreeze must be 1 or more"),
        (lambda: Surgical(auto=True, probe=0.0), "probe must be between"),
        (lambda: Surgical(auto=True, first=1), "needs one of stages, first, last, auto, and has first and auto"),
    ],
)
def test_an_option_out_of_range_is_refused(made, wrong):
    with pytest.raises(OptionError, match=wrong):
        made()


def decided(made: Learner) -> list[Phase]:
    """Fit a round and return the phases that were trained."""
    phases, choose = [], made._choose

    def noted(phase):
        phases.append(phase)
        return choose(phase)

    made._choose = noted
    made.fit(round_of(24, made.recipe))
    return phases


# surgery by relative gradient norm


@pytest.mark.parametrize("backbone", ["toy_cnn", "resnet10t"])
def test_rates_are_the_relative_gradient_norms_of_the_probed_network_over_the_largest(tmp_path, backbone):
    made = learner(tmp_path, Surgical(auto=True), FOUR, backbone)
    head, tuning = decided(made)
    assert (head.unfrozen, tuning.unfrozen, made.epochs) == (0, None, (1, 3))

    probe = learner(tmp_path, FeatureExtract(), replace(FOUR, epochs=1), backbone)
    probe.fit(round_of(24))
    network, one = probe.network, round_of(24)
    network.freeze(0)
    network.eval()
    order = torch.arange(24)
    (x,) = probe.supply.feed(one.train, 0, probe.views, "features").epoch(
        order, torch.zeros_like(order), [slice(0, 24)]
    )
    parameters = [[p for _, p in network.stage_parameters(i)] for i in range(len(network.stages))]
    loss = cross_entropy(network(x), torch.from_numpy(one.train.labels))
    gradients = torch.autograd.grad(loss, [p for own in parameters for p in own])
    found = iter(gradients)
    norms = [
        float(
            torch.cat([next(found).flatten() for _ in own]).norm()
            / torch.cat([p.detach().flatten() for p in own]).norm()
        )
        for own in parameters
    ]
    assert tuning.rates == pytest.approx([norm / max(norms) for norm in norms], rel=2e-3)
    assert max(tuning.rates) == 1.0
    assert tuning.norms == "frozen"
    assert made.notes == [{"relative_rates": [round(rate, 4) for rate in tuning.rates]}]


def test_a_look_leaves_the_network_as_it_was(tmp_path):
    made = learner(tmp_path, Surgical(auto=True), FOUR)
    states, learn = [], made._learn

    def watched(phase, *given):
        if phase.decide is not None:
            before = state_of(made.network)
            made._decided(phase, given[0])
            states.append(changed(before, state_of(made.network)))
            assert all(p.grad is None for p in made.network.parameters())
        learn(phase, *given)

    made._learn = watched
    made.fit(round_of(24))
    assert states == [set()]


def test_the_pass_that_is_looked_at_is_a_cost_of_training(tmp_path):
    made = learner(tmp_path, Surgical(auto=True), FOUR)
    made.fit(round_of(24))
    assert (24, 0, 0) in [(w.examples, w.forward, w.backward) for w in made.spent.work]


# the textbook's rule


def test_the_words_of_the_rule_are_those_of_the_report():
    assert (Advised().few, Advised().many) == (choice.SMALL, choice.LARGE)


@dataclass
class Shown:
    """A round that looks as a test wants it to."""

    labels: torch.Tensor
    alike: bool
    stages: tuple[str, ...] = STAGES
    classes: int = 2

    def __post_init__(self):
        self.said, self.looked = {}, []

    def _told(self, what: str, good: bool) -> torch.Tensor:
        self.looked.append(what)
        noise = torch.randn(len(self.labels), 4, generator=torch.Generator().manual_seed(3))
        return noise + 4 * good * self.labels[:, None]

    def features(self) -> torch.Tensor:
        return self._told("features", self.alike)

    def pixels(self) -> torch.Tensor:
        return self._told("pixels", not self.alike)

    def note(self, **said):
        self.said |= said


def shown(each: int, alike: bool = True, **other) -> Shown:
    return Shown(torch.arange(2 * each) % 2, alike, **other)


@pytest.mark.parametrize(
    ("each", "alike", "name", "phase"),
    [
        (50, True, "feature_extract", FeatureExtract().phases(STAGES)[0]),
        (50, False, "partial_finetune", PartialFinetune(unfreeze=2).phases(STAGES)[0]),
        (51, True, "partial_finetune", PartialFinetune(unfreeze=2).phases(STAGES)[0]),
        (499, False, "partial_finetune", PartialFinetune(unfreeze=2).phases(STAGES)[0]),
        (500, True, "full_finetune", FullFinetune().phases(STAGES)[0]),
        (500, False, "full_finetune", FullFinetune().phases(STAGES)[0]),
    ],
)
def test_the_rule_takes_what_the_textbook_takes_and_looks_only_where_it_counts(each, alike, name, phase):
    look = shown(each, alike)
    assert Advised().advice(look) == phase
    assert look.said["decided"] == name
    assert look.said["labels_per_class"] == each
    assert look.looked == (["features", "pixels"] if each <= 50 else [])


def test_a_backbone_of_one_stage_has_no_part_to_finetune():
    look = shown(100, stages=("trunk",))
    assert Advised().advice(look) == Phase(unfrozen=None)
    assert look.said["decided"] == "full_finetune"


@pytest.mark.parametrize(
    ("options", "plain", "stages"),
    [
        ({"few": 0, "many": 1}, FullFinetune(), set(STAGES)),
        ({"few": 1, "many": 100, "unfreeze": 1}, PartialFinetune(unfreeze=1), {"last"}),
    ],
)
def test_what_is_advised_gives_what_the_strategy_of_that_name_gives(tmp_path, options, plain, stages):
    one = round_of(24)
    advised, other = learner(tmp_path, Advised(**options)), learner(tmp_path, plain)
    before = state_of(advised.network)
    advised.fit(one)
    other.fit(one)
    assert np.array_equal(advised.logits(one.test), other.logits(one.test))
    moved = {name for name in changed(before, state_of(advised.network)) if not name.startswith("head.")}
    assert moved == tensors_of(advised, stages)
    assert [note["decided"] for note in advised.notes] == [plain.name]


def test_the_likeness_that_is_noted_is_of_features_and_of_pixels(tmp_path):
    made = learner(tmp_path, Advised())
    made.fit(round_of(24))
    (note,) = made.notes
    assert 0 <= note["separable_by_features"] <= 1
    assert 0 <= note["separable_by_pixels"] <= 1
    alike = note["separable_by_features"] > note["separable_by_pixels"]
    assert note["decided"] == ("feature_extract" if alike else "partial_finetune")
    assert network_of().inputs.resolution == 16

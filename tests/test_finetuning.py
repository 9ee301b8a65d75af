"""Fine-tuning by other means than all at once: in phases, with rates by stage, with a pull, or of a few parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from learners import RECIPE, Sketch, changed, learner, network_of, round_of, state_of, tensors_of, trained
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.errors import OptionError, Skip
from bench.measure.cost import sizes_of
from bench.recipe import Recipe
from bench.strategies import Phase, Step
from bench.strategies.bitfit import BitFit, is_bias
from bench.strategies.discriminative import Discriminative
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.frozen_random import FrozenRandom
from bench.strategies.gradual_unfreeze import GradualUnfreeze
from bench.strategies.l2_sp import L2Sp
from bench.strategies.lp_ft import LpFt
from bench.strategies.norm_only import NormOnly, of_norm
from bench.strategies.partial_finetune import PartialFinetune
from bench.strategies.surgical import Surgical
from bench.training.groups import choose

STAGES = ["stem", "middle", "last"]
HEAD = {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (lambda: GradualUnfreeze(steps=1), "steps must be 2 or more"),
        (lambda: GradualUnfreeze(unfreeze=(0, 2, 2)), "counts of stages that grow"),
        (lambda: GradualUnfreeze(unfreeze=(-1, 2)), "counts of stages that grow"),
        (lambda: GradualUnfreeze(decay=0.0), "decay must be in"),
        (lambda: LpFt(probe=1.0), "probe must be between"),
        (lambda: LpFt(lr=0.0), "lr must be positive"),
        (lambda: Discriminative(decay=0.0), "decay must be in"),
        (lambda: Discriminative(rates=(0.1, 0.0)), "rates must be positive"),
        (lambda: Surgical(), "needs one of stages, first, last, auto, and has none"),
        (lambda: Surgical(first=1, last=1), "and has first and last"),
        (lambda: Surgical(first=-1), "first must be 0 or more"),
        (lambda: L2Sp(pull=-1.0), "pull must be 0 or more"),
        (lambda: L2Sp(shrink=math.nan), "shrink must be 0 or more"),
    ],
)
def test_an_option_out_of_range_is_refused(made, wrong):
    with pytest.raises(OptionError, match=wrong):
        made()


# gradual unfreezing


def by_phase(made, one) -> list[set[str]]:
    """Fit a round and return the names of the tensors that changed in each phase."""
    states, learn = [state_of(made.network)], made._learn

    def watched(phase, round_, epochs):
        learn(phase, round_, epochs)
        states.append(state_of(made.network))

    made._learn = watched
    made.fit(one)
    return [changed(before, after) for before, after in pairwise(states)]


def test_gradual_unfreezing_changes_per_phase_what_its_schedule_says(tmp_path):
    made = learner(tmp_path, GradualUnfreeze(unfreeze=(0, 1, 2, 3), norms="train"), replace(RECIPE, epochs=8))
    moved = by_phase(made, round_of(24))
    assert moved == [tensors_of(made, set(STAGES[3 - k :])) | HEAD for k in range(4)]
    # Each phase runs on the activations of what it leaves frozen.
    assert [w.forward for w in made.spent.work if w.backward is not None] == [3, 2, 1, 0]
    assert made.epochs == (2, 2, 2, 2)


@pytest.mark.parametrize(("steps", "depth", "counts"), [(3, 9, [0, 4, 9]), (2, 5, [0, 5]), (4, 2, [0, 1, 2])])
def test_steps_are_spread_from_the_head_alone_to_every_stage(steps, depth, counts):
    assert [p.unfrozen for p in GradualUnfreeze(steps=steps).phases(["s"] * depth)] == counts


def test_after_a_phase_of_the_head_alone_stages_learn_slowly_on_the_statistics_that_it_fits():
    head, *others = GradualUnfreeze(lr=0.2).phases(STAGES)
    assert (head.lr, head.standardize) == (1.0, True)
    assert [(p.lr, p.norms) for p in others] == [(0.2, "frozen")] * 2
    first, second = GradualUnfreeze(unfreeze=(1, 3)).phases(STAGES)
    assert (first.lr, second.lr) == (1.0, 0.1)


def test_unfreezing_more_stages_than_there_are_is_a_skip():
    with pytest.raises(Skip, match="unfreeze: 4, but this backbone has 3"):
        GradualUnfreeze(unfreeze=(0, 4)).phases(STAGES)


# LP-FT


@pytest.mark.parametrize("backbone", ["convnext_atto", "toy_cnn", "resnet10t"])
def test_tuning_after_probing_starts_at_the_probes_loss(tmp_path, backbone):
    """With batch statistics too; on models without dropout, so that training and evaluation mode are the same."""
    losses: list[float] = []

    @dataclass(frozen=True)
    class Watched(LpFt):
        """LP-FT that notes its losses."""

        def loss(self, step: Step) -> Any:
            losses.append(float(super().loss(step).detach()))
            return super().loss(step)

    recipe = Recipe(epochs=4, batch_size=24, lr=1e-2)
    one = round_of(24, recipe)
    made = learner(tmp_path, Watched(), recipe, backbone)
    made.fit(one)
    probe = learner(tmp_path, Sketch((Phase(unfrozen=0, standardize=True),)), replace(recipe, epochs=2), backbone)
    probe.fit(one)
    reached = float(cross_entropy(torch.from_numpy(probe.logits(one.train)), torch.from_numpy(one.train.labels)))
    assert len(losses) == 4
    assert losses[0] == pytest.approx(math.log(3), abs=0.7)
    # A fresh head would start at the first loss again.
    assert losses[2] == pytest.approx(reached, rel=1e-3)
    assert losses[2] < losses[1] < losses[0]


def test_the_probe_leaves_the_backbone_alone_and_the_second_part_moves_all_of_it(tmp_path):
    made = learner(tmp_path, LpFt(probe=0.25), replace(RECIPE, epochs=4))
    probe, tune = by_phase(made, round_of(24))
    assert made.epochs == (1, 3)
    assert probe == HEAD
    assert tune == {name for name, _ in made.network.model.named_parameters()}


# discriminative rates


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        (Discriminative(decay=0.5), [0.125, 0.25, 0.5]),
        (Discriminative(rates=(0.01, 0.1)), [0.01, 0.01, 0.1]),
        (Discriminative(rates=(0.01, 0.1, 0.5)), [0.01, 0.1, 0.5]),
    ],
)
def test_each_stage_really_moves_at_its_own_rate(tmp_path, strategy, wanted):
    """By what a step of plain gradient descent moves, and not by a key that an optimiser may not read."""
    recipe = replace(RECIPE, epochs=1, batch_size=24, optimizer="sgd", schedule="constant", weight_decay=0.0)
    moves = {}
    for name, chosen in (("mine", strategy), ("plain", Discriminative(decay=1.0))):
        made = learner(tmp_path, chosen, recipe)
        before = state_of(made.network)
        made.fit(round_of(24, recipe))
        after = state_of(made.network)
        moves[name] = {
            n: float((after[n] - before[n]).norm()) for n in ("head.weight", *(f"{s}.0.weight" for s in STAGES))
        }
    ratios = {n: moves["mine"][n] / moves["plain"][n] for n in moves["mine"]}
    assert ratios["head.weight"] == pytest.approx(1.0, rel=1e-4)
    assert [ratios[f"{s}.0.weight"] for s in STAGES] == pytest.approx(wanted, rel=1e-3)


def test_more_rates_than_stages_are_a_skip():
    with pytest.raises(Skip, match="4 rates, but this backbone has 3"):
        Discriminative(rates=(0.1, 0.2, 0.3, 0.4)).phases(STAGES)


# surgical


@pytest.mark.parametrize("backbone", ["toy_cnn", "resnet10t"])
@pytest.mark.parametrize(
    ("options", "at"),
    [({"first": 1}, [0]), ({"last": 1}, [-1]), ({"first": 2}, [0, 1]), ({"stages": "middle"}, [1])],
    ids=["first", "last", "first two", "named"],
)
def test_surgery_changes_its_stages_and_not_a_byte_of_those_before_or_after(tmp_path, backbone, options, at):
    names = [stage.name for stage in network_of(backbone).stages]
    options = {k: (names[1],) if k == "stages" else v for k, v in options.items()}
    made = learner(tmp_path, Surgical(**options), backbone=backbone)
    moved = trained(made)
    assert moved == tensors_of(made, {names[i] for i in at})
    assert any("running_mean" in name for name in moved)


def test_surgery_on_the_last_stages_is_partial_finetuning(tmp_path):
    found = []
    for strategy in (Surgical(last=2), PartialFinetune(unfreeze=2)):
        made = learner(tmp_path, strategy)
        made.fit(round_of(24))
        found.append(state_of(made.network))
    assert not changed(*found)


@pytest.mark.parametrize("options", [{"stages": ("stem", "neck")}, {"first": 4}, {"last": 4}])
def test_surgery_on_stages_that_are_not_there_is_a_skip(options):
    with pytest.raises(Skip, match="this backbone has 3 stage"):
        Surgical(**options).phases(STAGES)


# L2-SP


def penalties(made) -> list[float]:
    """Fit a round and return the penalty at each step."""
    found: list[float] = []

    class Watched(type(made.strategy)):
        def penalty(self, step: Step) -> Tensor:
            found.append(float(super().penalty(step).detach()))
            return super().penalty(step)

    made.strategy = Watched(**vars(made.strategy))
    made.fit(round_of(24))
    return found


def test_the_pull_to_the_start_is_zero_at_the_start_and_leaves_the_new_head_out(tmp_path):
    pulls = penalties(learner(tmp_path, L2Sp(shrink=0.0), replace(RECIPE, epochs=2)))
    assert pulls[0] == 0.0
    assert min(pulls[1:]) > 0


def test_the_penalty_is_its_formula():
    weights = {"a.weight": torch.tensor([[1.0, 2.0]]), "a.bias": torch.tensor([3.0]), "head.weight": torch.ones(2, 2)}
    start = {"a.weight": torch.tensor([[0.0, 4.0]]), "a.bias": torch.tensor([3.0])}
    step = Step(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), {}, weights=weights, start=start)
    assert float(L2Sp(pull=0.5, shrink=0.1).penalty(step)) == pytest.approx(0.25 * (1 + 4) + 0.05 * 4)


def test_a_strong_pull_holds_the_backbone_where_it_was(tmp_path):
    def distance(pull: float) -> float:
        made = learner(tmp_path, L2Sp(pull=pull), replace(RECIPE, epochs=4, lr=1e-2))
        before = state_of(made.network)
        made.fit(round_of(24))
        after = state_of(made.network)
        return sum(float((after[f"{s}.0.weight"] - before[f"{s}.0.weight"]).norm()) for s in STAGES)

    assert distance(10.0) < distance(0.0) / 2


# a few parameters


def test_training_norms_alone_counts_what_the_formula_says_and_changes_only_those(tmp_path):
    made = learner(tmp_path, NormOnly())
    moved = trained(made)
    # Two numbers a channel of each norm, and a head of 32 features for 3 classes.
    assert sizes_of(made, None).params_trained == 2 * (8 + 16 + 32) + 32 * 3 + 3
    parameters = {n for n, _ in made.network.model.named_parameters()}
    assert moved & parameters == {f"{s}.1.{p}" for s in STAGES for p in ("weight", "bias")}


def test_training_biases_alone_counts_what_the_formula_says_and_changes_only_those(tmp_path):
    made = learner(tmp_path, BitFit())
    moved = trained(made)
    assert sizes_of(made, None).params_trained == (8 + 16 + 32) + 32 * 3 + 3
    parameters = {n for n, _ in made.network.model.named_parameters()}
    assert moved & parameters == {f"{s}.1.bias" for s in STAGES}


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "test_vit", "test_convnext", "test_byobnet"])
def test_norms_and_biases_of_real_backbones_are_found_whatever_their_classes(backbone):
    network = network_of(backbone)
    norms, biases = (set(choose(network, Phase(only=only))) - HEAD for only in (of_norm, is_bias))
    head = f"{network.head_path}."
    norms, biases = ({n for n in names if not n.startswith(head)} for names in (norms, biases))
    trunk = {n: p for n, p in network.model.named_parameters() if not n.startswith(head)}
    assert biases == {n for n in trunk if n.endswith("bias")}
    assert norms
    assert all(trunk[n].dim() == 1 for n in norms)
    # Whatever has one dimension and is no bias of a product belongs to a norm, or scales a residual branch.
    others = {n for n, p in trunk.items() if p.dim() == 1} - norms - biases
    assert {n.rpartition(".")[2] for n in others} <= {"gamma"}


def test_parameters_that_a_backbone_does_not_have_are_a_skip(tmp_path):
    with pytest.raises(Skip, match="has none of the parameters"):
        choose(network_of(), Phase(only=lambda module, name: False))


def test_what_one_phase_left_out_learns_in_the_next():
    network = network_of()
    everything = choose(network, Phase())
    assert choose(network, Phase(only=of_norm)).keys() < everything.keys()
    assert choose(network, Phase()).keys() == everything.keys()


# frozen random features


def test_a_frozen_random_backbone_differs_from_feature_extraction_in_its_weights_alone(tmp_path):
    assert FrozenRandom.start == "random"
    assert FrozenRandom().phases(STAGES) == FeatureExtract().phases(STAGES)
    made = learner(tmp_path, FrozenRandom())
    drawn, pretrained = state_of(made.network), network_of().model.state_dict()
    assert not torch.equal(drawn["stem.0.weight"], pretrained["stem.0.weight"])
    assert trained(made) == set()

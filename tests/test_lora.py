"""Low-rank adaptation: what learns, what it becomes, and peft's numbers on the same weights."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import pytest
import torch
from encoders import named, save
from learners import RECIPE, changed, learner, network_of, round_of, state_of
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from bench.backbones import find
from bench.backbones._network import Network
from bench.errors import OptionError, Skip
from bench.measure.cost import sizes_of
from bench.strategies import Phase
from bench.strategies.lora import LoRA
from bench.training.adapters import attach, detach, merged_state
from bench.training.groups import choose

STAGES = ["stem", "middle", "last"]
HEAD = {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("made", "wrong"),
    [(lambda: LoRA(rank=0), "rank must be 1 or more"), (lambda: LoRA(alpha=0.0), "alpha must be positive")],
)
def test_an_option_out_of_range_is_refused(made, wrong):
    with pytest.raises(OptionError, match=wrong):
        made()


def test_the_count_that_learns_is_the_formula_and_not_the_merged_weights(tmp_path):
    made = learner(tmp_path, LoRA(rank=4))
    before = state_of(made.network)
    made.fit(round_of(24))
    # rank x (outputs + inputs x kernel) of each convolution, and a head of 32 features for 3 classes.
    formula = 4 * ((8 + 3 * 9) + (16 + 8 * 9) + (32 + 16 * 9)) + 32 * 3 + 3
    assert sizes_of(made, None).params_trained == formula
    assert sizes_of(made, None).params_total == sum(
        t.numel() for n, t in before.items() if "running" not in n and "num" not in n
    )
    assert made.trained == HEAD
    assert changed(before, state_of(made.network)) == HEAD | {f"{s}.0.weight" for s in STAGES}


@pytest.mark.parametrize("backbone", ["toy_cnn", "test_vit", "tf_efficientnet_lite0"])
def test_what_comes_out_is_the_librarys_own_model_with_a_change_of_low_rank(tmp_path, backbone):
    made = learner(tmp_path, LoRA(rank=2), replace(RECIPE, epochs=1), backbone)
    before, layers = state_of(made.network), repr(made.network.model)
    made.fit(round_of(16))
    after = state_of(made.network)
    assert repr(made.network.model) == layers
    head = f"{made.network.head_path}."
    moved = {name for name in changed(before, after) if not name.startswith(head)}
    assert moved == made.adapted.keys()
    assert not any(parametrize.is_parametrized(m) for m in made.network.modules())
    for name in moved:
        difference = (after[name] - before[name]).flatten(1).double()
        spectrum = torch.linalg.svdvals(difference)
        assert spectrum[0] > 0
        assert spectrum[2] < 0.01 * spectrum[0]


def test_at_first_nothing_has_changed():
    network, strategy = network_of(), LoRA()
    x = network.noise(4)
    network.eval()
    with torch.no_grad():
        before = network(x)
        attach(network, strategy.phases(STAGES)[0])
        assert torch.equal(network(x), before)


def test_the_state_of_an_adapted_model_is_what_it_becomes():
    network = network_of().eval()
    adapters = attach(network, LoRA().phases(STAGES)[0])
    with torch.no_grad():
        for adapter in adapters.values():
            adapter.b.normal_(generator=torch.Generator().manual_seed(0))
        x = network.noise(4)
        wanted = network(x)
    state = merged_state(network.model)
    detach(network)
    assert not changed(state, state_of(network))
    with torch.no_grad():
        assert torch.allclose(network(x), wanted, atol=1e-5)


def test_the_best_epoch_is_kept_with_its_adapters(tmp_path):
    recipe = replace(RECIPE, epochs=6, lr=0.3, schedule="constant", selection="best_val", validation=0.5)
    one = round_of(24, recipe)
    made = learner(tmp_path, LoRA(), recipe)
    taken, judge = [], made.progress.best.judge

    def noted(*seen):
        taken.append(merged_state(made.network.model))
        return judge(*seen)

    made.progress.best.judge = noted
    made.fit(one)
    assert len(taken) == 6
    assert not changed(taken[made.progress.selected_epoch - 1], state_of(made.network))


def test_a_backbone_without_layers_to_adapt_is_a_skip():
    with pytest.raises(Skip, match="has none of the layers"):
        attach(network_of(), Phase(adapt=lambda module: None))


def test_stages_that_are_frozen_are_not_adapted():
    network = network_of()
    phase = Phase(unfrozen=1, adapt=LoRA().adapter)
    choose(network, phase)
    assert set(attach(network, phase)) == {"last.0.weight"}


LAYERS = {
    "toy_cnn": [f"{stage}.0" for stage in STAGES],
    "bert": [
        f"encoder.encoder.layer.{i}.{part}"
        for i in range(2)
        for part in (
            *(f"attention.self.{states}" for states in ("query", "key", "value")),
            *("attention.output.dense", "intermediate.dense", "output.dense"),
        )
    ],
}


@pytest.mark.parametrize(("kind", "alpha"), [("toy_cnn", 8.0), ("toy_cnn", 20.0), ("bert", 20.0)])
def test_training_gives_what_peft_gives_from_the_same_weights(kind, alpha, tmp_path):
    """Losses, both factors and the merged weights, over steps of plain gradient descent on the same batch."""
    if kind == "bert":
        mine = find(named(save(tmp_path / kind, kind))).build(3, True, 1).eval()
        ids = torch.randint(5, 17, (6, 12), generator=torch.Generator().manual_seed(0))
        x = (ids, torch.arange(12) < torch.arange(7, 13)[:, None])
    else:
        mine = network_of().eval()
        x = (mine.noise(6),)
    theirs = peft_of(mine, LAYERS[kind], alpha)

    phase = LoRA(rank=8, alpha=alpha).phases(STAGES)[0]
    choose(mine, phase)
    adapters = {name.removesuffix(".weight"): adapter for name, adapter in attach(mine, phase).items()}
    assert sorted(adapters) == sorted(LAYERS[kind])
    layers = {name: theirs.get_submodule(name) for name in adapters}
    with torch.no_grad():
        for name, adapter in adapters.items():
            began = layers[name].lora_A["default"].weight
            began.copy_(adapter.a.view_as(began))
    losses = {"mine": descended(mine.model, x), "theirs": descended(theirs, x)}
    assert losses["mine"] == pytest.approx(losses["theirs"], rel=1e-5)
    assert losses["mine"][-1] < losses["mine"][0]
    for name, adapter in adapters.items():
        factors = layers[name].lora_A["default"].weight, layers[name].lora_B["default"].weight
        for ours, other in zip((adapter.a, adapter.b), factors, strict=True):
            torch.testing.assert_close(ours.flatten(), other.flatten(), rtol=1e-5, atol=1e-5)
        layers[name].merge()
    detach(mine)
    with torch.no_grad():
        torch.testing.assert_close(mine.model(*x), theirs(*x), rtol=1e-4, atol=1e-5)
    for name, layer in layers.items():
        weight = mine.model.get_submodule(name).weight
        torch.testing.assert_close(weight, layer.base_layer.weight, rtol=1e-5, atol=1e-5)


def peft_of(network: Network, layers: list[str], alpha: float) -> nn.Module:
    """Return a copy of a network's model with peft's adapters in these layers; its head learns too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(r=8, lora_alpha=int(alpha), target_modules=layers)
        made = inject_adapter_in_model(config, copy.deepcopy(network.model)).eval()
    for parameter in made.get_submodule(network.head_path).parameters():
        parameter.requires_grad_(True)
    return made


def descended(model: nn.Module, x: tuple[torch.Tensor, ...]) -> list[float]:
    """Take five steps of gradient descent on one batch; return the losses before each."""
    labels, losses = torch.arange(6) % 3, []
    descent = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(5):
        loss = cross_entropy(model(*x), labels)
        losses.append(float(loss.detach()))
        descent.zero_grad()
        loss.backward()
        descent.step()
    return losses

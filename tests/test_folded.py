"""A network with its normalisations folded gives what it gave before, with fewer operations."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from learners import RECIPE, SMALL_MODELS, learner, round_of, state_of
from torch import Tensor, nn

from bench.backbones import find
from bench.backbones._inputs import PictureInputs
from bench.backbones._network import Network
from bench.backbones._stages import chain
from bench.strategies.feature_extract import FeatureExtract
from bench.strategies.full_finetune import FullFinetune
from bench.training import exams
from bench.training.folded import PROBES, TOLERANCE, folded

LARGE = [("resnet18", "torchvision", 64), ("tf_mobilenetv3_small_minimal_100", "timm", 64)]


class Standardising(nn.Conv2d):
    """A convolution that changes its weights on the way."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight / weight.std(dim=(1, 2, 3), keepdim=True), self.bias)


class UsedTwice(nn.Module):
    """A convolution whose output is normalised, and is also used as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv(x)
        return self.bn(made) + made


class Again(UsedTwice):
    """A normalisation that two convolutions share."""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.more(self.bn(self.conv(x))))


def lived(network: Network) -> Network:
    """Give normalisations statistics that training could have left."""
    generator = torch.Generator().manual_seed(3)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.3, 3, generator=generator)
    return network.eval()


def small(trunk: nn.Module) -> Network:
    """Return a network of one stage and a head."""
    torch.manual_seed(0)
    pooled = chain("trunk", trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(trunk, pooled.modules[1], pooled.modules[2], nn.Linear(8, 3))
    return lived(Network(model, (pooled,), "3", 8, PictureInputs(16, (0,) * 3, (1,) * 3, "bilinear")))


@pytest.mark.parametrize(("name", "source", "edge"), [*SMALL_MODELS, *LARGE])
def test_a_folded_network_gives_the_same_at_every_stage(name, source, edge):
    network = lived(find({"name": name, "source": source, "weights": "random"}).build(10, False, 0, edge))
    before = state_of(network)
    less = folded(network)
    normalised = any(isinstance(module, nn.BatchNorm2d) for module in network.model.modules())
    assert (less is not network) == normalised
    x = torch.randn(5, 3, edge, edge, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for count in range(len(network.stages) + 1):
            wanted, got = network.prefix(x, count), less.prefix(x, count)
            assert (wanted - got).abs().max() <= TOLERANCE * wanted.abs().max()
        wanted, got = network(x), less(x)
        assert (wanted - got).abs().max() <= TOLERANCE * wanted.abs().max()
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.model.state_dict().items())


def test_every_normalisation_of_efficientnet_is_folded():
    network = find({"name": "tf_efficientnet_lite0", "weights": "random"}).build(10, False, 0, 64).eval()
    left = [m for m in folded(network).model.modules() if isinstance(m, nn.BatchNorm2d) and "forward" not in vars(m)]
    assert left == []


@pytest.mark.parametrize("trunk", [UsedTwice, Again, lambda: nn.Sequential(Standardising(3, 8, 3), nn.BatchNorm2d(8))])
def test_what_cannot_be_folded_is_left_as_it_is(trunk):
    network = small(trunk())
    assert folded(network) is network


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps", [1e-5, 0.5])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
def test_bias_scale_and_groups_are_kept(affine, eps, bias, groups):
    norm = nn.BatchNorm2d(9, eps=eps, affine=affine)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    network = small(nn.Sequential(nn.Conv2d(3, 9, 3, groups=groups, bias=bias), norm, nn.Conv2d(9, 8, 1)))
    less = folded(network)
    assert less is not network
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(less(x), network(x), rtol=1e-5, atol=1e-5)


def test_a_normalisation_without_statistics_is_left_as_it_is():
    network = small(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)))
    assert folded(network) is network


def test_a_frozen_pass_is_folded_once(tmp_path):
    made, one = learner(tmp_path, FeatureExtract(), RECIPE), round_of(12, monitor_size=0)
    seen: list[int] = []
    made.network.stages[0].modules[0].register_forward_hook(lambda module, args, out: seen.append(len(out)))
    made.fit(one)
    made.logits(one.test)
    assert [size for size, after in pairwise([*seen, 0]) if size == after == PROBES] == [PROBES]


def test_a_trained_network_is_folded_for_many_examples(tmp_path, monkeypatch):
    one = round_of(24)
    logits = []
    for limit in (0, 10**9):
        monkeypatch.setattr(exams, "FOLD_FROM", limit)
        made = learner(tmp_path / str(limit), FullFinetune())
        made.fit(one)
        logits.append(torch.from_numpy(made.logits(one.test)))
    assert (logits[0] - logits[1]).abs().max() <= 1e-5 * logits[1].abs().max()

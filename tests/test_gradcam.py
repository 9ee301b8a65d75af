"""Grad-CAM: equal to what it is by hand, on every kind of network, and gone when the weights are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from learners import RECIPE, SMALL_MODELS, learner, network_of, round_of
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer

from bench.backbones import find
from bench.backbones._inputs import PictureInputs
from bench.backbones._network import Network
from bench.backbones._stages import chain, split
from bench.errors import Skip
from bench.measure.gradcam import agreement, draw_anew, grad_cam, over_picture, place_of
from bench.strategies.full_finetune import FullFinetune
from bench.training.pictures import Pictures

INPUTS = PictureInputs(8, (0.0,) * 3, (1.0,) * 3, "bilinear")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(end: nn.Module, dim: int, inplace: bool = False) -> Network:
    """A convolution with a ReLU, then `end`, then a linear head of three classes."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(inplace), end, nn.Flatten(1), nn.Linear(dim, 3))
    return Network(model, (chain("first", model[0]), chain("last", *model[1:4])), "4", dim, INPUTS)


def pictures(count: int = 4, edge: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, edge, edge, generator=seeded())


def maps(net: Network, x: torch.Tensor, classes: list[int]) -> torch.Tensor:
    return grad_cam(net, x, torch.tensor(classes), place_of(net, x))


def test_before_a_mean_over_places_it_is_the_head_applied_to_each_place() -> None:
    """The gradient of the mean is the same everywhere: CAM (Zhou et al., 2016) with the head's own weights."""
    net, x, classes = network(nn.AdaptiveAvgPool2d(1), 5), pictures(), [0, 1, 2, 1]
    activation = net.model[1](net.model[0](x)).detach().numpy()
    head = net.head.weight.detach().numpy()[classes]
    by_hand = np.maximum((head[:, :, None, None] * activation).sum(axis=1) / 64, 0)
    assert place_of(net, x).name == "1"
    assert np.allclose(maps(net, x, classes).numpy(), by_hand, atol=1e-6)


def test_it_is_the_gradient_of_the_logit_that_differences_show() -> None:
    """Behind the map a product of places, so that the gradient is another at each: central differences in float64."""

    class Squares(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return (z**2 * torch.linspace(0, 1, 64, dtype=z.dtype).view(8, 8)).mean(dim=(2, 3))

    net, x = network(Squares(), 5).double(), pictures(1).double()
    place = place_of(net, x)
    z = net.model[1](net.model[0](x)).detach()

    @torch.no_grad()
    def logit(z: torch.Tensor) -> float:
        return float(net.head(net.model[3](net.model[2](z)))[0, 2])

    gradient = torch.zeros_like(z)
    for k in range(5):
        for i in range(8):
            for j in range(8):
                step = torch.zeros_like(z)
                step[0, k, i, j] = 1e-4
                gradient[0, k, i, j] = (logit(z + step) - logit(z - step)) / 2e-4
    by_hand = (gradient.mean(dim=(2, 3), keepdim=True) * z).sum(dim=1).relu()
    assert torch.allclose(grad_cam(net, x, torch.tensor([2]), place).double(), by_hand, atol=1e-6)


def test_a_constant_on_the_logit_changes_nothing() -> None:
    net, x = network(nn.AdaptiveAvgPool2d(1), 5), pictures()
    before = maps(net, x, [0, 1, 2, 0])
    with torch.no_grad():
        net.head.bias += 100.0
    assert torch.equal(maps(net, x, [0, 1, 2, 0]), before)


def test_operations_in_place_change_nothing() -> None:
    x = pictures()
    plain, inplace = (network(nn.AdaptiveAvgPool2d(1), 5, inplace) for inplace in (False, True))
    for where in ("1", "0", "first"):
        read = [next(p for p in places(net, x) if p.name == where) for net in (plain, inplace)]
        zeros = torch.zeros(4, dtype=torch.long)
        found = [grad_cam(net, x, zeros, p) for net, p in zip((plain, inplace), read, strict=True)]
        assert torch.equal(*found)


def places(net: Network, x: torch.Tensor):
    """The place that is taken, what the first convolution gives, and what goes into the last stage."""
    taken = place_of(net, x)
    return [taken, replace(taken, name="0", stage=0, module=net.model[0]), replace(taken, name="first", module=None)]


@pytest.mark.parametrize("backbone", ["toy_cnn", "test_vit"])
def test_a_frozen_model_has_a_map_and_stays_as_it_is(backbone: str) -> None:
    net = network_of(backbone)
    net.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    x = net.noise(3)
    found = maps(net, x, [0, 1, 2])
    assert found.max() > 0
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.model.state_dict().items())
    free = network_of(backbone)
    free.load(before)
    assert torch.equal(maps(free, x, [0, 1, 2]), found)


@pytest.mark.parametrize(("name", "source", "edge"), SMALL_MODELS)
def test_every_kind_of_network_has_a_map_at_a_place_that_is_fine_enough(name: str, source: str, edge: int) -> None:
    net = find({"name": name, "source": source}).build(3, False, 0, edge)
    x = net.noise(2)
    place = place_of(net, x)
    found = grad_cam(net, x, torch.tensor([0, 2]), place)
    assert found.shape == (2, place.rows, place.columns)
    assert min(found.shape[1:]) >= (4 if edge > 64 else 2)
    assert (found >= 0).all()
    assert found.isfinite().all()


def test_a_map_of_a_transformer_has_its_patches_where_they_are_in_the_picture() -> None:
    net = find({"name": "test_vit"}).build(3, False, 0, 160)
    x = net.noise(1)
    tokens = net.prefix(x, 2)
    rows, columns = net.model.patch_embed.grid_size
    assert net.places is not None
    grid = net.places(tokens)
    assert grid.shape[2:] == (rows, columns)
    for row, column in ((0, 0), (1, 3), (rows - 1, columns - 1)):
        assert torch.equal(grid[0, :, row, column], tokens[0, net.model.num_prefix_tokens + row * columns + column])


def test_a_window_transformer_has_its_channels_turned_to_the_front() -> None:
    model = SwinTransformer([4, 4], 8, [1, 1], [1, 2], [2, 2], num_classes=3)
    layout = split(model, 32)
    net = Network(model, layout.stages, layout.head_path, 16, replace(INPUTS, resolution=32), places=layout.places)
    x = pictures(2, 32)
    place = place_of(net, x)
    assert (place.rows, place.columns) == (4, 4)
    last = model.norm(model.features(x)).permute(0, 3, 1, 2).detach()
    by_hand = torch.einsum("bk,bkij->bij", model.head.weight.detach()[[0, 2]], last).relu() / 16
    assert torch.allclose(grad_cam(net, x, torch.tensor([0, 2]), place), by_hand, atol=1e-5)


def test_features_without_places_are_said_to_have_none() -> None:
    model = nn.Sequential(nn.Flatten(1), nn.Linear(192, 4), nn.Linear(4, 3))
    flat = Network(model, (chain("all", model[0], model[1]),), "2", 4, INPUTS)
    with pytest.raises(Skip, match="no places"):
        place_of(flat, pictures())


def test_random_weights_destroy_a_map_from_the_head_down(tmp_path) -> None:
    """Adebayo et al. (2018): what a map shows has to be what was learnt."""
    made = learner(tmp_path, FullFinetune(), replace(RECIPE, epochs=12))
    one = round_of(48, made.recipe)
    made.fit(one)
    material = made.cache.material
    assert isinstance(material, Pictures)
    net, pixels = made.network, material.pixels("test", one.test.index[:24])
    x = net.arranged((pixels.float() / 255 - 0.5) / 0.25)
    classes = net.eval()(x).argmax(dim=1)
    place = place_of(net, x)
    trained = grad_cam(net, x, classes, place)
    assert np.allclose(agreement(trained, trained), 1.0)
    fresh = network_of(pretrained=False, seed=11)
    draw_anew(net, fresh, len(net.stages))
    assert torch.equal(net.head.weight, fresh.head.weight)
    assert not torch.equal(net.model.stem[0].weight, fresh.model.stem[0].weight)
    draw_anew(net, fresh, 0)
    state, other = net.model.state_dict(), fresh.model.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)
    mean = np.nanmean(agreement(trained, grad_cam(net, x, classes, place)))
    assert mean < 0.5


def test_agreement_is_the_rank_correlation_and_none_where_a_map_is_flat() -> None:
    one = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]] * 3)
    other = torch.tensor([[[10.0, 20.0], [30.0, 90.0]], [[4.0, 3.0], [2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    found = agreement(one, other)
    assert found[:2] == pytest.approx([1.0, -1.0])
    assert np.isnan(found[2])


def test_a_map_over_the_picture_keeps_its_brightest_place_and_nothing_of_an_empty_one() -> None:
    drawn = over_picture(torch.tensor([[[0.0, 0.0], [0.0, 8.0]], [[0.0, 0.0], [0.0, 0.0]]]), 8)
    assert drawn.shape == (2, 8, 8)
    assert drawn[0].max() == 255 == drawn[0, -1, -1]
    assert drawn[0, 0, 0] == 0 == drawn[1].max()

"""Dropout that is drawn faster: torch's, in what it keeps, in its gradient, and where it leaves things alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from bench.backbones._dropout import QuickDropout, kept, quick_dropout, quickened

pytest.importorskip("transformers")
from bench.backbones._attention import attend, attention


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_are_kept_as_by_torch_and_the_mean_stays(p):
    torch.manual_seed(0)
    x = torch.ones(400_001)
    found = quick_dropout(x, p)
    share = float((found != 0).float().mean())
    spread = (p * (1 - p) / len(x)) ** 0.5
    assert abs(share - (1 - p)) < 5 * spread
    assert torch.allclose(found[found != 0], torch.tensor(1 / (1 - p)), rtol=1e-4)
    neighbours = (found[1:] != 0) & (found[:-1] != 0)
    assert abs(float(neighbours.float().mean()) - (1 - p) ** 2) < 10 * spread


@pytest.mark.parametrize(("p", "wanted"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_ends_are_exact(p, wanted):
    assert torch.equal(quick_dropout(torch.ones(5), p), torch.full((5,), wanted))


def test_the_gradient_goes_where_the_value_came_from():
    torch.manual_seed(1)
    x = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    found = quick_dropout(x, 0.4)
    found.sum().backward()
    assert torch.allclose(x.grad * x.detach(), found.detach())
    assert x.grad.unique().tolist() == [0.0, pytest.approx(1 / 0.6, rel=1e-4)]


def test_the_same_seed_draws_the_same_and_bf16_stays_bf16():
    for dtype in (torch.float32, torch.bfloat16):
        x, found = torch.randn(50, dtype=dtype), []
        for _ in range(2):
            torch.manual_seed(3)
            found.append(quick_dropout(x, 0.3))
        assert found[0].dtype == dtype
        assert torch.equal(*found)
    assert kept(torch.Size((2, 3)), 0).all()


def test_layers_are_taken_over_by_name_and_only_while_training():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Dropout(0.5, inplace=True), nn.Dropout1d(0.5))
    before = repr(model)
    names = [type(layer) for layer in quickened(model)]
    assert names == [nn.Linear, QuickDropout, nn.Dropout, nn.Dropout1d]
    assert repr(copy.deepcopy(model)) == before
    x = torch.randn(64, 4)
    assert torch.equal(model[1].eval()(x), x)
    assert not torch.equal(model[1].train()(x), x)


def given(length=6):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, length, 8).unbind()
    mask = (torch.arange(length) < torch.tensor([[length], [2]]))[:, None, None]
    return query, key, value, mask


def test_attention_is_torchs_and_drops_weights():
    query, key, value, mask = given()
    torchs = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert torch.allclose(attention(query, key, value, mask, 0.0, 8**-0.5), torchs, atol=1e-6)
    mean = torch.stack([attention(query, key, value, mask, 0.2, 8**-0.5) for _ in range(3000)]).mean(dim=0)
    assert torch.allclose(mean, torchs, atol=0.05)


@pytest.mark.parametrize(
    "more", [{"dropout": 0.0}, {"dropout": 0.5, "is_causal": True}, {"dropout": 0.5, "scaling": None}]
)
def test_what_is_not_plain_is_left_to_the_library(monkeypatch, more):
    query, key, value, mask = given()
    monkeypatch.setattr("bench.backbones._attention.sdpa_attention_forward", lambda *_, **given: given)
    asked = {"scaling": 8**-0.5, **more}
    assert attend(nn.Module(), query, key, value, mask, **asked) == asked
    asked = {"scaling": 8**-0.5, "dropout": 0.5}
    assert attend(nn.Module(), query, key, value, mask.float(), **asked) == asked

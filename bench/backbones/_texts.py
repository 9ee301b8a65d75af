"""Encoders of texts as networks: stages that hand on states and mask, pooling, and a linear head. Device half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from bench.backbones import BackboneFacts
from bench.backbones._build import seeded
from bench.backbones._inputs import TextInputs, Tokens
from bench.backbones._network import Network, Stage
from bench.measure.flops import Uncountable, operations

HEAD = "classifier"


class TextClassifier(nn.Module):
    """An encoder with dropout and a linear head on its pooled states: what is deployed.

    `stages` make them, float [batch, dim], of ids, int [batch, length], and the mask, bool [batch, length];
    `described` names what the layers don't show when they are printed.
    """

    def __init__(
        self, encoder: nn.Module, stages: tuple[Stage, ...], head: nn.Linear, dropout: float, described: str
    ) -> None:
        super().__init__()
        self.encoder, self.stages = encoder, stages
        self.dropout = nn.Dropout(dropout)
        self.classifier = head
        self.described = described

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits, float [batch, classes]."""
        x: Any = Tokens(ids, mask)
        for stage in self.stages:
            x = stage.run(x)
        logits: Tensor = self.classifier(self.dropout(x))
        return logits

    def extra_repr(self) -> str:
        """Say what has no layer of its own."""
        return self.described


def text_network(
    encoder: nn.Module,
    stages: Sequence[Stage],
    pooling: str | None,
    inputs: TextInputs,
    head: tuple[int, int, int],
    dropout: float,
    described: str,
) -> Network:
    """Return an encoder as a network whose last stage also pools, unless it does so already and `pooling` is None.

    `head` is (dim, classes, seed).
    """
    dim, classes, seed = head
    *before, last = stages
    pooled = (*before, last if pooling is None else replace(last, run=partial(_then, last.run, POOLINGS[pooling])))
    with seeded(seed, "head"):
        linear = nn.Linear(dim, classes)
    model = TextClassifier(encoder, pooled, linear, dropout, f"{described}, pooling={pooling or last.name}")
    return Network(model, pooled, HEAD, dim, inputs, model.dropout)


def facts_of(network: Network, licence: str | None, weights_at: str | None = None) -> BackboneFacts:
    """Return the parameters of an encoder, head left out, and its MACs for a text as long as it takes."""
    params = sum(p.numel() for stage in network.stages for p in stage.owned())
    try:
        ((*counted,),) = operations(network, [network.features], network.placed(network.inputs.blank(1)))
        macs = sum(operation.macs for operation in counted)
    except (Uncountable, RuntimeError):
        macs = None
    return BackboneFacts(params, macs, None, licence, weights_at)


def _then(first: Any, after: Any, x: Any) -> Any:
    return after(first(x))


def mean_of(x: Tokens) -> Tensor:
    """Return the mean state of each text, float [batch, width] (Reimers and Gurevych, 2019, arXiv 1908.10084)."""
    weights = x.mask.unsqueeze(2).to(x.states.dtype)
    return (x.states * weights).sum(dim=1) / weights.sum(dim=1)


def first_of(x: Tokens) -> Tensor:
    """Return the state of each text's first token, float [batch, width] (Devlin et al., 2019, arXiv 1810.04805)."""
    return x.states[:, 0]


POOLINGS = {"mean": mean_of, "cls": first_of}

"""The layers and the tokens of the tiny model of texts. Device half."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from bench.backbones._inputs import Tokens
from bench.backbones._network import Stage

WORDS, POSITIONS, WIDTH, HEADS, DROPOUT = 512, 128, 32, 2, 0.1
LAYERS = 2


class Words:
    """A token for each word: its hash; 0 marks the beginning and 1 the end, which also stands for nothing."""

    digest = "toy words 1"
    vocabulary = WORDS
    blank = 1

    def encode(self, texts: Sequence[str], length: int) -> list[list[int]]:
        """Return ids, [beginning, a word each, end]."""
        return [[0, *(map(_hashed, text.split()[: length - 2])), 1] for text in texts]

    def pieces(self, text: str, length: int) -> list[str]:
        """Return the words, each with a blank before it, between the two ends."""
        return ["[begin]", *(f" {word}" for word in text.split()[: length - 2]), " [end]"]


def _hashed(word: str) -> int:
    return 2 + int.from_bytes(hashlib.sha256(word.lower().encode()).digest()[:4], "big") % (WORDS - 2)


class Embeddings(nn.Module):
    """The sum of a vector for the token and one for its place."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(WORDS, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.norm, self.dropout = nn.LayerNorm(WIDTH), nn.Dropout(DROPOUT)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        embedded: Tensor = self.dropout(self.norm(self.words(ids) + self.positions(places)))
        return embedded


class Layer(nn.Module):
    """Attention and two linear layers, each added to what came in and normalised (Vaswani et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.wide, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            each(states).unflatten(2, (HEADS, -1)).transpose(1, 2) for each in (self.query, self.key, self.value)
        )
        seen = scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        states = self.norms[0](states + self.dropout(self.out(seen.transpose(1, 2).flatten(2))))
        states = self.norms[1](states + self.dropout(self.narrow(gelu(self.wide(states)))))
        return states


class Encoder(nn.Module):
    """Embeddings and layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.layers = nn.ModuleList(Layer() for _ in range(layers))

    def stages(self) -> list[Stage]:
        """Return the embeddings and each layer."""
        first = Stage("embeddings", partial(_embed, self.embeddings), (self.embeddings,))
        return [first, *(Stage(f"layers.{i}", partial(_pass, m), (m,)) for i, m in enumerate(self.layers))]


def _embed(module: nn.Module, x: Tokens) -> Tokens:
    return Tokens(module(x.states), x.mask)


def _pass(module: nn.Module, x: Tokens) -> Tokens:
    return Tokens(module(x.states, x.mask), x.mask)

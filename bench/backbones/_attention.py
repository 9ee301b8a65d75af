"""Attention of the transformers library's models, with what is dropped on a CPU drawn faster. Device half."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from bench.backbones._dropout import quick_dropout

NAME = "sdpa_quick"


def take_over(encoder: Any) -> None:
    """Have a model that was made with the library's "sdpa" attend by `attend`."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    encoder.config._attn_implementation = NAME


def give_back(encoder: Any) -> None:
    """Have a model attend by the library's "sdpa" again."""
    encoder.config._attn_implementation = "sdpa"


def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **given: Any) -> Any:
    """Attend as the library's "sdpa" does, by which all is done but plain attention with dropout on a CPU.

    Queries, keys and values are float [batch, heads, length, width]; what comes back is [batch, length, heads, width],
    and None for the weights.
    """
    more = dict(given)
    dropout, scale = more.pop("dropout", 0.0), more.pop("scaling", None)
    masked = isinstance(attention_mask, Tensor) and attention_mask.dtype == torch.bool
    alone = all(value is None or value is False for value in more.values())
    plain = masked and alone and scale is not None and query.shape[1] == key.shape[1]
    if not plain or dropout == 0.0 or query.device.type != "cpu":
        return sdpa_attention_forward(module, query, key, value, attention_mask, **given)
    return attention(query, key, value, attention_mask, dropout, scale).transpose(1, 2).contiguous(), None


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float, scale: float) -> Tensor:
    """Return scaled dot-product attention (Vaswani et al., 2017) with dropout, float [batch, heads, length, width].

    It is what torch computes step by step on a CPU where there is dropout. `mask` is bool, True where there is text,
    and goes with scores of [batch, heads, length, length]; each text has a token at least.
    """
    scores = (query * scale) @ key.transpose(-2, -1)
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return quick_dropout(weights, dropout) @ value

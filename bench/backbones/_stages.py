"""Where a model is cut into stages: one splitter for each model class, and a whole trunk for any other. Device half."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.backbones._network import Stage
from bench.errors import Skip


@dataclass(frozen=True)
class Layout:
    """How a model is cut: its stages, the path of its head and what comes right before the head in training.

    `places` turns what its stages pass on into feature maps, float [batch, channels, height, width], where it is none.
    """

    stages: tuple[Stage, ...]
    head_path: str
    before_head: nn.Module | None = None
    places: Callable[[Tensor], Tensor] | None = None


def split(model: nn.Module, resolution: int, head_path: str | None = None) -> Layout:
    """Cut a model into stages.

    A class without a splitter of its own has one stage, the whole trunk up to the pooled features; `head_path` is
    where its head is, else its last linear layer is taken, and one picture of `resolution` pixels is run through it
    to see that nothing but the head follows. Raises Skip when the model has no head on pooled features.
    """
    splitter = SPLITTERS.get(f"{type(model).__module__}.{type(model).__qualname__}")
    return splitter(model) if splitter else _whole(model, resolution, head_path)


def chain(name: str, *modules: nn.Module) -> Stage:
    """Return a stage that runs modules one after the other."""
    return Stage(name, modules[0] if len(modules) == 1 else nn.Sequential(*modules), modules)


# timm


def _timm_efficientnet(model: Any) -> Layout:
    stages = (
        chain("stem", model.conv_stem, model.bn1),
        *(chain(f"blocks.{i}", block) for i, block in enumerate(model.blocks)),
        chain("conv_head", model.conv_head, model.bn2, model.global_pool),
    )
    return Layout(stages, "classifier", nn.Dropout(model.drop_rate))


def _timm_mobilenetv3(model: Any) -> Layout:
    end = (model.global_pool, model.conv_head, model.norm_head, model.act2, model.flatten)
    stages = (
        chain("stem", model.conv_stem, model.bn1),
        *(chain(f"blocks.{i}", block) for i, block in enumerate(model.blocks)),
        chain("conv_head", *end),
    )
    return Layout(stages, "classifier", nn.Dropout(model.drop_rate))


def _timm_resnet(model: Any) -> Layout:
    stages = (
        chain("stem", model.conv1, model.bn1, model.act1, model.maxpool),
        chain("layer1", model.layer1),
        chain("layer2", model.layer2),
        chain("layer3", model.layer3),
        chain("layer4", model.layer4, model.global_pool),
    )
    return Layout(stages, "fc", nn.Dropout(model.drop_rate))


def _timm_classifier_head(head: Any) -> list[nn.Module]:
    """Return what a timm head does before its dropout and its linear layer."""
    parts = ("global_pool", "norm", "flatten", "pre_logits")
    return [getattr(head, part) for part in parts if hasattr(head, part)]


def _timm_convnext(model: Any) -> Layout:
    *first, last = model.stages
    stages = (
        chain("stem", model.stem),
        *(chain(f"stages.{i}", stage) for i, stage in enumerate(first)),
        chain(f"stages.{len(first)}", last, model.norm_pre, *_timm_classifier_head(model.head)),
    )
    return Layout(stages, "head.fc", model.head.drop)


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _grid(before: int, rows: int, columns: int, tokens: Tensor) -> Tensor:
    """Return the tokens of patches as a map, those `before` them left out: of classes, registers."""
    patches = tokens[:, before:].transpose(1, 2)
    return patches.reshape(*patches.shape[:2], rows, columns)


def _timm_swin(model: Any) -> Layout:
    *first, last = model.layers
    stages = (
        chain("patch_embed", model.patch_embed),
        *(chain(f"layers.{i}", layer) for i, layer in enumerate(first)),
        chain(f"layers.{len(first)}", last, model.norm, *_timm_classifier_head(model.head)),
    )
    return Layout(stages, "head.fc", model.head.drop, _channels_first)


def _timm_vit_embed(model: Any, x: Tensor) -> Tensor:
    embedded: Tensor = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(x))))
    return embedded


def _timm_vit_end(model: Any, x: Tensor) -> Tensor:
    pooled: Tensor = model.fc_norm(model.pool(model.norm(model.blocks[-1](x))))
    return pooled


def _timm_vit(model: Any) -> Layout:
    embed = (model.patch_embed, model.pos_drop, model.patch_drop, model.norm_pre)
    end = [model.blocks[-1], model.norm, model.attn_pool, model.fc_norm]
    stages = (
        Stage("embed", partial(_timm_vit_embed, model), embed, tuple(model.parameters(recurse=False))),
        *(chain(f"blocks.{i}", block) for i, block in enumerate(model.blocks[:-1])),
        Stage(
            f"blocks.{len(model.blocks) - 1}",
            partial(_timm_vit_end, model),
            tuple(module for module in end if module is not None),
        ),
    )
    places = partial(_grid, model.num_prefix_tokens, *model.patch_embed.grid_size)
    return Layout(stages, "head", model.head_drop, places)


# torchvision


def _tv_resnet(model: Any) -> Layout:
    stages = (
        chain("stem", model.conv1, model.bn1, model.relu, model.maxpool),
        chain("layer1", model.layer1),
        chain("layer2", model.layer2),
        chain("layer3", model.layer3),
        chain("layer4", model.layer4, model.avgpool, nn.Flatten(1)),
    )
    return Layout(stages, "fc")


def _same_width(blocks: Iterable[Any]) -> list[list[nn.Module]]:
    """Group neighbouring blocks with the same number of output channels."""
    groups: list[list[nn.Module]] = []
    width = None
    for block in blocks:
        if block.out_channels != width:
            groups.append([])
        groups[-1].append(block)
        width = block.out_channels
    return groups


def _tv_mobilenet(model: Any) -> Layout:
    stem, *blocks, last = model.features
    *before, dropout, _ = model.classifier
    pool = getattr(model, "avgpool", None) or nn.AdaptiveAvgPool2d(1)
    stages = (
        chain("stem", stem),
        *(chain(f"blocks.{i}", *group) for i, group in enumerate(_same_width(blocks))),
        chain("conv_head", last, pool, nn.Flatten(1), *before),
    )
    return Layout(stages, f"classifier.{len(before) + 1}", dropout)


def _tv_efficientnet(model: Any) -> Layout:
    *first, last = model.features
    dropout, _ = model.classifier
    stages = (
        *(chain(f"features.{i}", stage) for i, stage in enumerate(first)),
        chain(f"features.{len(first)}", last, model.avgpool, nn.Flatten(1)),
    )
    return Layout(stages, "classifier.1", dropout)


def _pyramid(features: nn.Sequential, end: Iterable[nn.Module]) -> tuple[Stage, ...]:
    """Return stem, blocks, then each downsampling with the blocks after it; the last stage ends in `end`."""
    stem, blocks, *rest = features
    groups = [[blocks], *([down, after] for down, after in zip(rest[::2], rest[1::2], strict=True))]
    groups[-1] += end
    return (chain("stem", stem), *(chain(f"stages.{i}", *group) for i, group in enumerate(groups)))


def _tv_convnext(model: Any) -> Layout:
    norm, flatten, _ = model.classifier
    return Layout(_pyramid(model.features, (model.avgpool, norm, flatten)), "classifier.2")


def _tv_swin(model: Any) -> Layout:
    end = (model.norm, model.permute, model.avgpool, model.flatten)
    return Layout(_pyramid(model.features, end), "head", places=_channels_first)


def _tv_vit_embed(model: Any, x: Tensor) -> Tensor:
    x = model._process_input(x)
    x = torch.cat([model.class_token.expand(x.shape[0], -1, -1), x], dim=1)
    embedded: Tensor = model.encoder.dropout(x + model.encoder.pos_embedding)
    return embedded


def _tv_vit_end(model: Any, x: Tensor) -> Tensor:
    z: Tensor = model.encoder.ln(model.encoder.layers[-1](x))[:, 0]
    for module in model.heads[:-1]:
        z = module(z)
    return z


def _tv_vit(model: Any) -> Layout:
    *first, last = model.encoder.layers
    held = (model.class_token, model.encoder.pos_embedding)
    stages = (
        Stage("embed", partial(_tv_vit_embed, model), (model.conv_proj, model.encoder.dropout), held),
        *(chain(f"layers.{i}", layer) for i, layer in enumerate(first)),
        Stage(f"layers.{len(first)}", partial(_tv_vit_end, model), (last, model.encoder.ln, *model.heads[:-1])),
    )
    edge = model.image_size // model.patch_size
    return Layout(stages, "heads.head", places=partial(_grid, 1, edge, edge))


# A model of any other class


def _whole(model: Any, resolution: int, head_path: str | None) -> Layout:
    head_path = head_path or last_linear(model)
    if head_path is None:
        raise Skip(f"{type(model).__name__} has no linear head on pooled features")
    dropout = _dropout_before(model, head_path)
    head_path = _linear(model, head_path)
    before_head = model.get_submodule(dropout) if dropout else None
    if dropout is None and (rate := getattr(model, "drop_rate", 0)):
        # The model drops features by itself, inside of what would be the trunk.
        model.drop_rate = 0.0
        before_head = nn.Dropout(rate)
    entry = dropout or head_path
    _check_that_the_head_is_last(model, entry, head_path, resolution)
    modules, parameters = _outside(model, {head_path, entry})
    trunk = Stage("trunk", partial(_input_of, model, entry), tuple(modules), tuple(parameters))
    return Layout((trunk,), head_path, before_head)


def _linear(model: nn.Module, head_path: str) -> str:
    """Return the path of the linear head, a 1x1 convolution on [batch, dim, 1, 1] turned into one. Raises Skip."""
    head = model.get_submodule(head_path)
    if isinstance(head, nn.Linear):
        return head_path
    if not isinstance(head, nn.Conv2d) or head.kernel_size != (1, 1) or head.groups != 1:
        raise Skip(f"{type(model).__name__} has no linear head on pooled features")
    # On the meta device nothing is drawn for weights that are replaced at once.
    linear = nn.Linear(head.in_channels, head.out_channels, head.bias is not None, "meta")
    linear.weight = nn.Parameter(head.weight.detach().flatten(1))
    if head.bias is not None:
        linear.bias = nn.Parameter(head.bias.detach())
    model.set_submodule(head_path, nn.Sequential(nn.Flatten(1), linear))
    return f"{head_path}.1"


def last_linear(model: nn.Module) -> str | None:
    """Return the path of the linear layer that was registered last, or None."""
    paths = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    return paths[-1] if paths else None


def _dropout_before(model: nn.Module, head_path: str) -> str | None:
    """Return the path of the dropout registered right before the head, or None."""
    parent, _, name = head_path.rpartition(".")
    siblings = list(model.get_submodule(parent).named_children())
    at = [sibling for sibling, _ in siblings].index(name)
    if at == 0 or not isinstance(siblings[at - 1][1], nn.Dropout):
        return None
    return f"{parent}.{siblings[at - 1][0]}" if parent else siblings[at - 1][0]


def _outside(model: nn.Module, paths: set[str]) -> tuple[list[nn.Module], list[nn.Parameter]]:
    """Return the largest modules that hold none of `paths`, and the parameters that are in no such module."""
    modules: list[nn.Module] = []
    parameters = list(model.parameters(recurse=False))
    for name, child in model.named_children():
        inside = {path[len(name) + 1 :] for path in paths if path.startswith(f"{name}.")}
        if inside:
            deeper_modules, deeper_parameters = _outside(child, inside)
            modules += deeper_modules
            parameters += deeper_parameters
        elif name not in paths:
            modules.append(child)
    return modules, parameters


class _Reached(Exception):
    """Ends a forward pass where its features are had."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


def _stop(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    raise _Reached(args[0])


def _input_of(model: nn.Module, path: str, x: Tensor) -> Tensor:
    """Run the model as far as the module at `path` and return what reaches it, float [batch, dim]."""
    hook = model.get_submodule(path).register_forward_pre_hook(_stop)
    try:
        model(x)
    except _Reached as reached:
        # A dropout may come before the library's own flattening.
        return reached.features.flatten(1)
    finally:
        hook.remove()
    raise Skip(f"{type(model).__name__} does not run its head")


def _check_that_the_head_is_last(model: nn.Module, entry: str, head_path: str, resolution: int) -> None:
    """Raise Skip unless features [batch, dim] go from `entry` into the head, and its output is the model's."""
    head = model.get_submodule(head_path)
    calls: list[tuple[Tensor, Tensor]] = []
    hook = head.register_forward_hook(lambda _, args, output: calls.append((args[0].flatten(1), output)))
    modes = [(module, module.training) for module in model.modules()]
    parameter = next(model.parameters())
    picture = torch.linspace(-2, 2, 3 * resolution**2).reshape(1, 3, resolution, resolution).to(parameter)
    try:
        with torch.no_grad():
            features = _input_of(model.eval(), entry, picture)
            output = model(picture)
    finally:
        hook.remove()
        for module, training in modes:
            module.training = training
    if len(calls) != 1 or calls[0][1].data_ptr() != output.data_ptr() or not torch.equal(calls[0][0], features):
        raise Skip(f"{type(model).__name__} does more after its pooled features than one linear head")


SPLITTERS: dict[str, Callable[[Any], Layout]] = {
    "timm.models.efficientnet.EfficientNet": _timm_efficientnet,
    "timm.models.mobilenetv3.MobileNetV3": _timm_mobilenetv3,
    "timm.models.resnet.ResNet": _timm_resnet,
    "timm.models.convnext.ConvNeXt": _timm_convnext,
    "timm.models.swin_transformer.SwinTransformer": _timm_swin,
    "timm.models.vision_transformer.VisionTransformer": _timm_vit,
    "torchvision.models.resnet.ResNet": _tv_resnet,
    "torchvision.models.mobilenetv2.MobileNetV2": _tv_mobilenet,
    "torchvision.models.mobilenetv3.MobileNetV3": _tv_mobilenet,
    "torchvision.models.efficientnet.EfficientNet": _tv_efficientnet,
    "torchvision.models.convnext.ConvNeXt": _tv_convnext,
    "torchvision.models.swin_transformer.SwinTransformer": _tv_swin,
    "torchvision.models.vision_transformer.VisionTransformer": _tv_vit,
}

"""A network: a library's own model, seen as an ordered list of stages and a head. Device half."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.backbones._inputs import F, Flow, Inputs, each


@dataclass(frozen=True)
class Stage:
    """One stretch of the encoder.

    `run` maps the output of the stage before to this one's. It is a module, a bound method or a `functools.partial`
    over modules, never a closure: only those follow the model when it is copied. `modules` are put in eval mode when
    the stage is frozen; `parameters` are those which the model holds outside of `modules` (position embeddings).
    """

    name: str
    run: Callable[[Any], Any]
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...] = ()

    def owned(self) -> list[nn.Parameter]:
        """Return every parameter of the stage, one that modules share once."""
        every = [*self.parameters, *(p for module in self.modules for p in module.parameters())]
        return list({id(parameter): parameter for parameter in every}.values())


SourceHead = tuple[Tensor, Tensor]


class Network(nn.Module):
    """A library's model as stages, input to output, and a head.

    The last stage ends in pooled features, float [batch, dim]. `head_path` leads to the head inside `model`
    ("classifier", "head.fc"), and `before_head` is what the library does to the features of a training head: its
    dropout. Every parameter of `model` belongs to exactly one stage or to the head; `fixed` names those which the
    library itself never trains. `source_head` is the classifier that the weights came with, weight [source classes,
    dim] and bias [source classes]: no part of the model, and None where there is none. `places` turns what stages pass
    on into feature maps, float [batch, channels, height, width], where it is none: tokens.
    """

    def __init__(
        self,
        model: nn.Module,
        stages: tuple[Stage, ...],
        head_path: str,
        dim: int,
        inputs: Inputs,
        before_head: nn.Module | None = None,
        source_head: SourceHead | None = None,
        places: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.stages = stages
        self.head_path = head_path
        self.dim = dim
        self.inputs = inputs
        self.source_head = source_head
        self.frozen = 0
        self.still: frozenset[int] = frozenset()
        self.norms_held = False
        self.layout = torch.contiguous_format
        self.before_head = before_head or nn.Identity()
        self.places = places
        self.fixed = frozenset(n for n, p in model.named_parameters() if not p.requires_grad)

    @property
    def head(self) -> nn.Module:
        """The module that turns pooled features into logits."""
        return self.model.get_submodule(self.head_path)

    def replace_head(self, head: nn.Module) -> None:
        """Put `head`, float [batch, dim] to float [batch, classes], in the place of the library's."""
        self.model.set_submodule(self.head_path, head.train(self.training))

    def forward(self, x: Flow) -> Tensor:
        """Return logits, float [batch, classes], of a batch of what `inputs` says."""
        return self.suffix(x, 0)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.parameters()).device

    def noise(self, count: int) -> Flow:
        """Return a batch to try the network on: the same noise each time."""
        return self.arranged(self.placed(self.inputs.noise(count, torch.Generator().manual_seed(0))))

    def placed(self, x: Flow) -> Flow:
        """Return a batch on the network's device."""
        return each(lambda t: t.to(self.device), x)

    @property
    def layers_digest(self) -> str:
        """What names the architecture: 16 hex digits of the hash of its layers as torch prints them."""
        return hashlib.sha256(repr(self.model).encode()).hexdigest()[:16]

    @property
    def has_layout(self) -> bool:
        """Whether a memory layout makes a difference: to the kernels of convolutions in two dimensions."""
        return any(parameter.dim() == 4 for parameter in self.model.parameters())

    def arrange(self, layout: torch.memory_format) -> Network:
        """Keep weights, and from now on batches, in a memory layout: speed changes, and numbers by rounding alone."""
        self.layout = layout
        return self.to(memory_format=layout)

    def arranged(self, x: F) -> F:
        """Return a batch in the layout of this network; only pictures and feature maps have one."""
        return each(lambda t: t.contiguous(memory_format=self.layout) if t.dim() == 4 else t, x)

    def prefix(self, x: Flow, count: int) -> Flow:
        """Run the first `count` stages."""
        for stage in self.stages[:count]:
            x = stage.run(x)
        return x

    def suffix(self, z: Flow, start: int) -> Tensor:
        """Run the stages from `start` on, and the head."""
        return self.answer(z, start)[1]

    def answer(self, z: Flow, start: int) -> tuple[Tensor, Tensor]:
        """Run the stages from `start` on, and the head; return pooled features and logits.

        The head runs as it is also where autocast has the stages in bf16: it costs next to nothing, and ranks classes.
        """
        for stage in self.stages[start:]:
            z = stage.run(z)
        assert isinstance(z, Tensor)
        kind = z.device.type if torch.amp.is_autocast_available(z.device.type) else "cpu"  # the meta device has none
        with torch.autocast(kind, enabled=False):
            z = z.float() if z.dtype == torch.bfloat16 else z
            logits: Tensor = self.head(self.before_head(z))
        return z, logits

    def features(self, x: Flow) -> Tensor:
        """Return pooled features, float [batch, dim]."""
        pooled = self.prefix(x, len(self.stages))
        assert isinstance(pooled, Tensor)
        return pooled

    def freeze(self, count: int, besides: Collection[int] = (), norms: bool = False) -> None:
        """Freeze the first `count` stages and those of `besides`, by number, and only those.

        Frozen means no gradient and eval mode, now and after every later `train()`: BatchNorm statistics, dropout and
        stochastic depth do not move. Parameters which the library itself holds fixed stay fixed. With `norms` the
        statistics of BatchNorm are held in all other stages too, and their layers normalise by them.
        """
        self.frozen, self.norms_held = count, norms
        self.still = frozenset(range(count)) | frozenset(besides)
        names = self._names()
        for index, stage in enumerate(self.stages):
            for parameter in stage.owned():
                parameter.requires_grad_(index not in self.still and names[id(parameter)] not in self.fixed)
        for parameter in self.head.parameters():
            parameter.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        """Set the mode of everything that is not frozen."""
        super().train(mode)
        for index in self.still:
            for module in self.stages[index].modules:
                module.eval()
        if self.norms_held:
            for norm in self.batch_norms(range(len(self.stages))):
                norm.eval()
        if self.frozen == len(self.stages):
            # The modules around the head belong to no stage, and may ask for their own mode on the way to it.
            self.model.eval()
            self.head.train(mode)
            self.before_head.train(mode)
        return self

    def batch_norms(self, parts: Collection[int] | None = None) -> list[_BatchNorm]:
        """Return the layers of the model, or of some parts by number, that keep statistics of their batches.

        Parts are the stages and, after these, the head.
        """
        modules = [*(stage.modules for stage in self.stages), (self.head,)]
        held = [m for i in parts for m in modules[i]] if parts is not None else [self.model]
        every = {id(m): m for module in held for m in module.modules()}
        return [m for m in every.values() if isinstance(m, _BatchNorm) and m.running_mean is not None]

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put a state dict of `model` back: every tensor, wherever it was kept meanwhile."""
        versioned = OrderedDict(state)
        # Modules ask which version of themselves wrote a state, and some (MNASNet) refuse one that doesn't say.
        versioned._metadata = self.model.state_dict()._metadata  # type: ignore[attr-defined]
        self.model.load_state_dict(versioned)

    def stage_parameters(self, index: int) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters of stage `index`, frozen or not, under the library's names."""
        names = self._names()
        return [(names[id(parameter)], parameter) for parameter in self.stages[index].owned()]

    def head_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters of the head under the library's names."""
        return [(f"{self.head_path}.{name}", parameter) for name, parameter in self.head.named_parameters()]

    def _names(self) -> dict[int, str]:
        return {id(parameter): name for name, parameter in self.model.named_parameters()}

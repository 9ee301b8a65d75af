"""Where a network looks: Grad-CAM, and the test that it depends on what was learnt.

Grad-CAM (Selvaraju et al., 2017, arXiv 1610.02391): of a feature map A with channels k and the logit y of a class,
relu(sum_k w_k A_k) with w_k = mean over places of dy/dA_k. A map that stays the same when the weights are drawn anew
says nothing of the model (Adebayo et al., 2018, arXiv 1810.03292).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bench.backbones._network import Network
from bench.errors import Skip

# A map of fewer rows and columns is taken only where there is no finer one: four places tell nothing.
LEAST_EDGE = 4


@dataclass(frozen=True)
class Place:
    """Where a map is read: what goes into the stage of number `stage`, or what `module` gives inside of it.

    `name` is for people, `rows` and `columns` are the places of the map.
    """

    name: str
    stage: int
    module: nn.Module | None
    rows: int
    columns: int


def place_of(network: Network, x: Tensor) -> Place:
    """Return the deepest place of at least 4 x 4 that a network has a map at for pictures like x, else its finest.

    Convolutional networks have one before the pooling of their last stage. After the last stage of a transformer often
    the class token alone is read: its map is what goes into that stage. Raises Skip for a network without maps.
    """
    network.eval()
    with torch.no_grad():
        z, found = x[:1], list[Place]()
        for number, stage in enumerate(network.stages[:-1]):
            z = stage.run(z)
            found += _seen(network, z, stage.name, number + 1, None)
        if z.dim() == 4:
            found += _inside(network, z)
    fine = [place for place in found if min(place.rows, place.columns) >= LEAST_EDGE]
    if not found:
        raise Skip("its features have no places in the picture that are known")
    return fine[-1] if fine else max(found, key=lambda place: place.rows * place.columns)


def _inside(network: Network, z: Tensor) -> list[Place]:
    """Return the last feature map inside of the last stage; none where tokens come after it."""
    last = network.stages[-1]
    given: list[tuple[nn.Module, Tensor]] = []
    modules = {id(m): m for part in last.modules for m in part.modules()}
    hooks = [m.register_forward_hook(lambda m, _, out: given.append((m, out))) for m in modules.values()]
    try:
        last.run(z)
    finally:
        for hook in hooks:
            hook.remove()
    names = {id(module): name for name, module in network.model.named_modules()}
    calls = Counter(id(module) for module, _ in given)
    for module, out in reversed(given):
        if not isinstance(out, Tensor) or (out.dim() == 3 and out.shape[1] > 1):
            return []
        if out.dim() == 4 and calls[id(module)] == 1:
            name = names.get(id(module)) or last.name
            if seen := _seen(network, out, name, len(network.stages) - 1, module):
                return seen
    return []


def _seen(network: Network, z: Tensor, name: str, stage: int, module: nn.Module | None) -> list[Place]:
    """Return the place of what a stage or module gives, if that is a map of more than one place."""
    if z.dim() < 3 or (z.dim() == 3 and network.places is None):
        return []
    rows, columns = _map(network, z).shape[2:]
    return [Place(name, stage, module, rows, columns)] if rows * columns > 1 else []


def _map(network: Network, z: Tensor) -> Tensor:
    """Return features as [batch, channels, rows, columns]. Inside the last stage some have turned them already."""
    turned = network.places is None or (z.dim() == 4 and z.shape[1] == network.dim)
    return z if turned or network.places is None else network.places(z)


def grad_cam(network: Network, x: Tensor, classes: Tensor, place: Place) -> Tensor:
    """Return where the logit of a class comes from, float32 [batch, rows, columns] of `place`, 0 or more.

    x are normalised pictures, `classes` int64 [batch]. The network is in eval mode afterwards, and nothing of it has
    changed. It may be frozen: the gradient is that of a copy of the activation, which later operations may overwrite.
    """
    network.eval()
    held: list[Tensor] = []

    def opened(z: Tensor) -> Tensor:
        held.append(z.detach().requires_grad_())
        return held[0].clone()

    with torch.no_grad():
        z = network.prefix(x, place.stage)
    assert isinstance(z, Tensor)
    with torch.enable_grad():
        if place.module is None:
            logits = network.suffix(opened(z), place.stage)
        else:
            hook = place.module.register_forward_hook(lambda _, __, out: opened(out))
            try:
                logits = network.suffix(z, place.stage)
            finally:
                hook.remove()
        of_class = logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(of_class, held)
    activation, gradient = (_map(network, t).float() for t in (held[0].detach(), gradient))
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * activation).sum(dim=1).relu()


def over_picture(maps: Tensor, edge: int) -> NDArray[np.uint8]:
    """Return maps [n, rows, columns] at the size of the pictures, uint8 [n, edge, edge]; the largest value is 255."""
    large = interpolate(maps[:, None], size=(edge, edge), mode="bilinear", align_corners=False)[:, 0]
    top = large.amax(dim=(1, 2), keepdim=True)
    scaled = torch.where(top > 0, large / top.clamp_min(torch.finfo(large.dtype).tiny), large)
    drawn: NDArray[np.uint8] = (scaled * 255).round().to(torch.uint8).cpu().numpy()
    return drawn


def draw_anew(network: Network, drawn: Network, first: int) -> None:
    """Put weights and statistics of a network that has learnt nothing into the head and the stages from `first` on.

    `first` is the number of stages for the head alone.
    """
    state, other = network.model.state_dict(keep_vars=True), drawn.model.state_dict()
    names = {id(tensor): name for name, tensor in state.items()}
    modules = [network.head, *(m for stage in network.stages[first:] for m in stage.modules)]
    tensors: list[Any] = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    tensors += [p for stage in network.stages[first:] for p in stage.parameters]
    anew = {names[id(t)] for t in tensors if id(t) in names}
    network.load({name: other[name] if name in anew else tensor.detach().clone() for name, tensor in state.items()})


def agreement(one: Tensor, other: Tensor) -> list[float]:
    """Return Spearman's rank correlation of maps [n, rows, columns], one by one; not a number where one is flat."""
    from scipy.stats import rankdata

    found = []
    for a, b in zip(one.flatten(1).cpu().numpy(), other.flatten(1).cpu().numpy(), strict=True):
        x, y = (rankdata(v) - (len(v) + 1) / 2 for v in (a, b))
        length = float(np.sqrt((x**2).sum() * (y**2).sum()))
        found.append(float((x * y).sum()) / length if length else float("nan"))
    return found

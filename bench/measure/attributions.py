"""Which tokens of a text an answer comes from: integrated gradients.

Integrated gradients (Sundararajan, Taly and Yan, 2017, arXiv 1703.01365): with z what the embeddings give for a text
and b for the same with nothing said, a token has the sum over its states of (z - b) * integral of df/dz along the
straight line from b to z. The tokens together have f(z) - f(b): completeness. f is the logit of a class less the mean
over all classes, so that what raises all alike does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.backbones._inputs import TextInputs, Tokens
from bench.backbones._network import Network
from bench.errors import Skip

# Points of the integral (Gauss-Legendre): doubled while the sum of a text is off by more than so large a part.
FIRST_STEPS, MOST_STEPS, CLOSE = 16, 128, 0.01
# Texts that go through the network at a time, with all that a gradient needs.
TOGETHER = 8


@dataclass(frozen=True)
class Attributed:
    """`scores` float32 [batch, length], 0 beyond a text's end, `whole` = f(z) - f(b) float32 [batch], and the steps."""

    scores: Tensor
    whole: Tensor
    steps: int

    @property
    def gap(self) -> Tensor:
        """The part of `whole` by which the scores of each text are off, float32 [batch]."""
        tiny = torch.finfo(self.whole.dtype).tiny
        return (self.scores.sum(dim=1) - self.whole).abs() / self.whole.abs().clamp_min(tiny)


def token_scores(network: Network, x: Tokens, classes: Tensor) -> Attributed:
    """Return where the logit of a class comes from, a few texts at a time, by as many steps as they take, at most 128.

    x are tokens on the network's device, `classes` int64 [batch]. The network is in eval mode afterwards and unchanged.
    Raises Skip for a network whose embeddings are no stage of their own.
    """
    places = [slice(begin, begin + TOGETHER) for begin in range(0, len(classes), TOGETHER)]
    found = [_close(network, Tokens(x.states[at], x.mask[at]), classes[at]) for at in places]
    scores, whole = torch.cat([one.scores for one in found]), torch.cat([one.whole for one in found])
    return Attributed(scores, whole, max(one.steps for one in found))


def _close(network: Network, x: Tokens, classes: Tensor) -> Attributed:
    """Return integrated gradients by as many points as bring the sum of each text close, or by the most."""
    steps = FIRST_STEPS
    found = integrated_gradients(network, x, classes, steps)
    while steps < MOST_STEPS and bool((found.gap > CLOSE).any()):
        steps *= 2
        found = integrated_gradients(network, x, classes, steps)
    return found


def integrated_gradients(network: Network, x: Tokens, classes: Tensor, steps: int) -> Attributed:
    """Return integrated gradients by so many points of the integral; see `token_scores`."""
    network.eval()
    z, base = _embedded(network, x), _embedded(network, said_nothing(network, x))
    points, weights = np.polynomial.legendre.leggauss(steps)
    scores = torch.zeros_like(z[..., 0])
    for at, weight in zip((points + 1) / 2, weights / 2, strict=True):
        between = torch.lerp(base, z, float(at)).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(_of_class(network, between, x.mask, classes).sum(), between)
        scores += float(weight) * ((z - base) * gradient).sum(dim=2)
    with torch.no_grad():
        whole = _of_class(network, z, x.mask, classes) - _of_class(network, base, x.mask, classes)
    return Attributed(scores * x.mask, whole, steps)


def said_nothing(network: Network, x: Tokens) -> Tokens:
    """Return texts of the same lengths with the padding token in place of every token but those that mark the ends."""
    assert isinstance(network.inputs, TextInputs)
    tokenizer = network.inputs.tokenizer
    ((*ends,),) = tokenizer.encode([""], network.inputs.length)
    kept = torch.isin(x.states, torch.tensor(ends, dtype=x.states.dtype, device=x.states.device))
    return Tokens(x.states.where(kept, torch.full_like(x.states, tokenizer.blank)), x.mask)


def _embedded(network: Network, x: Tokens) -> Tensor:
    """Return what the first stage gives, float [batch, length, width]."""
    with torch.no_grad():
        z = network.prefix(x, 1)
    if not isinstance(z, Tokens):
        raise Skip("its embeddings are no stage of their own, so that no score goes back to a token")
    return z.states.detach()


def _of_class(network: Network, states: Tensor, mask: Tensor, classes: Tensor) -> Tensor:
    logits = network.suffix(Tokens(states, mask), 1).float()
    return (logits - logits.mean(dim=1, keepdim=True)).gather(1, classes[:, None])[:, 0]

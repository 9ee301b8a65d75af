"""What a network says without learning: of examples with labels, for selection and for the curve, and of any others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.backbones._network import Network
from bench.training.feed import Feed, batches
from bench.training.folded import folded
from bench.training.passes import forward_batches, infer, side_by_side

# A head alone takes so many rows of features at a time.
HEAD_BATCH = 8192
# Folding a network takes as long as running it on so many examples, at most.
FOLD_FROM = 1000


@dataclass(frozen=True)
class Exam:
    """What an epoch is measured on: a feed and its labels, int64 [n], on the device."""

    feed: Feed
    labels: Tensor


def outputs(network: Network, feed: Feed, count: int, stop: int | None, precision: str) -> Tensor:
    """Return the output of the stages before `stop` for the plain view of all examples, or the logits if None."""
    order, parts, device = feed.source.ranked(count), batches(count, HEAD_BATCH), network.device
    if feed.cut < len(network.stages):
        parts = forward_batches(count, device)
        network = folded(network) if count >= FOLD_FROM else network
    given = feed.epoch(order, torch.zeros_like(order), parts)
    made = side_by_side(lambda x: infer(network, x, feed.cut, stop, precision), given, device)
    found = torch.cat([x for x in made if isinstance(x, Tensor)])
    return torch.empty_like(found).index_copy_(0, order.to(found.device), found)


def quality(network: Network, exam: Exam, precision: str) -> tuple[float, float]:
    """Return the mean cross-entropy in nats and the accuracy."""
    logits = outputs(network, exam.feed, len(exam.labels), None, precision)
    loss = cross_entropy(logits, exam.labels)
    return float(loss), float((logits.argmax(dim=1) == exam.labels).float().mean())


def curve_epochs(epochs: int, points: int) -> set[int]:
    """Return the epochs, from 1, after which the curve is measured: evenly spread, the last always among them."""
    return {round(x) for x in np.linspace(1, epochs, min(points, epochs))} | {epochs}

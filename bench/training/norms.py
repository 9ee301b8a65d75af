"""Statistics of BatchNorm, counted anew over examples with the weights as they are."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

import torch

from bench.backbones._network import Network
from bench.training.feed import Feed
from bench.training.passes import autocast

# Examples that are normalised together, at most: enough for the mean and the variance of a channel.
MOST = 256


def recalibrate(network: Network, feed: Feed, count: int, parts: Collection[int], precision: str) -> None:
    """Have the BatchNorms of some stages, or of the head after them, hold the statistics of `count` examples.

    The examples go through in batches of the same size, as near as may be, each normalised by itself as in training,
    and mean and variance are averaged over the batches. Nothing else is in training mode, so that nothing is drawn.
    """
    norms = network.batch_norms(parts)
    if not norms:
        return
    pieces = -(-count // MOST)
    edges = [round(i * count / pieces) for i in range(pieces + 1)]
    batches = [slice(begin, end) for begin, end in pairwise(edges)]
    order = torch.arange(count)
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, not of the last ones
        norm.train()
    with torch.no_grad():
        for x in feed.epoch(order, torch.zeros_like(order), batches):
            with autocast(network.device, precision):
                network.suffix(x, feed.cut)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()

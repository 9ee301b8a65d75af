"""A network that is timed whenever it is asked: `python -m bench.engines.burst`. Device half.

Two of these, of two codes, take turns within tenths of a second: what a machine does meanwhile, it does to both.
"""

from __future__ import annotations

import json
import os
import statistics
import sys

import torch

from bench.backbones._heads import network_of
from bench.cell import Cell
from bench.datasets import datasets, extent
from bench.engines.worker import prepare
from bench.measure.latency import passes, warm_up

BURST_PASSES = 40


def main() -> None:
    """Read what to time as a line of JSON: `cell`, `classes`, `batch`, `precision` and `device`. For each line that
    comes after it print the median milliseconds of some passes.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a plugin prints is no answer
    asked = json.loads(sys.stdin.readline())
    cell, device = Cell.from_json(asked["cell"]), torch.device(asked["device"])
    prepare(device.type)
    size = extent(datasets.create(cell.plugin("dataset")))
    network = network_of(cell, asked["classes"], False, size)
    with passes(network.to(device), asked["batch"], asked["precision"], device) as measure:
        warm_up(measure)
        for _ in sys.stdin:
            print(statistics.median(measure() for _ in range(BURST_PASSES)), file=answers, flush=True)


if __name__ == "__main__":
    main()

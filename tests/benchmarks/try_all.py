"""Autotune a network, then time every mode for longer: `python -m benchmarks.try_all BACKBONE PIXELS DEVICE ROUNDS`.

Prints one line of JSON: for a recipe in fp32 and one that leaves the precision open, what was chosen, by which trial,
and the median seconds of a step of each mode, measured turn by turn.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench.backbones import find
from bench.engines import worker
from bench.recipe import Recipe
from bench.training.autotune import Autotune, Mode, Stretch, Trial, modes


def main(backbone: str, resolution: int, device_name: str, rounds: int) -> dict[str, Any]:
    """Return what was chosen and what each mode takes."""
    worker.prepare(device_name)
    device = torch.device(device_name)
    network = find({"name": backbone}).build(10, False, 0, resolution).to(device).arrange(torch.channels_last)
    found: dict[str, Any] = {}
    stretch = Stretch(1000)
    for precision in ("fp32", "auto"):
        recipe = Recipe(precision=precision)
        with tempfile.TemporaryDirectory() as folder:
            verdict = Autotune(Path(folder), device, {}).verdict(network, recipe, stretch, {})
        assert verdict is not None
        trial = Trial(network, recipe, stretch, device)
        taken: dict[Mode, list[float | None]] = {mode: [] for mode in modes(precision, device)}
        for mode in taken:
            trial.first_seconds(mode)
        for _ in range(rounds):
            for mode, seconds in taken.items():
                seconds.append(trial.seconds(mode))
        longer = {m.name: None if None in s else median(x for x in s if x is not None) for m, s in taken.items()}
        found[precision] = {
            "chosen": verdict.mode.name,
            "trial_seconds": verdict.seconds,
            "tried": dict(verdict.step_seconds),
            "longer": longer,
        }
    return {"verdicts": found}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))

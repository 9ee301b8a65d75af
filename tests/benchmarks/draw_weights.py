"""Draws the weights of a backbone from a seed into a checkpoint, for a model whose published weights need a hub."""

from __future__ import annotations

import sys

from safetensors.torch import save_file

from bench.backbones import find

if __name__ == "__main__":
    name, path = sys.argv[1:]
    model = find({"name": name, "weights": "random"}).build(1000, False, 0).model
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)

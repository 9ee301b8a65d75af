"""What can be named in a suite, where it comes from, and what it needs."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.backbones import Backbone, BackboneFacts, _hub, sources
from bench.datasets import datasets
from bench.datasets._cache import cache_dir
from bench.errors import BenchError, UsageError, did_you_mean, nearest
from bench.files import parse_json, replacing
from bench.registry import Registry
from bench.strategies import strategies
from bench.tasks import tasks

KINDS = ("datasets", "backbones", "strategies", "tasks")
# Goes up when a fact of a backbone would be counted otherwise than before.
FACTS_VERSION = 1
NAME_WIDTH = 34
PIPE, LEAST_ROOM = 10_000, 24


def rows(kind: str, pattern: str) -> Iterator[dict[str, Any]]:
    """Yield a row for everything of a kind whose name matches a pattern with * and ?, as it is found out."""
    if kind == "backbones":
        yield from _backbones(pattern)
        return
    makers = {"datasets": _dataset, "strategies": _strategy, "tasks": _task}
    registries: dict[str, Registry[Any]] = {"datasets": datasets, "strategies": strategies, "tasks": tasks}
    registry = registries[kind]
    yield from (makers[kind](registry.get(name)) for name in registry.names() if fnmatchcase(name, pattern))


def lines(kind: str, pattern: str) -> Iterator[str]:
    """Yield what a person reads of `rows`, line by line. Raises UsageError when nothing matches."""
    if kind == "backbones":
        yield from _backbone_lines(pattern)
        return
    found = list(rows(kind, pattern))
    if not found:
        raise UsageError(f"no {kind} match {pattern!r}")
    from tabulate import tabulate

    *firsts, last = found[0]
    # Beside each column two spaces, and two more that tabulate may give to a heading of numbers.
    taken = sum(4 + max(len(name), *(len(str(row[name] or "–")) for row in found)) for name in firsts)
    # A pipe has no width: there, lines stay whole.
    room = max(shutil.get_terminal_size((PIPE, 24)).columns - taken, len(last), LEAST_ROOM)
    # An address that is cut is none.
    fill = textwrap.TextWrapper(room, break_long_words=False, break_on_hyphens=False).fill
    wrapped = [{**row, last: fill(str(row[last] or "–"))} for row in found]
    told = tabulate(wrapped, "keys", "simple", intfmt=",", missingval="–")
    yield from (line.rstrip() for line in told.splitlines())


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


def _matching(pattern: str) -> list[tuple[type[Backbone], str]]:
    """Return the models whose name matches, by source; those with a tag, `name.tag`, when the pattern has a dot."""
    every = ((source, name) for source in sources() for name in sorted(source.known()))
    return [(s, name) for s, name in every if fnmatchcase(name, pattern) and ("." in name) == ("." in pattern)]


def _backbones(pattern: str) -> Iterator[dict[str, Any]]:
    matching = _matching(pattern)
    answers: dict[str, bool] = {}
    for i, (source, name) in enumerate(matching):
        backbone = source(model=name, weights="pretrained")  # type: ignore[call-arg]
        facts = _kept(backbone)
        if facts is None:
            with _saying(f"{name} ({i + 1} of {len(matching)})"):
                facts = _facts(backbone)
        yield {"name": name, "source": source.name, **asdict(facts), "weights": _weights(backbone, facts, answers)}


def _weights(backbone: Backbone, facts: BackboneFacts, answers: dict[str, bool]) -> str | None:
    """Say whether published weights can be had now: here, by download, not (offline), or that there are none.

    None when that is not known. Each hub is asked once, and `answers` keeps what it said.
    """
    if backbone.weights_here(facts):
        return "here"
    if facts.weights_at is None:
        return None if facts == BackboneFacts() else "none"
    host = _hub.host(facts.weights_at)
    if host not in answers:
        answers[host] = _hub.unreachable(facts.weights_at) is None
    return "download" if answers[host] else "offline"


def _facts(backbone: Backbone) -> BackboneFacts:
    """Find out the facts of a model, and keep them; a model that can't be built has none."""
    logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            facts = backbone.facts()
    except Exception:  # noqa: BLE001 - one model of a thousand that a library cannot build is no reason for no list
        return BackboneFacts()
    path = _kept_at(backbone)
    if path is not None:
        with suppress(OSError), replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(facts)), encoding="utf-8")
    return facts


def _kept(backbone: Backbone) -> BackboneFacts | None:
    """Return the facts that an earlier call kept, or None."""
    path = _kept_at(backbone)
    if path is not None:
        with suppress(OSError, ValueError, TypeError):
            return BackboneFacts(**parse_json(path.read_bytes()))
    return None


def _kept_at(backbone: Backbone) -> Path | None:
    """Return where the facts of a model are kept: they hang on its library's version. None when that is not known."""
    try:
        library = version(backbone.library)
    except PackageNotFoundError:
        return None
    folder = f"{backbone.name}-{backbone.version}.{FACTS_VERSION}-{library}"
    return cache_dir() / "backbones" / folder / f"{quote(backbone.model, safe='')}.json"


def _backbone_lines(pattern: str) -> Iterator[str]:
    """Yield a table of backbones, a section for each source, 80 columns wide but for the longest names."""
    names = [name for _, name in _matching(pattern)]
    if not names:
        every = {name for source in sources() for name in source.known() if ("." in name) == ("." in pattern)}
        raise UsageError(f"no backbones match {pattern!r}{did_you_mean(nearest(pattern.strip('*'), every))}")
    wide = min(max(map(len, names)), NAME_WIDTH)
    yield f"{'':<{wide}}  {'params':>6}  {'MACs':>6}  {'px':>4}  {'licence':<12}  weights"
    section = None
    for row in _backbones(pattern):
        if row["source"] != section:
            section = row["source"]
            yield f"{section}:"
        cells = (
            f"{row['name']:<{wide}}",
            f"{_short(row['params_total']):>6}",
            f"{_short(row['macs_forward']):>6}",
            f"{row['resolution'] or MISSING:>4}",
            f"{_cut(row['licence'] or MISSING, 12):<12}",
            row["weights"] or MISSING,
        )
        yield "  ".join(cells)


MISSING = "–"


def _short(count: int | None) -> str:
    """Format a count in at most six characters: 5.72 M."""
    if count is None:
        return MISSING
    value, prefix = next(((count / f, p) for f, p in _PREFIXES if count >= 0.9995 * f), (float(count), ""))
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {prefix}".strip()


_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


@contextmanager
def _saying(text: str) -> Iterator[None]:
    """Show what is being done on a terminal's stderr, while it is."""
    if not sys.stderr.isatty():
        yield
        return
    print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print("\r\x1b[2K", end="", file=sys.stderr, flush=True)

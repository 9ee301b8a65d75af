"""`bench doctor`: checks what a run needs, and says what to do where something is missing. Control half.

What could hang or break this process, torch before all, is asked of another one. Nothing is written without `fix`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from bench.doctor import fix as mending
from bench.doctor import machine, needs, storage
from bench.doctor.child import Child
from bench.doctor.finding import Finding, State, text
from bench.doctor.storage import Places
from bench.planner import Plan, expand
from bench.suite import load

if TYPE_CHECKING:
    from bench.asked import Asked

__all__ = ["Examined", "Finding", "Places", "State", "examine", "text"]


@dataclass(frozen=True)
class Examined:
    """What was found, and what was mended before, a line each."""

    findings: tuple[Finding, ...]
    done: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether nothing would stop a run."""
        return all(finding.state != "problem" for finding in self.findings)


def examine(places: Places, asked: Asked | None = None, fix: bool = False) -> Examined:
    """Check this installation and this machine, and what the suite that is `asked` for needs.

    With `fix`, missing data are fetched and what can be mended safely is mended first. Raises SuiteError and UsageError
    when the suite cannot be read or planned, before anything but its data is touched.
    """
    suite = None if asked is None else load(asked.suite, asked.profile, asked.settings)
    # Data first: some sets must be here before they can be planned.
    done = [*mending.fetched(needs.every_dataset(suite))] if fix and suite is not None else []
    plan = None if suite is None else expand(suite)
    done += mending.mended(places) if fix else []
    with Child() as child:
        libraries = machine.libraries(child)
        torch_works = libraries[0].state == "ok"
        found = [
            machine.python(),
            machine.harness(),
            machine.packages(machine.asked_for()),
            machine.offline_weights(),
            *libraries,
            *([machine.device(child)] if torch_works else []),
            machine.threads(),
            machine.memory(machine.free_memory()),
        ]
        needed, own = _needs(plan, places, child if torch_works else None) if plan is not None else ({}, [])
    stock = storage.stock(places.stores())
    found += [
        *storage.disk(places, needed),
        *storage.access(places),
        *storage.caches(places),
        storage.leftovers(places),
        storage.unreadable(places),
        storage.indexes(places),
        storage.records(stock),
        storage.other_runs(places),
        machine.clock(time.time(), _dates(stock)),
        machine.git(),
    ]
    return Examined((*found, *own), tuple(done))


def _needs(plan: Plan, places: Places, child: Child | None) -> tuple[Mapping[str, float], list[Finding]]:
    """Return the bytes that a suite will fill by place, and what was found about it."""
    weights, params = needs.weights(plan, child)
    return needs.room(plan, params), [needs.the_plan(plan, places), *needs.data(plan), *weights]


def _dates(stock: storage.Stock) -> dict[str, float]:
    """Return when things happened that the clock must be after."""
    dates = {}
    if stock.newest is not None:
        with suppress(ValueError, OverflowError):  # a record may come from anywhere
            dates["the newest record"] = datetime.fromisoformat(stock.newest).timestamp()
    commit = machine.last_commit()
    if commit is not None:
        dates["the newest commit of bench"] = commit
    return dates

"""What a cell cost: where its seconds went, what it used of what cells share, how near the machine's limit it ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from bench.cell import Cell
from bench.engines.job import Job, one_line
from bench.measure.architecture import architecture_of
from bench.measure.calibration import Kernels, drift, explain_drift
from bench.measure.cost import Counted, cost_of, counted_for, sizes_of
from bench.measure.flops import Uncountable
from bench.measure.roofline import NoRoofline, limits_of, roofline
from bench.record import Record, Seconds
from bench.training.learner import Learner

# Kinds of artifact that seconds are told apart by.
PARENT, VERDICT = "weights", "autotune"


class Account:
    """Fills in what a trained cell cost. A number that can't be had is no reason to lose what was learnt."""

    def __init__(self, job: Job, cell: Cell, learner: Learner) -> None:
        self.job, self.cell, self.learner = job, cell, learner

    def complete(self, record: Record, peak_memory_bytes: int | None) -> Record:
        """Return the record with cost, roofline, latency and layers: everything but its seconds."""
        counted = counted_for(self.learner)
        record = self._with_cost(record, peak_memory_bytes, counted)
        record = self._with_roofline(record, counted)
        return self._with_architecture(record)

    def artifacts(self) -> tuple[dict[str, Any], ...]:
        """Return what this cell used of what cells share, each with its price for this cell's own examples."""
        learner = self.learner
        priced: dict[tuple[str, str], float] = defaultdict(float)
        for split, count in learner.spent.shown:
            prepared = learner.cache.material.rows(split)
            priced[prepared.kind, prepared.id] += prepared.price(count)
        for used in learner.spent.used:
            rows = learner.cache.rows(used.forward, used.split, learner.views.key)
            priced[rows.kind, rows.id] += rows.price(used.examples * used.views)
        if learner.verdict is not None:
            priced[VERDICT, learner.verdict.id] += learner.verdict.seconds
        for role, parent in self.job.parents.items():
            priced[PARENT, self.cell.parents[role]] = _price_of_parent(parent["record"], priced)
        return tuple({"kind": kind, "id": name, "seconds": seconds} for (kind, name), seconds in priced.items())

    def seconds(self) -> Seconds:
        """Split the time: what this run spent, and what a user who runs only this cell would pay."""
        spent = self.learner.clock.seconds
        price: dict[str, float] = defaultdict(float)
        for artifact in self.artifacts():
            price[artifact["kind"]] += artifact["seconds"]
        prepare = price.pop(self.learner.cache.material.kind, 0.0)
        setup = spent["setup"] + price.pop(VERDICT, 0.0)
        shared = sum(price.values())
        train = spent["train"]
        return Seconds(
            prepare=prepare,
            setup=setup,
            train=train,
            evaluate=spent["evaluate"],
            measure=spent["measure"],
            shared=shared,
            parents=price[PARENT],
            marginal=sum(spent[phase] for phase in ("prepare", "setup", "tune", "train", "features")),
            standalone=prepare + setup + train + shared,
        )

    def _with_cost(self, record: Record, peak_memory_bytes: int | None, counted: Counted) -> Record:
        reasons = dict(record.reasons)
        if peak_memory_bytes is None:
            reasons["cost.peak_memory_bytes"] = "this system does not let a process reset its peak"
        parent_flops = [parent["record"]["cost"]["flops_train"] for parent in self.job.parents.values()]
        try:
            cost = cost_of(self.learner, parent_flops, peak_memory_bytes, counted)
            if cost.flops_train is None:
                reasons["cost.flops_train"] = "the FLOPs of a parent's training are not known"
        except Uncountable as error:
            cost = sizes_of(self.learner, peak_memory_bytes)
            reasons |= {f"cost.{name}": str(error) for name in ("macs_forward", "flops_forward", "flops_train")}
        return replace(record, cost=cost, reasons=reasons)

    def _with_roofline(self, record: Record, counted: Counted) -> Record:
        """Add the limits of the machine, and how near the training came to them."""
        spent = self.seconds()
        measured = (spent.train or 0.0) + (spent.shared or 0.0) - (spent.parents or 0.0)
        try:
            limits = limits_of(self.learner.device, self.learner.cache.artifacts)
            found = roofline(self.learner, counted, limits, measured)
        except (Uncountable, NoRoofline) as error:
            return replace(record, reasons={**record.reasons, "details.roofline": str(error)})
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason that there is no number
            return replace(record, reasons={**record.reasons, "details.roofline": one_line(error)})
        return replace(record, details={**record.details, "roofline": asdict(found)})

    def _with_architecture(self, record: Record) -> Record:
        """Add latency and summary."""
        learner = self.learner
        try:
            measured = architecture_of(
                learner.network, self.cell, learner.recipe.precision, learner.device, learner.cache.artifacts
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason that there is no number
            return replace(record, reasons={**record.reasons, "latency": one_line(error)})
        architecture = {"summary": measured.summary, "macs_by_fvcore": measured.macs_by_fvcore}
        return replace(record, latency=measured.latency, details={**record.details, "architecture": architecture})


def with_drift(record: Record, before: Kernels, after: Kernels) -> Record:
    """Add what the fixed work took before and after, and whether the times between can be trusted."""
    drifted = drift(before, after)
    took = {k: [getattr(before, k), getattr(after, k)] for k in ("matmul_ms", "copy_ms")}
    record = replace(record, details={**record.details, "calibration": {**took, "drift": drifted}})
    why = explain_drift(drifted)
    return record if why is None else untimed(record, why)


def untimed(record: Record, why: str) -> Record:
    """Return a record whose times are not valid, for one more reason."""
    reasons = [record.reasons["timing_valid"], why] if "timing_valid" in record.reasons else [why]
    return replace(record, timing_valid=False, reasons={**record.reasons, "timing_valid": "; ".join(reasons)})


def _price_of_parent(record: Mapping[str, Any], mine: Mapping[tuple[str, str], float]) -> float:
    """Return what a parent's training adds to the price of a cell: what both use is paid for once."""
    twice: float = sum(used["seconds"] for used in record["artifacts"] if (used["kind"], used["id"]) in mine)
    return float(record["seconds"]["standalone"] or 0.0) - twice

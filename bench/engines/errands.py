"""What a worker is asked besides running cells: each a function of plain JSON. Imports no torch before it is called.

`progress` of a job is the file for messages, `device` the worker's. What the user can mend comes back as `{"problem"}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from bench.engines.job import tell
from bench.errors import BenchError, Skip

Errand = Callable[[Mapping[str, Any]], dict[str, Any]]


def _errand(run: Errand) -> Errand:
    @wraps(run)
    def told(job: Mapping[str, Any]) -> dict[str, Any]:
        tell(job["progress"], "begun", {})
        try:
            return run(job)
        except (BenchError, Skip) as error:
            return {"problem": str(error)}

    return told


@_errand
def explain(job: Mapping[str, Any]) -> dict[str, Any]:
    """Write where a trained cell looks; see `bench.engines.explaining`."""
    from bench.engines import explaining

    return explaining.explain(job)


@_errand
def predict(job: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a trained cell takes new inputs for; see `bench.engines.predicting`."""
    from bench.engines import predicting

    return predicting.predict(job)

"""What the test examples themselves say of two strategies at a size: intervals over examples, and single runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.compare.answers import McNemar, Resampled, difference, mcnemar, right_of
from bench.report.study import Line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# The metric that is a mean over test examples, of each of which the records say whether it was right.
BY_EXAMPLE = "accuracy"


def over_examples(a: Line, b: Line, size: int, metric: str) -> Resampled | None:
    """Return the difference in a metric a - b over the seeds both have, with its interval over test examples.

    None where the records don't tell, and of a metric that is no mean over examples.
    """
    both = _both(a, b, size) if metric == BY_EXAMPLE else []
    return difference([x for x, _ in both], [y for _, y in both]) if both else None


def single_runs(a: Line, b: Line, size: int, metric: str) -> McNemar | None:
    """Return McNemar's test where the two have just one seed in common, else None; as for `over_examples`."""
    both = _both(a, b, size) if metric == BY_EXAMPLE else []
    return mcnemar(*both[0]) if len(both) == 1 else None


def _both(a: Line, b: Line, size: int) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return who was right on the test examples, by seed, where both say so of as many examples."""
    of_a, of_b = (
        {r.cell.seed: found for r in ln.at(size) if r.status == "ok" and (found := right_of(r.details)) is not None}
        for ln in (a, b)
    )
    pairs = [(of_a[seed], of_b[seed]) for seed in sorted(of_a.keys() & of_b.keys())]
    return pairs if len({len(right) for pair in pairs for right in pair}) == 1 else []

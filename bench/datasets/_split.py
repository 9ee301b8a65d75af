"""The split that the harness makes for a data set that comes without one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.errors import OptionError
from bench.grouping import held_out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_test_share(test_share: float) -> None:
    """Raise OptionError unless `test_share` leaves something on both sides."""
    if not 0 < test_share < 1:
        raise OptionError(f"test_share must be between 0 and 1, not {test_share}", ("test_share",))


def stratified(labels: NDArray[np.int64], names: Sequence[str], test_share: float) -> dict[str, NDArray[np.int64]]:
    """Split each class into "train" and "test"; return the sorted positions of each.

    Within a class, the examples with the lowest hashes of their names are for test, so the split does not depend on
    order or machine, and one more example moves few others. A class of n gives round(n * test_share) to test, but
    at least 1, and keeps at least 1 for train; a class of one example goes to train.
    """
    import numpy as np

    test: list[int] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).tolist()
        members.sort(key=lambda i: (hashlib.sha256(names[i].encode()).digest(), names[i]))
        count = max(1, round(len(members) * test_share))
        test.extend(members[: min(count, len(members) - 1)])
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[test] = True
    return {"train": np.flatnonzero(~chosen), "test": np.flatnonzero(chosen)}


def by_group(
    labels: NDArray[np.int64], groups: NDArray[np.int64], names: Sequence[str], test_share: float
) -> dict[str, NDArray[np.int64]]:
    """Split whole groups into "train" and "test"; return the sorted positions of each.

    `names` are those of the groups by number; the ones with the lowest hashes are for test first, until each class has
    about its share there (see `held_out`). The split does not depend on order or machine.
    """
    import numpy as np

    order = sorted(range(len(names)), key=lambda g: (hashlib.sha256(names[g].encode()).digest(), names[g]))
    test = held_out(labels, groups, order, test_share)
    return {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}

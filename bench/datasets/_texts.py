"""What data sets of texts share: rows of a text and its class, and how they become two splits."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.datasets._split import by_group, stratified
from bench.errors import DataError, OptionError, did_you_mean, nearest, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger("bench")

MAX_TOKENS = 8192
MOST_SIGNS, MOST_CLASSES = 100_000, 1000


def check_max_length(max_length: int | None) -> None:
    """Raise OptionError unless `max_length` is None or a number of tokens that a text may have, with its two ends."""
    if max_length is not None and not 3 <= max_length <= MAX_TOKENS:
        raise OptionError(f"max_length must be 3 to {MAX_TOKENS:,} tokens, not {max_length}", ("max_length",))


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that is used: a name for people, its text and class, its group, and the split that it says, if it does."""

    name: str
    text: str
    label: str
    group: str = ""
    split: str | None = None


@dataclass(frozen=True)
class Splits:
    """The rows of "train" and "test", and the classes in order."""

    rows: Mapping[str, Sequence[Kept]]
    classes: tuple[str, ...]


def as_text(value: Any) -> str:
    """Return a value of a row as text; a label may be a number."""
    if value is None or isinstance(value, Mapping | list):
        return ""
    return str(value).strip()


def lacks_column(column: str, option: str, columns: Sequence[str]) -> str:
    """Say that a table has no such column, and which it may have been."""
    return f"has no column {column!r}, named by the option {option}{instead(column, columns)}"


def instead(word: str, known: Sequence[str]) -> str:
    """Return the nearest right word, or all of them."""
    return did_you_mean(nearest(word, known)) or f"; it has {', '.join(map(quoted, known))}"


def divided(title: str, rows: Sequence[Kept], test_share: float, grouped: bool = False) -> dict[str, Sequence[Kept]]:
    """Return "train" and "test" as the harness splits: by group where there are groups, else each class by itself.

    `title` begins the message of a DataError.
    """
    import numpy as np

    if not rows:
        raise DataError(f"{title}: holds no text with a label")
    labels: NDArray[np.int64] = np.unique([r.label for r in rows], return_inverse=True)[1].astype(np.int64)
    if grouped:
        names, groups = np.unique([r.group for r in rows], return_inverse=True)
        index = by_group(labels, groups.astype(np.int64), [str(name) for name in names], test_share)
    else:
        index = stratified(labels, [f"{r.label}\n{r.text}" for r in rows], test_share)
    return {split: [rows[i] for i in chosen] for split, chosen in index.items()}


def settled(
    title: str, found: Mapping[str, Sequence[Kept]], notes: Counter[str], label: str, order: Sequence[str] = ()
) -> Splits:
    """Return what is learnt from and tested on: no text of the training pool is in test too, word for word.

    `notes` count what was left out before, and are told. `label` is what the classes are called where they come from,
    and `order` their order there; classes are sorted without one. Raises DataError where nothing can be learnt.
    """
    seen = {_words(r.text) for r in found["test"]}
    train = [r for r in found["train"] if _words(r.text) not in seen]
    notes["in test too, word for word"] += len(found["train"]) - len(train)
    left_out = [f"{count:,} {why}" for why, count in notes.items() if count]
    if left_out:
        log.warning("%s: left out: %s", title, "; ".join(left_out))
    learnt = {r.label for r in train}
    classes = tuple(name for name in order if name in learnt) if order else tuple(sorted(learnt))
    if len(classes) < 2:
        wrong = f"learning needs texts of two classes; found {', '.join(map(quoted, classes)) or 'none'}"
    elif len(classes) > MOST_CLASSES:
        wrong = f"{label!r} has {len(classes):,} different labels, more than {MOST_CLASSES:,}"
    elif not found["test"]:
        wrong = "no text is for test"
    elif other := {r.label for r in found["test"]} - learnt:
        wrong = f"the test split has a class that is not learnt: {quoted(min(other))}"
    else:
        return Splits({"train": train, "test": found["test"]}, classes)
    raise DataError(f"{title}: {wrong}")


def _words(text: str) -> str:
    return " ".join(text.lower().split())

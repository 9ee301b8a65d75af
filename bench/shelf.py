"""What lies beside the records of a study: test predictions, the examples behind them, where models look, surveys."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import printable
from bench.survey import TEXTS, Survey, loads
from bench.tensors import id_of, notes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.record import Record
    from bench.store import Store

PIXELS, TOKENS = "pixels", "tokens"
T = TypeVar("T")
# Reads of an open file of prepared examples what it has of those that are wanted.
Read = Callable[[Any, set[int]], dict[int, T]]

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Answers:
    """What a model said of some examples: `logits` float32 [n, classes], `labels` int64 [n], `index` int64 [n]."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    index: NDArray[np.int64]


@dataclass(frozen=True)
class Predictions(Answers):
    """What a cell said of its test examples, one round after the other.

    `labels` are as each round numbers its classes, `index` is into the test split, `classes` has the names of each
    round's classes. `validation` is what it said of the examples that its recipe selects on, with an index into the
    train split; None where none were held out, or an earlier version did not keep it. `groups` int64 [n] says whose
    each test example is, where the data set knows.
    """

    classes: tuple[tuple[str, ...], ...]
    validation: Answers | None = None
    groups: NDArray[np.int64] | None = None


# Goes up when other maps would be made of the same cell.
EXPLAINED_VERSION = 2


@dataclass(frozen=True)
class Explained:
    """Where a cell's model looks in some of its test examples, the right ones first.

    `about` has the `version`, how many `examples` were asked for and, when there is nothing to be seen, the `reason`;
    else the `modality`, the `place` in the network, the `classes`, and the `levels`: what was drawn anew for the test
    by random weights. Arrays: `index`, `labels`, `predicted` int64 [n], `confidence` float32 [n], and `agreement`
    float32 [levels, m], the rank correlation of what is seen of the first m examples with the trained weights and
    without.

    Of pictures: `pictures` uint8 [n, edge, edge] or [n, edge, edge, 3], `maps` uint8 [n, 2, edge, edge] of the
    predicted class and of the true one, `drawn` uint8 [levels, m, edge, edge] of the predicted class of the first m
    pictures; `about` has the `grid` of rows and columns. Of texts: `lengths` int64 [n], `scores` float32 [total] of
    their tokens for the predicted class, end to end, and `gap` float32 [n], the part by which their sum is off;
    `about` has the `pieces` of each text, which are the text, and how many `steps` the integral took.
    """

    about: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def reason(self) -> str | None:
        """Why there is nothing to be seen, if so."""
        return self.about.get("reason")

    @property
    def modality(self) -> str:
        """What kind of examples they are; pictures where a file does not say."""
        return str(self.about.get("modality", "image"))


OF_ALL = ("index", "labels", "predicted", "confidence", "agreement")
ARRAYS = {"image": (*OF_ALL, "pictures", "maps", "drawn"), "text": (*OF_ALL, "lengths", "scores", "gap")}


def read_predictions(path: Path) -> Predictions | None:
    """Read a file of predictions; one that is not there, or damaged, is None."""
    import numpy as np

    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            classes = tuple(tuple(str(name) for name in names) for names in file["classes"])
            held = None
            if "validation_logits" in file:
                held = Answers(*(file[f"validation_{name}"] for name in ("logits", "labels", "index")))
            groups = file.get("groups")
            found = Predictions(file["logits"], file["labels"], file["index"], classes, held, groups)
            return found if _agree(found) else None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


class Shelf:
    """Reads what a store has beside the records of a suite; what is not there, or damaged, is None."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def predictions(self, cell_id: str) -> Predictions | None:
        """Return the predictions of a cell."""
        return read_predictions(self.store.predictions(cell_id))

    def explained(self, cell_id: str) -> Explained | None:
        """Return where a cell's model looks, by the newest way to see it."""
        import numpy as np

        try:
            with self.store.explained(cell_id).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                if about["version"] != EXPLAINED_VERSION:
                    return None
                found = Explained(about, {})
                arrays = () if found.reason is not None else ARRAYS[found.modality]
                return Explained(about, {name: file[name] for name in arrays})
        except (OSError, KeyError, TypeError, ValueError, EOFError, zlib.error, zipfile.BadZipFile):
            return None

    def pictures(self, record: Record, split: str, index: Sequence[int]) -> NDArray[np.uint8] | None:
        """Return the pictures of a split as the model of a record saw them, [n, height, width] or [..., 3], or None.

        They are read from the prepared pixels that the cell has left; nothing is decoded, and no data set is opened.
        """
        import numpy as np

        held = self._gathered(PIXELS, record, split, index, _rows)
        if held is None:
            return None
        rows = np.stack(held)
        return rows[:, 0] if rows.shape[1] == 1 else np.ascontiguousarray(rows.transpose(0, 2, 3, 1))

    def texts(self, record: Record, split: str, index: Sequence[int]) -> list[str] | None:
        """Return the texts of a split, on one line each and as far as they are shown, or None.

        They are read from what was kept beside the survey; no data set is opened.
        """
        try:
            kept = json.loads(self.store.survey(record.cell.dataset).with_suffix(TEXTS).read_bytes())
            return [printable(str(kept[str(int(i))])) for i in index] if split == "test" and len(index) else None
        except (OSError, KeyError, TypeError, ValueError):
            return None

    def lengths(self, record: Record, split: str, index: Sequence[int]) -> NDArray[np.int64] | None:
        """Return in how many tokens the model of a record saw texts of a split, int64 [n], or None."""
        import numpy as np

        held = self._gathered(TOKENS, record, split, index, _lengths)
        return None if held is None else np.array(held, np.int64)

    def _gathered(self, kind: str, record: Record, split: str, index: Sequence[int], read: Read[T]) -> list[T] | None:
        """Return what a split's prepared examples hold of each of `index`; None unless it is there of all."""
        folder = self._prepared(kind, record, split)
        wanted, found = [int(i) for i in index], dict[int, T]()
        for path in sorted(folder.glob("*.safetensors")) if folder is not None else ():
            found |= _opened(path, read, set(wanted) - found.keys())
        return [found[i] for i in wanted] if wanted and found.keys() >= set(wanted) else None

    def _prepared(self, kind: str, record: Record, split: str) -> Path | None:
        """Return the folder of a split's prepared examples: named like those that the record says it learnt from."""
        held = self.store.artifacts / kind
        for name in (str(used.get("id")) for used in record.artifacts if used.get("kind") == kind):
            for path in sorted((held / name).glob("*.safetensors")):
                try:
                    identity = json.loads(notes(path)["identity"])
                    return held / id_of(kind, {**identity, "split": split})
                except (OSError, ValueError, KeyError, TypeError):
                    continue
        return None

    def survey(self, dataset: Mapping[str, Any]) -> Survey | None:
        """Return what is known of a cell's data set."""
        try:
            return loads(self.store.survey(dataset).read_bytes())
        except (OSError, KeyError, ValueError):
            return None

    def sheet(self, dataset: Mapping[str, Any]) -> bytes | None:
        """Return the PNG of sample pictures of a cell's data set: a row for each of its first classes."""
        try:
            content = self.store.survey(dataset).with_suffix(".png").read_bytes()
        except (OSError, KeyError):
            return None
        return content if content.startswith(PNG) else None


def _agree(found: Predictions) -> bool:
    """Say whether the arrays of predictions go together, as those that the harness wrote do."""
    import numpy as np

    counts = {len(names) for names in found.classes}
    if len(counts) != 1 or (found.groups is not None and found.groups.shape != found.labels.shape):
        return False
    return all(
        part.logits.ndim == 2
        and part.logits.dtype.kind == "f"
        and part.labels.dtype.kind == part.index.dtype.kind == "i"
        and part.labels.shape == part.index.shape == part.logits.shape[:1] != (0,)
        and part.logits.shape[1] in counts
        and bool(np.isfinite(part.logits).all())
        and 0 <= int(part.labels.min()) <= int(part.labels.max()) < part.logits.shape[1]
        for part in (found, found.validation)
        if part is not None
    )


def _opened(path: Path, read: Read[T], wanted: set[int]) -> dict[int, T]:
    """Return what a file of prepared examples has of the wanted ones; a damaged file has none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return read(file, wanted)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return {}


def _rows(file: Any, wanted: set[int]) -> dict[int, NDArray[np.uint8]]:
    """Return the rows, [channels, height, width], of the wanted examples."""
    import numpy as np

    keys, rows = file.get_tensor("keys"), file.get_slice("rows")
    places = np.flatnonzero(np.isin(keys, sorted(wanted)))
    return {int(keys[at]): rows[int(at) : int(at) + 1][0] for at in places}


def _lengths(file: Any, wanted: set[int]) -> dict[int, int]:
    """Return how long the rows of the wanted examples are."""
    held = zip(file.get_tensor("keys").tolist(), file.get_tensor("lengths").tolist(), strict=True)
    return {key: length for key, length in held if key in wanted}

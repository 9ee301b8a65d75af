"""Records and by-products on disk.

`results/<suite>/<cell_id>.json` is a record, never half there; `results/<suite>/predictions/<cell_id>.npz` are the test
predictions that its metrics were computed from. `results/artifacts/` holds what cells share.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import StoreError
from bench.files import replacing
from bench.record import Record, dumps

log = logging.getLogger("bench")


class Store:
    """The results of one suite under a results folder. Nothing is created before the first write."""

    def __init__(self, root: Path | str, suite: str) -> None:
        self.root = Path(root)
        self.suite = suite
        self.folder = self.root / suite

    @property
    def artifacts(self) -> Path:
        """The folder of artifacts, shared by all suites of this results folder."""
        return self.root / "artifacts"

    def predictions(self, cell_id: str) -> Path:
        """Return the file of a cell's test predictions: logits, labels, example ids."""
        return self.folder / "predictions" / f"{cell_id}.npz"

    def weights(self, cell_id: str) -> Path:
        """Return the file of a parent cell's trained weights."""
        return self.artifacts / "weights" / f"{cell_id}.safetensors"

    def check(self) -> None:
        """Raise StoreError, before anything runs, when records could not be read or written here."""
        for path in (self.folder, self.root):
            if path.exists():
                if not path.is_dir():
                    raise StoreError(f"{path}: is not a folder; choose another with --results")
                if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                    raise StoreError(f"{path}: cannot be read and written; mend its permissions or choose --results")
                return
        parent = next(p for p in self.root.absolute().parents if p.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            raise StoreError(f"{self.root}: cannot be made: {parent} is not writable; choose another with --results")

    def path(self, cell_id: str) -> Path:
        """Return the file of a cell's record."""
        return self.folder / f"{cell_id}.json"

    def read(self, cell_id: str) -> Record | None:
        """Return a cell's record, or None. A file that is no record is set aside and named, never overwritten."""
        path = self.path(cell_id)
        try:
            return Record.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            aside = path.with_suffix(".corrupt")
            log.warning("%s is not a readable record (%s); it is set aside as %s", path, error, aside.name)
            try:
                path.replace(aside)
            except OSError as refused:
                raise StoreError(f"{path}: is no record and cannot be set aside: {refused.strerror}") from None
            return None

    def read_all(self, cell_ids: Iterable[str]) -> dict[str, Record]:
        """Return the records that there are, by cell id, in the order asked."""
        found = {cell_id: self.read(cell_id) for cell_id in cell_ids}
        return {cell_id: record for cell_id, record in found.items() if record is not None}

    def every(self) -> Iterator[Record]:
        """Yield every record of the suite, by id, whether or not a suite file still plans it."""
        for path in sorted(self.folder.glob("*.json")):
            record = self.read(path.stem) if len(path.stem) == 12 else None
            if record is not None:
                yield record

    def write(self, record: Record) -> None:
        """Write a record whole or not at all."""
        write_text(self.path(record.cell_id), dumps(record))

    def write_suite(self, resolved: Mapping[str, Any]) -> None:
        """Save the suite as it was run, beside its results."""
        write_text(self.folder / "suite.json", json.dumps(resolved, indent=2) + "\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the suite's results for one run. The lock goes with its process, however that ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(
                    f"{self.folder}: another run is writing here; wait for it, or choose another folder with --results"
                ) from None
            yield


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises StoreError."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from None

"""Records and by-products on disk.

`results/<suite>/<cell_id>.json` is a record, written to a temporary name, synced and renamed, so that none is ever half
there. `results/<suite>/predictions/` and `results/artifacts/` hold what the device half keeps beside them.
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

    @property
    def predictions(self) -> Path:
        """The folder of test predictions of this suite."""
        return self.folder / "predictions"

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
    """Write a file under a temporary name, sync it, and rename it into place. Raises StoreError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from None

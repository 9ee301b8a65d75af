"""Records and by-products on disk.

`results/<suite>/<cell_id>.json` is a record, never half there; `results/<suite>/predictions/<cell_id>.npz` are the test
predictions that its metrics were computed from, `weights/` and `explained/` beside them are of the cells that the suite
looks at closer. `results/artifacts/` holds what cells share.
"""

from __future__ import annotations

import json
import logging
import os
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from bench import index, survey
from bench.claims import claimed
from bench.errors import StoreError
from bench.files import TEMPORARY, replacing
from bench.index import Brief, Stamp
from bench.machine import many_objects
from bench.record import NewerSchema, Record, dumps, loads
from bench.tensors import is_whole

log = logging.getLogger("bench")

STALE_SECONDS = 3600


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

    def survey(self, dataset: Mapping[str, Any]) -> Path:
        """Return the file of the survey of a cell's data set; a sheet of its pictures is beside it, as .png."""
        return self.artifacts / "surveys" / f"{survey.key(dataset)}.json"

    def kept(self, cell_id: str) -> Path:
        """Return the file of the trained weights that the suite keeps of a cell that is no parent."""
        return self.folder / "weights" / f"{cell_id}.safetensors"

    def explained(self, cell_id: str) -> Path:
        """Return the file of what a cell looks at; see `seeing`."""
        return self.folder / "explained" / f"{cell_id}.npz"

    def trained(self, cell_id: str) -> Path | None:
        """Return the file of a cell's trained weights, whoever they are kept for; None where none is whole."""
        return next((path for path in (self.kept(cell_id), self.weights(cell_id)) if is_whole(path)), None)

    def kept_ids(self) -> set[str]:
        """Return the cells whose weights the suite keeps."""
        return set(index.stamps(self.folder / "weights", ".safetensors"))

    def with_weights(self) -> set[str]:
        """Return the cells whose weights are kept, for the suite or for children of any suite."""
        return self.kept_ids() | set(index.stamps(self.artifacts / "weights", ".safetensors"))

    def has_predictions(self, cell_id: str) -> bool:
        """Say whether a cell's predictions are there, and whole."""
        try:
            with self.predictions(cell_id).open("rb", buffering=0) as file:
                return zipfile.is_zipfile(file)
        except OSError:
            return False

    def has_weights(self, cell_id: str) -> bool:
        """Say whether a parent cell's weights are there, and whole."""
        return is_whole(self.weights(cell_id))

    def check(self, writing: bool = False) -> None:
        """Raise StoreError, before anything runs, when records could not be read here, or not written."""
        wanted = os.R_OK | os.X_OK | (os.W_OK if writing else 0)
        for path in (self.folder, self.root):
            if os.path.lexists(path):
                if not path.is_dir():
                    raise StoreError(f"{path}: is not a folder; choose another with --results")
                if not os.access(path, wanted):
                    what = "read and written" if writing else "read"
                    raise StoreError(f"{path}: cannot be {what}; mend its permissions, or choose --results")
                return
        parent = next(p for p in self.root.absolute().parents if os.path.lexists(p))
        if not parent.is_dir():
            raise StoreError(f"{self.root}: cannot be made: {parent} is not a folder; choose another with --results")
        if writing and not os.access(parent, os.W_OK | os.X_OK):
            raise StoreError(f"{self.root}: cannot be made: {parent} is not writable; choose another with --results")

    def path(self, cell_id: str) -> Path:
        """Return the file of a cell's record."""
        return self.folder / f"{cell_id}.json"

    def read(self, cell_id: str) -> Record | None:
        """Return a cell's record, or None.

        A file that is no record, or another cell's, is set aside and named, never overwritten. Raises StoreError when
        it cannot be read, or is of a later version of the harness.
        """
        path = self.path(cell_id)
        try:
            with path.open("rb", buffering=0) as file:
                record = loads(file.readall())
            if record.cell_id != cell_id:
                raise ValueError(f"it is the record of {record.cell_id}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
        except NewerSchema as error:
            raise StoreError(f"{path}: is of a later version of bench ({error}); upgrade, or use --results") from None
        except ValueError as error:
            aside = next(p for n in count() if not (p := path.with_suffix(f".corrupt{n or ''}")).exists())
            log.warning("%s is not a readable record (%s); it is set aside as %s", path, error, aside.name)
            with suppress(OSError):  # where nothing can be renamed, nothing can be overwritten either
                path.replace(aside)
            return None
        return record

    def get(self, cell_id: str) -> Record:
        """Return the record of a cell that has one. Raises StoreError when it is there no more."""
        record = self.read(cell_id)
        if record is None:
            raise StoreError(f"{self.path(cell_id)}: was there and is not any more; run again")
        return record

    def read_all(self, cell_ids: Iterable[str]) -> dict[str, Record]:
        """Return the records that there are, by cell id, in the order asked."""
        with many_objects():
            return {record.cell_id: record for record in self.each(cell_ids)}

    def each(self, cell_ids: Iterable[str]) -> Iterator[Record]:
        """Yield the records that there are, in the order asked."""
        there = index.stamps(self.folder, ".json")
        for cell_id in cell_ids:
            record = self.read(cell_id) if cell_id in there else None
            if record is not None:
                yield record

    def briefs(self, cell_ids: Iterable[str]) -> dict[str, Brief]:
        """Return what a plan needs to know of the records that there are, by cell id, in the order asked.

        A record is read when it, or its predictions, changed since it was read last.
        """
        path = self.artifacts / "index" / f"{self.suite}.json"
        records, predictions = index.stamps(self.folder, ".json"), index.stamps(self.folder / "predictions", ".npz")
        known = index.read(path)
        found: dict[str, Brief] = {}
        fresh: dict[str, index.Line] = {}
        for cell_id in cell_ids:
            if cell_id not in records:
                continue
            files = records[cell_id], predictions.get(cell_id)
            line = known.get(cell_id)
            if line is None or line[:2] != files:
                record = self.read(cell_id)
                if record is None:
                    continue
                line = index.Line(*files, Brief.of(record, self.has_predictions(cell_id)))
                fresh[cell_id] = line
            found[cell_id] = line.brief
        if fresh:
            index.write(path, {i: line for i, line in (known | fresh).items() if i in records})
        return found

    def every(self) -> Iterator[Record]:
        """Yield every record of the suite, by id, whether or not a suite file still plans it."""
        yield from self.each(stem for stem in sorted(index.stamps(self.folder, ".json")) if len(stem) == 12)

    def stamps(self) -> dict[str, Stamp]:
        """Return the stamp of each record, by cell id."""
        return index.stamps(self.folder, ".json")

    def stamp(self, cell_id: str) -> Stamp | None:
        """Return what changes when a cell's record does; None where there is none."""
        return index.stamp(self.path(cell_id))

    def write(self, record: Record) -> None:
        """Write a record whole or not at all."""
        write_text(self.path(record.cell_id), dumps(record))

    def write_suite(self, resolved: Mapping[str, Any]) -> None:
        """Save the suite as it was run, beside its results."""
        write_text(self.folder / "suite.json", json.dumps(resolved, indent=2, ensure_ascii=False) + "\n")

    def held(self) -> bool:
        """Say whether a run has cells of the suite now. Nothing is written."""
        return claimed(self.folder)

    def sweep(self) -> None:
        """Remove what killed runs left half-written; what is younger may be another run's, at this moment."""
        for path in (*self.folder.rglob(TEMPORARY), *self.artifacts.rglob(TEMPORARY)):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises StoreError."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from None

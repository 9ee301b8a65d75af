"""What `bench doctor --fix` does: only what cannot lose anything, each told in a line."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.datasets import Dataset, missing
from bench.doctor.finding import counted, size
from bench.doctor.storage import Places, damaged, held, index_of, stale, without_index
from bench.errors import BenchError
from bench.index import stamps


def mended(places: Places) -> Iterator[str]:
    """Mend what can be mended without losing anything, and yield a line for each thing that was done or could not be.

    Records are never removed.
    """
    yield from _folders(places)
    yield from _removed(list(stale(places)), "half-written, of a killed run")
    yield from _removed(list(damaged(places)), "it could not be read")
    yield from _indexes(places)


def _folders(places: Places) -> Iterator[str]:
    for path in places.named().values():
        if not path.is_dir():
            try:
                path.mkdir(parents=True)
            except OSError as error:
                yield f"could not make {path}: {error.strerror}"
            else:
                yield f"made {path}"


def _removed(paths: list[Path], why: str) -> Iterator[str]:
    for path in paths:
        weight = held(path) if path.is_dir() else path.lstat().st_size
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            yield f"could not remove {path}: {error.strerror}"
        else:
            yield f"removed {path} ({size(weight)}): {why}"


def _indexes(places: Places) -> Iterator[str]:
    for store in list(without_index(places)):
        try:
            index_of(store).unlink()
            count = len(store.briefs(stem for stem in stamps(store.folder, ".json") if len(stem) == 12))
        except (OSError, BenchError) as error:
            yield f"could not build the index of {store.suite} again: {error}"
        else:
            yield f"built the index of {store.suite} again: {counted(count, 'record')}"


def fetched(wanted: Iterable[Dataset]) -> Iterator[str]:
    """Fetch the data sets that are missing, and yield a line for each."""
    for dataset in wanted:
        try:
            if missing(dataset) is not None:
                dataset.fetch()
                yield f"fetched the data set {dataset.name}"
        except BenchError as error:
            yield f"could not fetch {error}"

"""Tables of the Hugging Face hub, or of a folder in its format, by the datasets library. No code of theirs is run."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.datasets._cache import scratch
from bench.datasets._sources import unreachable
from bench.datasets._texts import instead
from bench.errors import DataError

INSTALL = 'python -m pip install "transfer-bench[text]"'
# Builders of the library that read rows of columns, and nothing else.
TABLES = ("arrow", "csv", "json", "parquet")
# What `save_to_disk` leaves at the top of a folder.
SAVED = ("dataset_dict.json", "state.json")
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
MOST_SIGNS = 200
# So many rows are read at a time.
ROWS = 1000


@dataclass(frozen=True)
class Place:
    """Where tables are: a repository of the hub at a revision, or a folder; `title` begins every message."""

    title: str
    repository: str | None
    folder: Path | None
    config: str | None
    revision: str | None


@dataclass(frozen=True)
class Loaded:
    """The library's tables by the name of their split, and the commit that they are of, on the hub."""

    tables: Mapping[str, Any]
    commit: str | None


def cannot_ask() -> str | None:
    """Say why the hub cannot be asked from here, as far as that is found out without asking for a data set."""
    if not _is_installed():
        return f"it needs the datasets library: {INSTALL}"
    for name in OFFLINE:
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f"{name} is set, so the hub is not asked"
    from huggingface_hub import constants

    wrong = unreachable(constants.ENDPOINT, any_answer=True)
    return wrong and f"no connection to {constants.ENDPOINT}: {wrong}"


def check(place: Place) -> None:
    """Raise DataError where it is known that the tables of a place cannot be had."""
    if not _is_installed():
        raise DataError(f"{place.title}: needs the datasets library: {INSTALL}")
    if place.folder is None and (wrong := cannot_ask()):
        raise DataError(f"{place.title}: is not on this machine, and cannot be had: {wrong}")


@contextmanager
def loaded(place: Place) -> Iterator[Loaded]:
    """Give the tables of a place, which are there within the block. Raises DataError."""
    # The library would take what it kept of another revision for this one where the hub does not answer.
    with _quiet(), scratch() as own:
        saved = place.folder is not None and any((place.folder / name).is_file() for name in SAVED)
        yield _saved(place) if saved else _built(place, own)


def values(place: Place, table: Any, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield what each row of a table has in some columns. Raises DataError where the file is damaged there."""
    rows = table.select_columns(list(columns)).with_format(None)
    try:
        for batch in rows.iter(ROWS):
            yield from zip(*(batch[column] for column in columns), strict=True)
    except Exception as error:  # noqa: BLE001 - the library and what it reads raise errors of many kinds
        raise _failed(place, error) from None


def _is_installed() -> bool:
    spec = importlib.util.find_spec("datasets")
    return spec is not None and spec.origin is not None  # a folder of that name, where bench is run, has no origin


def _saved(place: Place) -> Loaded:
    import datasets

    if place.config is not None:
        raise DataError(f"{place.title}: was made by save_to_disk, so it has no config {place.config!r}")
    found = _tried(place, lambda: datasets.load_from_disk(str(place.folder)))
    return Loaded(found if isinstance(found, Mapping) else {"train": found}, None)


def _built(place: Place, own: Path) -> Loaded:
    import datasets

    where = f"hf://datasets/{place.repository}" if place.folder is None else str(place.folder.resolve())

    def build() -> Any:
        return datasets.load_dataset_builder(where, place.config, cache_dir=str(own), revision=place.revision)

    try:
        builder = build()
    except ValueError:
        names = _tried(place, lambda: datasets.get_dataset_config_names(where, revision=place.revision))
        _check_config(place, names)
        builder = _tried(place, build)
    except Exception as error:  # noqa: BLE001 - the library and what it reads raise errors of many kinds
        raise _failed(place, error) from None
    _check_tables(place, builder)

    def prepare() -> Any:
        builder.download_and_prepare()
        return builder.as_dataset()

    return Loaded(_tried(place, prepare), builder.hash if place.folder is None else None)


def _check_config(place: Place, names: Sequence[str]) -> None:
    if place.config is None and len(names) > 1:
        raise DataError(f"{place.title}: has several configs; name one as config: {', '.join(sorted(names))}")
    if place.config is not None and place.config not in names:
        raise DataError(f"{place.title}: has no config {place.config!r}{instead(place.config, names)}")


def _check_tables(place: Place, builder: Any) -> None:
    """Refuse what is no table, and files that a card names elsewhere: nothing would hold them."""
    kind = type(builder).__module__.rpartition(".")[2]
    if kind not in TABLES:
        raise DataError(f"{place.title}: its files are of the kind {kind}, and not {', '.join(TABLES)}")
    within = f"hf://datasets/{place.repository}@" if place.folder is None else f"{place.folder.resolve()}{os.sep}"
    for files in (builder.config.data_files or {}).values():
        for file in map(str, files):
            if not file.startswith(within) or ".." in Path(file).parts:
                raise DataError(f"{place.title}: its card names a file elsewhere, {file}")


def _tried(place: Place, attempt: Callable[[], Any]) -> Any:
    try:
        return attempt()
    except Exception as error:  # noqa: BLE001 - the library and what it reads raise errors of many kinds
        raise _failed(place, error) from None


def _failed(place: Place, error: Exception) -> DataError:
    from datasets.exceptions import DatasetGenerationError

    cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
    said = " ".join(str(cause).split()) or type(cause).__name__
    return DataError(f"{place.title}: cannot be read: {said[:MOST_SIGNS]}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Have the library draw no bars and warn of nothing: what matters is an error."""
    import datasets
    from huggingface_hub import utils as hub

    before = datasets.logging.get_verbosity()
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("httpx", "httpx2")}
    drawing = [part for part in (datasets, hub) if not part.are_progress_bars_disabled()]
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    for part in drawing:
        part.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(before)
        for logger, level in loggers.items():
            logger.setLevel(level)
        for part in drawing:
            part.enable_progress_bars()

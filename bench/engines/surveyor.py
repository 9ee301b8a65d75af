"""Makes the survey of a data set in the worker, once its cells have run: on no clock of theirs. Device half."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.datasets import datasets
from bench.datasets._classes import names_of
from bench.errors import BenchError
from bench.files import replacing
from bench.survey import TEXTS, dumps, texts
from bench.survey.look import drawn, survey
from bench.training.material import opened

log = logging.getLogger("bench")


def make(spec: Mapping[str, Any], path: Path) -> str | None:
    """Write the survey of a data set to `path`, and what the report shows of its examples beside it.

    That is a sheet of pictures, or the texts of the test split as far as they are shown. Return why not, or None.
    """
    try:
        dataset = datasets.create(spec)
        facts = dataset.facts()
        examples = {split: opened(dataset, facts.digest, split) for split in ("train", "test")}
        classes = names_of(facts, *(found.labels for found in examples.values()))
        found, sheet = survey(dataset.name, dataset.modality, classes, examples, log.info)
        if sheet is not None:
            _write(path.with_suffix(".png"), sheet)
        if found.texts is not None:
            read = examples["test"].read
            held = {int(i): str(read(int(i))) for i in drawn(examples)["test"]}
            _write(path.with_suffix(TEXTS), texts.excerpts(held))
        _write(path, dumps(found))  # last: where it is, all is
    except (BenchError, OSError) as error:
        return str(error)
    return None


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)

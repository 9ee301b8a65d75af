"""Makes the survey of a data set in the worker, once its cells have run: on no clock of theirs. Device half."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.datasets import datasets
from bench.errors import BenchError
from bench.files import replacing
from bench.survey import dumps
from bench.survey.look import survey
from bench.training.material import opened

log = logging.getLogger("bench")


def make(spec: Mapping[str, Any], path: Path) -> str | None:
    """Write the survey of a data set to `path`, and a sheet of its pictures beside it; return why not, or None."""
    try:
        dataset = datasets.create(spec)
        facts = dataset.facts()
        examples = {split: opened(dataset, facts.digest, split) for split in ("train", "test")}
        most = max(int(found.labels.max()) for found in examples.values())
        classes = facts.classes or tuple(map(str, range(most + 1)))
        found, sheet = survey(dataset.name, dataset.modality, classes, examples, log.info)
        if sheet is not None:
            _write(path.with_suffix(".png"), sheet)
        _write(path, dumps(found))  # last: where it is, all is
    except (BenchError, OSError) as error:
        return str(error)
    return None


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)

"""Which material a model is given: its inputs say of which modality they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.backbones._inputs import Inputs
from bench.datasets import Dataset
from bench.errors import Skip
from bench.measure.clock import Clock
from bench.training.material import Material
from bench.training.pictures import Pictures
from bench.training.texts import Texts

MATERIALS: Mapping[str, Callable[[Dataset, Any, Path, Clock], Material]] = {"image": Pictures.of, "text": Texts}


def material_of(dataset: Dataset, inputs: Inputs, artifacts: Path, clock: Clock) -> Material:
    """Return the examples of a data set as a model wants to see them. Raises Skip when it wants to see others."""
    if dataset.modality != inputs.modality:
        raise Skip(f"the data are of modality {dataset.modality}, and the model is for {inputs.modality}")
    return MATERIALS[inputs.modality](dataset, inputs, artifacts, clock)

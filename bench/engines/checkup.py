"""What `bench doctor` asks another process: whether libraries work, what the device is, where weights are. Device half.

Nothing is imported before it is asked for, and what goes wrong is an answer: of a broken library not even the exception
may reach the process that asked, since it would import the library to unpack it.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from bench.engines.job import one_line


def quiet() -> None:
    """Have libraries print and warn to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    warnings.simplefilter("ignore")
    logging.disable()


def attempt(question: str, *words: Any) -> dict[str, Any]:
    """Answer a question: its answer, or `error`."""
    questions: dict[str, Callable[..., dict[str, Any]]] = {
        "library": library,
        "cpu": cpu,
        "gpu": gpu,
        "weights": weights,
    }
    try:
        return questions[question](*words)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a broken library can raise anything
        return {"error": one_line(error)}


def library(name: str) -> dict[str, Any]:
    """Import a library and say its version."""
    return {"version": str(getattr(import_module(name), "__version__", "of no known version"))}


def cpu() -> dict[str, Any]:
    """Compute something on the processor, and say what it is called and how many threads torch takes."""
    import torch

    from bench.measure.environment import cpu_name

    torch.ones(64, 64).matmul(torch.ones(64, 64)).sum().item()
    return {"name": cpu_name(), "threads": torch.get_num_threads()}


def gpu() -> dict[str, Any]:
    """Compute something on the GPU, and say what it is and how much of its memory is free."""
    import torch

    torch.ones(64, 64, device="cuda").matmul(torch.ones(64, 64, device="cuda")).sum().item()
    free, total = torch.cuda.mem_get_info()
    return {"name": torch.cuda.get_device_name(), "free": free, "total": total}


def weights(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Say of a backbone's published weights whether they are here, where they come from, and why not."""
    from bench.backbones import _hub, find

    backbone = find(spec)
    facts = backbone.facts()
    here = backbone.weights_here(facts)
    unreachable = None if here or facts.weights_at is None else _hub.unreachable(facts.weights_at)
    return {"here": here, "at": facts.weights_at, "unreachable": unreachable, "params": facts.params_total}

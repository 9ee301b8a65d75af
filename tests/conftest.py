"""The tests as a whole: as many processes as there are cores share the files, and what measures time is left alone.

One thread for all that the tests compute: on tiny models more of them only wait for each other.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from places import place

os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is printed is as wide as a pipe takes it, wherever the tests are started.
os.environ.pop("COLUMNS", None)

# Processes at most: each takes up to two gigabytes.
MOST_PROCESSES = 4
PLACES = pytest.StashKey[str]()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Have all tests shared by a process a core, file by file; what is named is run here, as without pytest-xdist."""
    if hasattr(config, "workerinput"):  # this is one of them
        return
    option = config.option
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not option.keyword
    watched = option.usepdb or option.capture == "no" or option.collectonly
    if whole and not watched and getattr(option, "numprocesses", 0) is None and option.dist == "no":
        from joblib import cpu_count

        cores = min(cpu_count(), MOST_PROCESSES)
        if cores > 1:
            option.numprocesses, option.dist, option.loadscopereorder = cores, "loadfile", False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that measure time or take long; skip what needs a GPU where there is none."""
    for mark in ("slow", "alone"):
        files = {item.path for item in items if item.get_closest_marker(mark)}
        items.sort(key=lambda item: item.path not in files)
    marked = [item for item in items if item.get_closest_marker("gpu")]  # only where there is one, torch is asked
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


# Taking turns


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of pytest-xdist where all of them hold their places."""
    config: pytest.Config = node.config
    if PLACES not in config.stash:
        folder = tempfile.TemporaryDirectory(prefix="places-")
        config.add_cleanup(folder.cleanup)
        config.stash[PLACES] = folder.name
    node.workerinput["places"] = config.stash[PLACES]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Have a test that is marked `alone` wait until no other process runs one, and the others wait for it."""
    given = getattr(item.config, "workerinput", None)
    if given is None:
        return (yield)
    with place(Path(given["places"]), alone=item.get_closest_marker("alone") is not None):
        return (yield)

"""Every test here is one of faults: `python -m pytest -m faults` runs them alone, `-m "not faults"` all others."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.plugin import install


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which the plugin of faults is installed."""
    return install(tmp_path_factory.mktemp("plugin"))

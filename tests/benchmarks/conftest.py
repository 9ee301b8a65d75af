"""The benchmark's options, its sides, and where its results go.

`python -m pytest tests/benchmarks` wants the machine for itself; with `--bench-all` it takes ten minutes more. Each
result is stored when its test ends, in reports/benchmarks/<device>.json, in the place of an earlier one of the same
test, machine and software; the page and the figure beside it are made from that file. A quick run goes to pytest's
cache folder.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from benchmarks import table
from benchmarks.cases import cases, cold, matrices
from benchmarks.sides import Sides

from bench.engines.device import resolve_device

LIMIT_SECONDS = 1200
LONG = ("test_autotune.py", "test_clocks.py", "test_techniques.py")
VERSIONS = ("lightning", "scikit-learn", "pytest-benchmark", "transformers", "accelerate")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what can be chosen."""
    group = parser.getgroup("the benchmark of the harness")
    group.addoption("--bench-quick", action="store_true", help="tiny cases that try the benchmark's own code")
    group.addoption("--bench-all", action="store_true", help="the engine's parts one by one and 100,000 cells as well")
    group.addoption("--bench-device", default="auto", choices=["auto", "cpu", "cuda"], help="where every side runs")


def pytest_configure(config: pytest.Config) -> None:
    """Find the device and the time."""
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError('the benchmark needs its extra: python -m pip install "transfer-bench[benchmarks]"')
    if not config.getoption("bench_quick"):
        # The tests use one thread each; here every side has the whole machine.
        os.environ.pop("OMP_NUM_THREADS", None)
    config.bench_device = resolve_device(config.getoption("bench_device"))
    config.bench_waiting = []


def pytest_report_header(config: pytest.Config) -> str:
    """Tell the budget before it is spent."""
    device, quick = config.bench_device, config.getoption("bench_quick")
    if device != "cpu" or quick:
        return f"benchmark: {device}{', quick' if quick else ''}"
    whole = [*cases(device, quick), *cold(device, quick), *matrices(device, quick)]
    seconds = sum(part.planned_seconds() for part in whole)
    return f"benchmark: cpu; {len(whole)} cases, about {seconds / 60:.0f} minutes on 2 cores beside the tests of scale"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give the tests of this folder the time that they need, and leave out what takes long unless it is asked for."""
    here = Path(__file__).parent
    asked = config.getoption("bench_all") or any(Path(arg.split("::")[0]).suffix == ".py" for arg in config.args)
    if not asked:
        items[:] = [item for item in items if item.path.name not in LONG and _cells(item) in (None, 10_000)]
    for item in items:
        if item.path.is_relative_to(here) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))


def _cells(item: pytest.Item) -> int | None:
    """Return how many cells a test of scale is about."""
    return item.callspec.params.get("sweep") if hasattr(item, "callspec") else None


@pytest.fixture(scope="session")
def quick(pytestconfig: pytest.Config) -> bool:
    """Whether only the code is tried."""
    return bool(pytestconfig.getoption("bench_quick"))


@pytest.fixture(scope="session")
def sides(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """Every side in its warm process."""
    with Sides(pytestconfig.bench_device, tmp_path_factory.mktemp("sides")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _results(request: pytest.FixtureRequest) -> Iterator[None]:
    """Store what each test measured as soon as it ends, also when its accuracies differ."""
    if "benchmark" not in request.fixturenames:
        yield
        return
    benchmark, began = request.getfixturevalue("benchmark"), time.time()
    yield
    # A test that was interrupted has seconds, and has not said of what.
    if benchmark.stats is not None and benchmark.extra_info:
        info = dict(benchmark.extra_info)
        environment = info.pop("environment", None)
        data = list(benchmark.stats.stats.data)
        took = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "wall": round(time.time() - began, 1)}
        _store(request.config, {"name": request.node.name, **took, "extra_info": info, "seconds": data}, environment)


def _store(config: pytest.Config, found: dict[str, Any], environment: dict[str, Any] | None) -> None:
    """Put one measurement in the place of an earlier one of its name, if that is of the same machine and software.

    A test without a side of its own goes with what the others have stored for this kind of device.
    """
    quick = bool(config.getoption("bench_quick"))
    folder = config.cache.mkdir("benchmarks") if quick else config.rootpath / "reports" / "benchmarks"
    known = sorted(folder.glob(f"{'cpu' if config.bench_device == 'cpu' else '[!c]'}*.json"))
    if environment is None and not known:
        config.bench_waiting.append(found)
        return
    path = folder / f"{_slug(environment)}.json" if environment else known[0]
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if before and environment and before["environment"]["fingerprint"] != environment["fingerprint"]:
        before = None
    fresh = [*config.bench_waiting, found]
    config.bench_waiting = []
    kept = [b for b in before["benchmarks"] if b["name"] not in {f["name"] for f in fresh}] if before else []
    data = {
        "device": path.stem,
        "quick": quick,
        "environment": environment or before["environment"],
        "versions": {name: _version(name) for name in VERSIONS},
        "benchmarks": sorted([*kept, *fresh], key=lambda b: b["name"]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(data), encoding="utf-8")
    config.bench_source = path


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page from what is stored."""
    source = getattr(session.config, "bench_source", None)
    if source is not None:
        session.config.bench_page = table.write(source)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the page."""
    page = getattr(config, "bench_page", None)
    if page is not None:
        terminalreporter.write_sep("-", str(page))
        terminalreporter.write_line(page.read_text(encoding="utf-8"))


def _slug(environment: dict[str, Any]) -> str:
    """Return "cpu-2-cores" or the name of the GPU."""
    if environment["gpu"]:
        return re.sub(r"[^a-z0-9]+", "-", environment["gpu"].lower()).strip("-")
    return f"cpu-{environment['cores']}-cores"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _text(data: dict[str, Any]) -> str:
    """Return JSON with one benchmark a line, so that a change in git can be read."""
    head = {k: v for k, v in data.items() if k != "benchmarks"}
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
    lines.append('  "benchmarks": [\n' + ",\n".join(f"    {json.dumps(b)}" for b in data["benchmarks"]) + "\n  ]")
    return "{\n" + ",\n".join(lines) + "\n}\n"

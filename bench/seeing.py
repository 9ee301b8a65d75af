"""Has the best cell of each data set explained when a suite asks for it: where its model looks. Control half."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from bench.engines import errands
from bench.errors import EngineError
from bench.shelf import Shelf

if TYPE_CHECKING:
    from bench.cell import Cell
    from bench.store import Store

Say = Callable[[str], None]


class Asker(Protocol):
    """What has an errand run in a worker."""

    def ask(
        self, errand: errands.Errand, job: Mapping[str, Any], watch: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]: ...


def is_explained(store: Store, cell_id: str, examples: int) -> bool:
    """Say whether a cell was explained on so many examples, and the file is whole."""
    found = Shelf(store).explained(cell_id)
    return found is not None and found.about["examples"] == examples


def explain(cells: list[Cell], examples: int, store: Store, engine: Asker, say: Say) -> None:
    """Have cells explained whose weights are there; what goes wrong is said, and is no fault of the run."""
    for cell in cells:
        path = store.trained(cell.id)
        if path is None:
            continue
        say(f"looking where {cell.id} looks")
        job = {
            "cell": cell.to_json(),
            "weights": str(path.absolute()),
            "predictions": str(store.predictions(cell.id).absolute()),
            "artifacts": str(store.artifacts.absolute()),
            "examples": examples,
            "out": str(store.explained(cell.id).absolute()),
        }
        try:
            answer = engine.ask(errands.explain, job, lambda _: None)
        except EngineError as error:
            answer = {"problem": str(error)}
        if "problem" in answer:
            say(f"{cell.id} is not explained: {answer['problem']}")

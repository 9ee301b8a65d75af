"""Another process that is asked what may break or hang one: what it does not answer is an answer too. Control half."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from bench.engines import checkup
from bench.engines.process import Gone, Process, how_it_ended

# Importing torch takes seconds; on a cold and busy disk, a minute.
ANSWER_SECONDS = 120.0


class Child:
    """Answers questions of `checkup` one at a time, each within `seconds`; use it as a context.

    It is started for the first question, and again for the next one when it died or hung.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = ANSWER_SECONDS if seconds is None else seconds
        self._process: Process | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, question: str, *words: Any) -> dict[str, Any]:
        """Return the answer; `{"error": why}` where there is none."""
        try:
            if self._process is None:
                self._process = Process(checkup.quiet, ())
                self._answer(self._process)
            self._process.send(checkup.attempt, (question, *words))
            answer: dict[str, Any] = self._answer(self._process)
        except Gone as gone:
            self._end()
            return {"error": f"the process that was asked {how_it_ended(gone.exit_code)}"}
        except TimeoutError:
            self._end()
            return {"error": f"no answer within {self.seconds:g} s"}
        return answer

    def _answer(self, process: Process) -> Any:
        if not process.answered(self.seconds):
            raise TimeoutError
        return process.answer()

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process = None

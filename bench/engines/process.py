"""One warm process that is called again and again, and can be ended at any moment. Control half."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

# How long a process has to end by itself once it is told to, and to be gone once it is killed.
GRACE_SECONDS, GONE_SECONDS = 2.0, 5.0


class Gone(Exception):
    """The process is gone; its exit code, negative for a signal, None where it is not known."""

    def __init__(self, exit_code: int | None) -> None:
        self.exit_code = exit_code
        super().__init__(exit_code)


def how_it_ended(exit_code: int | None) -> str:
    """Say how a process that is gone ended, after its name."""
    if exit_code is None:
        return "is gone"
    return f"was killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with exit code {exit_code}"


class Raised(Exception):
    """What was called raised: its type and text, and the traceback there. No exception of the other side comes over."""

    def __init__(self, text: str, traceback: str) -> None:
        self.text, self.traceback = text, traceback
        super().__init__(text)


class Late(Exception):
    """A deadline has passed."""


class Process:
    """A fresh process (spawn), the leader of its own group, that answers one call at a time.

    A first call of `prepare` is under way from the start: its answer is the first to be waited for. Ctrl-C, which a
    terminal sends to a whole group, does not reach it.
    """

    def __init__(self, prepare: Callable[..., None], args: Sequence[Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare, tuple(args)), daemon=True)
        with _interrupts_blocked():
            self._process.start()
        theirs.close()

    def send(self, function: Callable[..., Any], args: Sequence[Any]) -> None:
        """Have a function called. Raises Gone."""
        try:
            self._pipe.send((function, tuple(args)))
        except OSError:
            raise Gone(self._exit_code()) from None

    def answered(self, timeout_seconds: float) -> bool:
        """Wait for an answer, or for the end of the process: say whether there is one of them.

        A child that the process has forked holds its ends of the pipes open, so they do not tell of its end.
        """
        return bool(wait([self._pipe, self._process.sentinel], timeout_seconds)) or not self._process.is_alive()

    def answer(self) -> Any:
        """Return what the function returned. Raises Raised when it raised, and Gone."""
        try:
            if not self._pipe.poll():
                raise EOFError
            well, value = self._pipe.recv()
        except (EOFError, OSError):
            raise Gone(self._exit_code()) from None
        if well:
            return value
        raise Raised(*value)

    def end(self) -> None:
        """End the process, whatever it is doing, and those that it started: told first, then killed."""
        for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GONE_SECONDS)):
            if self._process.is_alive():
                self._signal(number)
                self._process.join(seconds)
        self._signal(signal.SIGKILL)
        self._pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the group of the process, and to the process before it has a group of its own."""
        pid = self._process.pid
        if pid is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
        if self._process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _exit_code(self) -> int | None:
        end = Deadline(GONE_SECONDS)
        while self._process.is_alive() and not end.passed():
            time.sleep(0.01)
        return self._process.exitcode


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Have a process that starts here inherit a blocked SIGINT: Ctrl-C is the main thread's to handle."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, prepare: Callable[..., None], args: tuple[Any, ...]) -> None:
    """Answer calls until the other end is closed."""
    os.setpgrp()
    call: tuple[Callable[..., Any], tuple[Any, ...]] = (prepare, args)
    answer: tuple[bool, Any]
    while True:
        try:
            answer = True, call[0](*call[1])
        except Exception as error:  # noqa: BLE001 - whatever it is, the other side is told
            answer = False, _told(error)
        try:
            pipe.send(answer)
        except OSError:
            return
        except Exception as error:  # noqa: BLE001 - what can't be sent is told in words
            pipe.send((False, _told(error)))
        try:
            call = pipe.recv()
        except EOFError:
            return


def _told(error: Exception) -> tuple[str, str]:
    """Return what `Raised` is made of, from an exception that is being handled."""
    return f"{type(error).__name__}: {error}", traceback.format_exc()


class Deadline:
    """So many seconds from now, by a clock that never jumps; None is no deadline."""

    def __init__(self, seconds: float | None) -> None:
        self._ends = None if seconds is None else time.monotonic() + seconds

    def passed(self) -> bool:
        """Say whether it has passed."""
        return self._ends is not None and time.monotonic() >= self._ends

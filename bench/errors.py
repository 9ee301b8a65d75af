"""Every error a user can cause, in one tree.

BenchError                 prints one line and ends with its exit code
├── UsageError        (2)  a wrong option or path on the command line
├── SuiteError        (2)  a suite that cannot be planned: file:line:column, what is wrong, the nearest right word
├── UnknownName       (2)  a plugin, model or option that does not exist; carries the nearest right words
├── OptionError       (2)  an option of a plugin with a wrong name, type or value
├── PluginError       (2)  a plugin that cannot be loaded, or whose name is taken
├── DataError         (2)  a data set that cannot be had or read, and what to do about it
├── WeightsError      (2)  weights that cannot be had or do not fit the model
├── StoreError        (2)  a results folder that cannot be read or written
├── DiskError         (3)  a run that cannot write any more; what is finished is kept
└── EngineError       (2)  a worker that cannot be started

Anything that does not derive from BenchError is a bug and prints a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class BenchError(Exception):
    """A mistake that the user can mend. `str(error)` is the one line shown, whatever a user's files and names hold."""

    exit_code = 2

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(BenchError):
    """A wrong option or path on the command line."""


class SuiteError(BenchError):
    """A suite that cannot be planned."""


class UnknownName(BenchError):
    """A name that is not registered.

    `kind` says what was looked for ("strategy"), `name` what was asked, `known` what there is.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        self.close = nearest(name, known)
        super().__init__(f"unknown {kind} {quoted(name)}{did_you_mean(self.close)}")


class OptionError(BenchError):
    """An option with a wrong name, type or value.

    `path` leads to it inside the plugin's mapping; `key` says that the name is wrong, not the value.
    """

    def __init__(self, message: str, path: Sequence[str | int] = (), key: bool = False) -> None:
        self.path, self.key = tuple(path), key
        super().__init__(message)


class PluginError(BenchError):
    """A plugin that cannot be loaded, or whose name is taken."""


class DataError(BenchError):
    """A data set that cannot be had or read."""


class WeightsError(BenchError):
    """Weights that cannot be had or do not fit the model."""


class StoreError(BenchError):
    """A results folder that cannot be read or written."""


class DiskError(BenchError):
    """Records or what belongs to them cannot be written any more, in the middle of a run."""

    exit_code = 3


class EngineError(BenchError):
    """A worker that cannot be started."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to `count` known names that look like `name`, best first; case does not matter."""
    lowered = {word.lower(): word for word in sorted(set(known))}
    return [lowered[close] for close in get_close_matches(str(name).lower(), lowered, n=count, cutoff=0.55)]


def did_you_mean(close: Sequence[object]) -> str:
    """Return `; did you mean 'a' or 'b'?`, or nothing when no name is close."""
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def quoted(value: object) -> str:
    """Return a value of a suite as a message shows it: in the words of YAML, and short."""
    words = {None: "nothing", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Control characters but tabs and ends of a line, what turns the order of the letters around it, halves of characters.
_HIDDEN = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff"
HIDDEN = re.compile(f"[{_HIDDEN}]")
_UNPRINTABLE_LINES = re.compile(rf"[{_HIDDEN}\r\x85\u2028\u2029]")
_UNPRINTABLE = re.compile(rf"{_UNPRINTABLE_LINES.pattern}|[\t\n]")


def printable(text: str) -> str:
    """Return text on one line, with escapes for what would end it, move a cursor or turn the order of letters."""
    return _UNPRINTABLE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """Return text of several lines with the same escapes: what a stranger's record says may not drive a terminal."""
    return _UNPRINTABLE_LINES.sub(_escape, text)


def _escape(sign: re.Match[str]) -> str:
    return f"\\x{ord(sign[0]):02x}" if sign[0] < "\u0100" else f"\\u{ord(sign[0]):04x}"


class Skip(Exception):
    """Not an error: this cell makes no sense here, and `str(skip)` is the reason that every table shows."""

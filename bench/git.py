"""Git, asked for something by a word of the command line: what it says, or one line of why not."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.errors import UsageError


def ask(asked: str, *words: str, folder: Path | None = None, instead: str = "") -> bytes:
    """Return what git prints. Raises UsageError that begins with what was asked, and ends with what to do instead."""
    try:
        return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True).stdout
    except FileNotFoundError:
        why = "git is not installed"
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
        why = next((line for line in said if line.startswith("fatal: ")), said[-1]).removeprefix("fatal: ")
    raise UsageError(f"{asked}: {why}{instead}")

"""The code on a page of docs/, so that what it says is run."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def blocks(page: str) -> dict[str, list[str]]:
    """Return the code blocks of a page by language, in order."""
    found: dict[str, list[str]] = {}
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S):
        found.setdefault(language, []).append(code)
    return found

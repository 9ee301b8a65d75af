"""A browser without a network, for tests of the HTML report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
DESKTOP, PHONE = (1280, 900), (390, 844)


@contextmanager
def browser() -> Iterator[Browser]:
    """Open a headless Chromium; skip the test where there is none, which CI never is."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        if os.environ.get("CI"):
            raise RuntimeError("the tests of the HTML report need Chromium")
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


class Seen:
    """A page with what its browser complained of, and what it asked the network for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda asked: self._note(asked.url))

    def _note(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.requests.append(url)


@contextmanager
def opened(
    chromium: Browser, path: Path, size: tuple[int, int] = DESKTOP, anchor: str = "", **options: Any
) -> Iterator[Seen]:
    """Open a report offline, and wait for its explorer."""
    context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, offline=True, **options)
    seen = Seen(context.new_page())
    seen.page.goto(path.as_uri() + anchor)
    seen.page.wait_for_selector("html[data-explore=ready]", timeout=30_000)
    yield seen
    context.close()

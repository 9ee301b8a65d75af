"""One HTML file: style, figures and the explorer inside it, nothing from the network, all text escaped."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.explore import libraries
from bench.report.page import Block, Fold, Heading, Page

if TYPE_CHECKING:
    import markupsafe

HERE = Path(__file__).parent


def render(page: Page, cells: str | None = None) -> str:
    """Return the page as HTML; `cells` is what its explorer shows, JSON that can stand in a script, if it has one."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["keep_together"] = _keep_together
    environment.filters["in_script"] = _in_script
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "explore.js"))
    blocks = page.blocks
    anchors = {id(b): f"s{i}" for i, b in enumerate(b for b in blocks if isinstance(b, Heading))}
    text = environment.get_template("page.html.j2").render(
        page=page,
        style=style,
        script=script,
        libraries=libraries() if cells else None,
        cells=cells,
        parts=_parts(blocks),
        anchors=anchors,
        identity=id,
    )
    return text.rstrip("\n") + "\n"


def _parts(blocks: tuple[Block, ...]) -> list[tuple[str, list[Block]]]:
    """Group neighbours of a kind, so that figures can stand side by side."""
    parts: list[tuple[str, list[Block]]] = []
    for block in blocks:
        kind = "fold" if isinstance(block, Fold) else block.kind
        if parts and parts[-1][0] == kind == "figure":
            parts[-1][1].append(block)
        else:
            parts.append((kind, [block]))
    return parts


def _in_script(text: str) -> markupsafe.Markup:
    """Return a script that nothing in it ends; jinja brings markupsafe."""
    import markupsafe

    return markupsafe.Markup(re.sub(r"</(?=script)|<(?=!--)", lambda found: f"{found[0]}\\", text, flags=re.I))


def _keep_together(text: str) -> str:
    """Return text whose lines break neither before nor after these signs, nor inside an interval."""
    text = text.replace("≈ ", "≈\u00a0")
    for sign in ("±", "=", "≈"):
        text = text.replace(f" {sign}", f"\u00a0{sign}").replace(f"\u00a0{sign} ", f"\u00a0{sign}\u00a0")
    return re.sub(r"\[[-−\d.%]+, [-−\d.%]+\]", lambda found: found[0].replace(" ", "\u00a0"), text)


def _data_uri(svg: bytes) -> str:
    """Return a picture as an address that holds all of it. As an image, it can run no script."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")

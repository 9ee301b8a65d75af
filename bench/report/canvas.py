"""What every figure is drawn on with matplotlib: one style, one palette, the same bytes for the same input.

Colours are those of Okabe and Ito (2008), made for every colour vision; markers differ as well.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report.page import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX<>h*p"
PARENT_GREY = "#767676"
INK = "#1c2128"
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.markersize": 6.0,
    "svg.fonttype": "path",
    "svg.hashsalt": "bench",
    # A label is the reader's text, never a formula.
    "text.parse_math": False,
}
CSS_PX_PER_INCH = 96


@dataclass(frozen=True)
class Drawing:
    """A figure before it is saved."""

    canvas: Canvas
    name: str
    alt: str
    caption: str


def new_canvas(width: float, height: float) -> Canvas:
    """Return an empty canvas of so many inches."""
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(width, height), layout="constrained", facecolor="white")


def one_plot(width: float, height: float) -> tuple[Canvas, Axes]:
    """Return a canvas of so many inches with one pair of axes on it."""
    canvas = new_canvas(width, height)
    return canvas, canvas.subplots()


def saved(drawing: Drawing, prefix: str = "", png: bool = True) -> Figure:
    """Return a drawing as a figure of a page, as SVG and, where asked, as PNG."""
    width = round(drawing.canvas.get_figwidth() * CSS_PX_PER_INCH)
    # In this order, always: the second is laid out from where the first left off.
    svg = _svg(drawing.canvas)
    sharp = _png(drawing.canvas) if png else None
    return Figure(f"{prefix}{drawing.name}", drawing.alt, drawing.caption, svg, sharp, width)


def _png(canvas: Canvas) -> bytes:
    file = io.BytesIO()
    canvas.savefig(file, format="png", metadata={"Software": None}, dpi=2 * CSS_PX_PER_INCH)
    return file.getvalue()


def _svg(canvas: Canvas) -> bytes:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # Not savefig, which goes through all of it once before it draws, to lay out what is laid out anyway.
    file = io.BytesIO()
    FigureCanvasSVG(canvas).print_svg(file, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return file.getvalue()


@contextmanager
def own_style() -> Iterator[None]:
    """Draw from the defaults, so that a user's own style file cannot change the bytes, and with any letters.

    Those that the font does not have become boxes, not warnings.
    """
    from matplotlib import style

    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield

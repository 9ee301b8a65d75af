"""Sheets: many small pictures in a grid, each with a few words under it, as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.report.canvas import INK, Drawing, new_canvas, own_style, saved
from bench.report.page import Figure

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Inches: the sheet, the space between pictures, and a line of words. A phone scrolls so wide a figure, not shrinks it.
WIDTH, GAP, LINE = 8.5, 0.12, 0.165
FONT_POINTS = 9.0
# The width of an average letter, as a part of the font size.
LETTER = 0.56
# A page has its pictures inside it, and dozens of larger ones are megabytes.
MOST_PIXELS = 112
FRAMES = {"right": "#009E73", "wrong": "#D55E00"}


@dataclass(frozen=True)
class Tile:
    """A picture, uint8 [height, width] or [height, width, 3], the lines under it, and whether a model had it right.

    `tone` gives it a frame. The lines should say the same: not everyone sees colours.
    """

    picture: NDArray[np.uint8]
    lines: tuple[str, ...] = ()
    tone: Literal["", "right", "wrong"] = ""


def sheet(name: str, tiles: Sequence[Tile], alt: str, caption: str, columns: int = 6) -> Figure:
    """Return pictures in rows of `columns`, in the order given. Raises ValueError when there is none.

    Each keeps its shape inside a square; a line that is too long for it is cut. `name` is that of the figure's files,
    and `alt` says what there is to be seen.
    """
    if not tiles:
        raise ValueError("a sheet needs a picture")
    edge = (WIDTH - GAP * (columns + 1)) / columns
    lines = max(len(tile.lines) for tile in tiles)
    wide, high = edge + GAP, edge + GAP + LINE * lines
    height = GAP + high * -(-len(tiles) // columns)
    room = int(edge * 72 / (FONT_POINTS * LETTER))
    with own_style():
        canvas = new_canvas(WIDTH, height)
        canvas.set_layout_engine("none")
        axes = canvas.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        for number, tile in enumerate(tiles):
            left, top = GAP + (number % columns) * wide, GAP + (number // columns) * high
            _draw(axes, tile, left, top, edge)
            for at, line in enumerate(tile.lines):
                y = top + edge + 0.04 + at * LINE
                axes.text(left, y, _cut(line, room), fontsize=FONT_POINTS, color=INK, va="top")
        # After the pictures, each of which sets the limits to its own. One unit is one inch, downwards.
        axes.set(xlim=(0, WIDTH), ylim=(height, 0), aspect="auto")
        return saved(Drawing(canvas, name, alt, caption))


def _draw(axes: Axes, tile: Tile, left: float, top: float, edge: float) -> None:
    """Draw a picture in the middle of a square whose upper left corner is given."""
    from matplotlib.patches import Rectangle

    picture = shrunk(tile.picture)
    rows, columns = picture.shape[:2]
    wide, high = edge * columns / max(rows, columns), edge * rows / max(rows, columns)
    x, y = left + (edge - wide) / 2, top + (edge - high) / 2
    look: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if picture.ndim == 2 else {}
    axes.imshow(picture, extent=(x, x + wide, y + high, y), interpolation="none", **look)
    colour = FRAMES.get(tile.tone, "#c4c9cf")
    axes.add_patch(Rectangle((x, y), wide, high, fill=False, edgecolor=colour, linewidth=2.0 if tile.tone else 0.6))


def shrunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture of at most MOST_PIXELS an edge."""
    import numpy as np
    from PIL import Image

    longest = max(picture.shape[:2])
    if longest <= MOST_PIXELS:
        return picture
    high, wide = (max(1, round(edge * MOST_PIXELS / longest)) for edge in picture.shape[:2])
    smaller: NDArray[np.uint8] = np.asarray(Image.fromarray(picture).resize((wide, high), Image.Resampling.BOX))
    return smaller


def _cut(line: str, room: int) -> str:
    return line if len(line) <= room else f"{line[: room - 1]}…"

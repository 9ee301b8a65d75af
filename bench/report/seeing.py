"""Where the best model of each data set looks: its answers under maps or shades, held against random weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.best import best
from bench.report.page import Block, Figure, Heading, Paragraph, Span
from bench.report.reading import reading
from bench.report.sheet import Tile, sheet
from bench.report.study import Line, Section, Study, value
from bench.report.units import metric
from bench.shelf import Explained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.record import Record

# How much of a picture the colour of a map hides where it is strongest.
COVER = 0.65
COLOURS = "inferno"


def seeing(study: Study, found: Sequence[Section]) -> list[Block]:
    """Return the section of a study whose suite asks for it, or nothing.

    It is a pure function of what a run has left beside the records (`bench.shelf.Explained`).
    """
    asked = study.suite.get("report") or {}
    if asked.get("explain", "none") == "none" or study.shelf is None:
        return []
    own = [r for r in study.records if r.cell_id not in study.parents]
    by_id = {r.cell_id: r for r in own}
    chosen = best((r.cell, value(r, f"metrics.{study.primary}") if r.status == "ok" else None) for r in own)
    blocks: list[Block] = []
    for number, (_, cell) in enumerate(chosen.values(), 1):
        section, line = next((s, ln) for s in found for ln in s.lines if any(r.cell_id == cell.id for r in ln.records))
        blocks += [Heading(section.dataset, 3)] if len(chosen) > 1 else []
        blocks += _one(study, by_id[cell.id], section, line, f"{number}-" if len(chosen) > 1 else "")
    return [Heading("Seeing"), *blocks] if blocks else []


def _one(study: Study, record: Record, section: Section, line: Line, prefix: str) -> list[Block]:
    """Return what there is to be seen of one cell."""
    assert study.shelf is not None
    seen = study.shelf.explained(record.cell_id)
    who = f"{line.label} on {section.backbone}, n = {record.cell.size}, seed {record.cell.seed}"
    cell = Span(record.cell_id, "code", (record.cell_id,))
    if seen is None:
        told = f"Of {who}, the best cell, it is not kept where it looks: {study.command} finds it out. Its id is "
        return [Paragraph((Span(told), cell, Span(".")), "note")]
    if seen.reason is not None:
        return [
            Paragraph((Span(f"Of {who} it cannot be shown where it looks: {seen.reason}. Its id is "), cell), "note")
        ]
    score = f"{metric(study.primary)} {value(record, f'metrics.{study.primary}'):.3f} on test"
    told = (
        f"The one cell with the highest {metric(study.primary)} is looked at, so its score is a little flattered: "
        f"{who} ({score}), cell "
    )
    how, shown = VIEWS[seen.modality](seen, prefix)
    return [Paragraph((Span(told), cell, Span(f". {how}"))), *shown]


def _pictures(seen: Explained, prefix: str) -> tuple[str, list[Block]]:
    """Return how it is seen where a model looks in pictures, and these."""
    rows, columns = seen.about["grid"]
    how = (
        f"The bright places of a map are where the logit of a class comes from (Grad-CAM at {seen.about['place']}, "
        f"{rows} x {columns} places): they say where the model looked, not that it was right to."
    )
    return how, [*_sheets(seen, prefix), *_tried(seen, prefix)]


def _sheets(seen: Explained, prefix: str) -> list[Figure]:
    """Return the sheets of what was right and of what was wrong."""
    right = seen.arrays["predicted"] == seen.arrays["labels"]
    found = []
    for name, wanted in (("right", True), ("wrong", False)):
        tiles = [tile for i in range(len(right)) if right[i] == wanted for tile in _tiles(seen, i)]
        if tiles:
            alt = f"Test pictures that the model had {name}, each beside the same with Grad-CAM laid over it."
            classes = "the class that it named" + ("" if wanted else ", and for the true one")
            caption = (
                f"Test pictures that it had {name}, with the class, its confidence, and where it looked for {classes}."
            )
            found.append(sheet(f"{prefix}seeing-{name}", tiles, alt, caption, 6))
    return found


def _tiles(seen: Explained, i: int) -> list[Tile]:
    """Return the tiles of one example: the picture, and the maps of the predicted and, if another, the true class."""
    arrays, classes = seen.arrays, seen.about["classes"]
    said, true = classes[int(arrays["predicted"][i])], classes[int(arrays["labels"][i])]
    tone = "right" if said == true else "wrong"
    picture, maps = arrays["pictures"][i], arrays["maps"][i]
    words = (f"true: {true}", f"says: {said}", f"confidence: {float(arrays['confidence'][i]):.2f}")
    tiles = [
        Tile(picture, words, "right" if tone == "right" else "wrong"),
        Tile(overlaid(picture, maps[0]), (f"for {said}",)),
    ]
    return tiles if said == true else [*tiles, Tile(overlaid(picture, maps[1]), (f"for {true}", "(the true class)"))]


def _tried(seen: Explained, prefix: str) -> list[Block]:
    """Return the test by random weights: the maps as more and more of the network is drawn anew."""
    arrays, levels = seen.arrays, seen.about["levels"]
    tiles = []
    for i in range(arrays["drawn"].shape[1]):
        picture = arrays["pictures"][i]
        tiles += [Tile(picture), Tile(overlaid(picture, arrays["maps"][i][0]), ("as trained",))]
        for level, name in enumerate(levels):
            agreement = f"agreement {_number(float(arrays['agreement'][level][i]))}"
            tiles.append(Tile(overlaid(picture, arrays["drawn"][level][i]), (f"anew: {name}", agreement)))
    if not tiles:
        return []
    last = [float(a) for a in arrays["agreement"][-1] if math.isfinite(a)]
    told = f"Do the maps show what was learnt? With {levels[-1]} drawn at random " + (
        f"they agree with those above by {sum(last) / len(last):.2f} in the mean" if last else "they are flat"
    )
    note = ". Agreement is the rank correlation of two maps: 1 for the same, 0 for nothing in common. Maps that stayed "
    note += "the same would show edges of the picture, and nothing of the model (Adebayo et al., 2018)."
    alt = "The same pictures with Grad-CAM of the trained network, and of networks with random weights in its place."
    caption = "Grad-CAM as trained, and with weights drawn anew from the head downwards."
    figure = sheet(f"{prefix}seeing-random", tiles, alt, caption, 2 + len(levels))
    return [Paragraph((Span(told + note),)), figure]


def _number(x: float) -> str:
    return f"{x:.2f}" if math.isfinite(x) else "none"


def overlaid(picture: NDArray[np.uint8], heat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture, uint8 [edge, edge] or [edge, edge, 3], in grey under the colours of a map of its size."""
    import numpy as np
    from matplotlib import colormaps

    grey = picture.mean(axis=2) if picture.ndim == 3 else picture.astype(float)
    colours = colormaps[COLOURS](heat)[..., :3] * 255
    cover = (heat / 255 * COVER)[..., None]
    mixed: NDArray[np.uint8] = np.rint(grey[..., None] * (1 - cover) + colours * cover).astype(np.uint8)
    return mixed


# How it is shown what a model goes by, by what it looks at.
VIEWS: Mapping[str, Callable[[Explained, str], tuple[str, list[Block]]]] = {"image": _pictures, "text": reading}

"""The figures of one classifier's predictions: confusions, calibration, ROC, precision and recall."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.quality.bootstrap import wilson
from bench.quality.probabilities import ECE_BINS, expected_calibration_error, reliability
from bench.report.canvas import COLOURS, INK, PARENT_GREY, Drawing, new_canvas, one_plot, own_style, saved
from bench.report.page import Figure
from bench.report.units import listing

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from bench.quality.confusion import Counts
    from bench.quality.curves import Curve, Operating

WIDTH, HEIGHT = 6.0, 4.9
# Of more classes there are no numbers in the squares, and of many more no names beside them.
MOST_NUMBERED, MOST_NAMED, LETTERS = 20, 40, 18
# Of more classes only the worst have a colour and a name.
MOST_COLOURED, WORST = 7, 3


def confusions(counts: Counts, classes: Sequence[str], prefix: str) -> Figure:
    """Return the confusion matrix: colours are parts of the true class, numbers are examples."""
    import numpy as np

    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    edge = min(max(WIDTH, 0.3 * len(classes) + 2.6), 9.0)
    with own_style():
        canvas, axes = one_plot(edge, max(HEIGHT, edge - 0.9))
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.grid(False)
        if len(classes) <= MOST_NUMBERED:
            size = 10.0 if len(classes) <= 10 else 7.0
            for (true, said), count in np.ndenumerate(counts):
                if count:
                    ink = "white" if share[true, said] > 0.55 else INK
                    axes.text(said, true, str(count), ha="center", va="center", fontsize=size, color=ink)
        if len(classes) <= MOST_NAMED:
            size = 10.0 if len(classes) <= 12 else 8.0
            names = [_short(name) for name in classes]
            axes.set_xticks(range(len(classes)), names, rotation=45, ha="right", fontsize=size)
            axes.set_yticks(range(len(classes)), names, fontsize=size)
        axes.set(xlabel="predicted", ylabel="true class")
        canvas.colorbar(image, label="part of the true class", shrink=0.8)
        right = int(np.trace(counts))
        alt = (
            f"Confusion matrix of {len(classes)} classes: {right} of {int(counts.sum())} test examples on the diagonal."
        )
        caption = "What was taken for what. Colours are parts of the true class (of a row)"
        caption += "; numbers are test examples." if len(classes) <= MOST_NUMBERED else "."
        return saved(Drawing(canvas, "confusion", alt, caption), prefix)


def calibration(versions: Mapping[str, NDArray[np.float64]], labels: NDArray[np.int64], prefix: str) -> Figure:
    """Return the reliability diagram of probabilities [n, classes], each under the words for it; the first has bars."""
    with own_style():
        canvas = new_canvas(WIDTH, HEIGHT)
        top, bottom = canvas.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], color=PARENT_GREY, linewidth=1, linestyle=":")
        told = []
        for number, (name, probabilities) in enumerate(versions.items()):
            found, error = reliability(probabilities, labels), expected_calibration_error(probabilities, labels)
            held = found.counts > 0
            x, y = found.confidence[held], found.accuracy[held]
            look: dict[str, Any] = {"color": COLOURS[number], "linestyle": ("-", "--")[number % 2]}
            label = f"{name}: ECE {error:.3f}"
            if number == 0:
                bounds = [wilson(round(share * n), int(n)) for share, n in zip(y, found.counts[held], strict=True)]
                low = [max(share - b.low, 0.0) for share, b in zip(y, bounds, strict=True) if b]
                high = [max(b.high - share, 0.0) for share, b in zip(y, bounds, strict=True) if b]
                top.errorbar(x, y, yerr=[low, high], fmt="none", capsize=2, elinewidth=1, ecolor=COLOURS[0])
                top.plot(x, y, marker="o", label=label, **look)
                edges = [k / ECE_BINS for k in range(ECE_BINS)]
                bottom.bar(edges, found.counts, width=1 / ECE_BINS, align="edge", color=COLOURS[number], alpha=0.7)
            else:
                top.plot(x, y, marker="s", markersize=4, label=label, **look)
            told.append(label)
        top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
        top.legend(loc="upper left", fontsize=9.5)
        bottom.set(xlabel="confidence in the top class", ylabel="examples")
        alt = f"Reliability diagram: accuracy against confidence in {ECE_BINS} bins. {listing(told)}."
        caption = (
            f"Calibration: on the dotted line confidence is accuracy, below it the model is too sure. {ECE_BINS} bins "
            "of equal width; bars are 95 % intervals (Wilson); below, how many examples are in a bin."
        )
        return saved(Drawing(canvas, "calibration", alt, caption), prefix)


def roc(curves: Mapping[str, tuple[Curve, float, float]], marked: Mapping[str, Operating], prefix: str) -> Figure:
    """Return the ROC curves of classes, each with its AUROC and AUPRC, and operating points on test."""
    points = {name: (1 - at.specificity, at.sensitivity) for name, at in marked.items()}
    return _curves(
        {name: (c.false_positive_rate, c.sensitivity, area) for name, (c, area, _) in curves.items()},
        lambda axes, x, y, look: axes.plot(x, y, **look),
        points, "roc", ("false positive rate (1 − specificity)", "sensitivity"), "AUROC", prefix,
    )  # fmt: skip


def precision_recall(
    curves: Mapping[str, tuple[Curve, float, float]], marked: Mapping[str, Operating], prefix: str
) -> Figure:
    """Return precision against recall, as steps: between two points there is no straight line."""
    points = {name: (at.sensitivity, at.precision) for name, at in marked.items()}
    return _curves(
        {name: (c.sensitivity, c.precision, area) for name, (c, _, area) in curves.items()},
        lambda axes, x, y, look: axes.step(x, y, where="pre", **look),
        points, "precision-recall", ("sensitivity (recall)", "precision"), "AUPRC", prefix,
    )  # fmt: skip


def _curves(
    lines: Mapping[str, tuple[Any, Any, float]],
    draw: Callable[[Axes, Any, Any, dict[str, Any]], Any],
    marked: Mapping[str, tuple[float, float]],
    name: str,
    titles: tuple[str, str],
    area: str,
    prefix: str,
) -> Figure:
    """Draw a line for each class: all in colours, or of many the worst alone."""
    ranked = sorted(lines, key=lambda one: lines[one][2])
    bright = list(lines) if len(lines) <= MOST_COLOURED else ranked[:WORST]
    with own_style():
        canvas, axes = one_plot(WIDTH, HEIGHT)
        grey: dict[str, Any] = {"color": "#bcc2c9", "linewidth": 1, "label": f"the other {len(lines) - len(bright)}"}
        for one in (x for x in lines if x not in bright):
            draw(axes, *lines[one][:2], grey)
            grey.pop("label", None)
        for number, one in enumerate(bright):
            look = {"color": COLOURS[number], "label": f"{_short(one, 24)}: {lines[one][2]:.3f}"}
            draw(axes, *lines[one][:2], look)
        for (label, (x, y)), marker in zip(marked.items(), "o^sD", strict=False):
            if not math.isnan(x + y):
                axes.plot([x], [y], marker, color=INK, markersize=7, label=label)
        if name == "roc":
            axes.plot([0, 1], [0, 1], color=PARENT_GREY, linewidth=1, linestyle=":")
        axes.set(xlim=(-0.01, 1.01), ylim=(0, 1.02), xlabel=titles[0], ylabel=titles[1])
        legend: dict[str, Any] = {"fontsize": 9.5, "frameon": True, "framealpha": 0.8, "edgecolor": "none"}
        axes.legend(loc="lower right" if name == "roc" else "lower left", **legend)
        lowest = ranked[0]
        alt = f"{titles[1].capitalize()} against {titles[0]} for {listing([_short(one, 24) for one in bright])}"
        alt += f"; lowest {area} {lines[lowest][2]:.3f} ({lowest})."
        caption = (
            f"{'ROC' if name == 'roc' else 'Precision against recall'}, each class against the rest, with its {area}."
        )
        caption += f" In colour are the {WORST} lowest of {len(lines)}." if len(bright) < len(lines) else ""
        return saved(Drawing(canvas, name, alt, caption), prefix)


def _short(text: str, room: int = LETTERS) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"

"""The evaluation of one trained classifier, from its stored predictions: how good, how sure, at which threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bench.quality.bootstrap import DRAWS, Interval, drawn_areas, drawn_margins, draws_of_areas, interval
from bench.quality.confusion import by_class, confusion, margins, overall
from bench.quality.curves import Operating, at_specificity, curve, one_against_rest, operating, youden
from bench.quality.probabilities import (
    expected_calibration_error,
    negative_log_likelihood,
    softmax,
    temperature,
)
from bench.report import diagrams
from bench.report.page import Block, Figure, Fold, Notes, Paragraph, Span, Table
from bench.report.units import MISSING, seeds, significant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.report.chosen import Chosen
    from bench.shelf import Answers, Predictions

SPECIFICITY = 0.95
# A table of more classes is opened by the reader, and of very many there are no figures of each class.
MOST_OPEN, MOST_DRAWN = 12, 100
NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy (mean sensitivity)",
    "macro_specificity": "mean specificity",
    "macro_f1": "macro-F1",
    "weighted_f1": "weighted F1",
    "mcc": "Matthews correlation",
}
AREAS = {"auroc": "AUROC, one against the rest, mean", "auprc": "AUPRC, one against the rest, mean"}
NO_WIDTH = "no draw changed it: the interval has no width, which with few mistakes is no certainty"


@dataclass(frozen=True)
class Evaluated:
    """A cell that is looked at, its predictions of one round, and what follows from them."""

    chosen: Chosen
    predictions: Predictions

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in label order."""
        return self.predictions.classes[0]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The true classes of the test examples, int64 [n]."""
        return self.predictions.labels

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """What the model gives each class, float [n, classes]."""
        return softmax(self.predictions.logits)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The likeliest class of each, int64 [n]."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return likeliest

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether that is the true one, bool [n]."""
        answer: NDArray[np.bool_] = self.predicted == self.labels
        return answer

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """What was taken for what, int64 [true, predicted]."""
        return confusion(self.labels, self.predicted, len(self.classes))

    @cached_property
    def areas(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """AUROC and AUPRC of each class, float [classes]; nan where they are not defined."""
        roc, pr = one_against_rest(self.labels, self.probabilities)
        return roc[0], pr[0]

    @cached_property
    def drawn_areas(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same of bootstrap draws, float [draws, classes]."""
        return drawn_areas(self.labels, self.probabilities, self.draws_of_areas)

    @property
    def draws_of_areas(self) -> int:
        """How many draws those are."""
        return draws_of_areas(len(self.labels), len(self.classes))

    @cached_property
    def why(self) -> str:
        """Why a metric over all classes may not be defined."""
        absent = [name for name, n in zip(self.classes, self.counts.sum(axis=1), strict=True) if n == 0]
        if absent:
            others = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            return f"there is no test example of the class {absent[0]!r}{others}"
        return "all test examples, or all predictions, are of one class"


def evaluation(of: Evaluated, prefix: str) -> list[Block]:
    """Return the tables and figures of an evaluation."""
    blocks: list[Block] = [_introduction(of), _overall(of)]
    report = _report(of)
    many = len(of.classes) > MOST_OPEN
    blocks.append(Fold(f"Classification report of {len(of.classes)} classes", (report,)) if many else report)
    marked: Mapping[str, Operating] = {}
    if len(of.classes) == 2:
        table, marked = _thresholds(of)
        blocks.append(table)
    cooled, told = _temperature(of)
    blocks += told
    return [*blocks, *_figures(of, marked, cooled, prefix)]


def _introduction(of: Evaluated) -> Paragraph:
    cell, n = of.chosen, len(of.labels)
    count = len([r for r in cell.line.at(cell.size) if r.status == "ok"])
    which = f", the median of {seeds(count)}" if count > 1 else ""
    fewer = "" if of.draws_of_areas == DRAWS else f" ({of.draws_of_areas or 'none'} for the areas under curves)"
    return Paragraph(
        (
            Span("One trained model, looked at closer: "),
            Span(cell.told, "strong", (cell.record.cell_id,)),
            Span(
                f"{which}. It is the best on test, as in the answer, so that its own score flatters it a little. "
                f"Intervals are 95 % percentiles over {DRAWS:,} draws{fewer} of the {n:,} test examples, stratified by "
                "class: they say how much hangs on these examples, not what another seed would give."
            ),
        )
    )


def _overall(of: Evaluated) -> Table:
    """Return the metrics over all classes, with their intervals."""
    notes = Notes()
    found, drawn = overall(margins(of.counts)), overall(drawn_margins(of.counts))
    rows = [(NAMES[name], float(found[name]), interval(drawn[name])) for name in NAMES]
    for title, one, many in zip(AREAS.values(), of.areas, of.drawn_areas, strict=True):
        rows.append((title, float(one.mean()), interval(many.mean(axis=1))))
    made = [
        (Span(title), Span(_number(value, of.why, notes)), Span(_range(value, held, notes)))
        for title, value, held in rows
    ]
    nll = negative_log_likelihood(of.predictions.logits, of.labels)
    ece = expected_calibration_error(of.probabilities, of.labels)
    made += [(Span(title), Span(f"{x:.3f}"), Span(MISSING)) for title, x in (("NLL (nats)", nll), ("ECE", ece))]
    caption = f"One trained model on {len(of.labels):,} test examples."
    return Table("evaluation", ("metric", "value", "95 % interval"), tuple(made), 1, caption, tuple(notes.texts))


def _report(of: Evaluated) -> Table:
    """Return the classification report: each class against the rest."""
    notes = Notes()
    found, drawn = by_class(margins(of.counts)), by_class(drawn_margins(of.counts))
    columns = {
        "precision": (found.precision, drawn.precision),
        "sensitivity": (found.sensitivity, drawn.sensitivity),
        "specificity": (found.specificity, drawn.specificity),
        "F1": (found.f1, drawn.f1),
        "AUROC": (of.areas[0], of.drawn_areas[0]),
        "AUPRC": (of.areas[1], of.drawn_areas[1]),
    }
    support, called = of.counts.sum(axis=1), of.counts.sum(axis=0)
    rows = []
    for c, title in enumerate(of.classes):
        if not support[c]:
            why = f"there is no test example of the class {title!r}"
        elif not called[c]:
            why = f"{title!r} is never predicted"
        else:
            why = f"all test examples are of the class {title!r}"
        texts = [
            _number(float(values[c]), why, notes) + _brackets(float(values[c]), interval(many[:, c]))
            for values, many in columns.values()
        ]
        rows.append((Span(title), *(Span(text) for text in texts), Span(f"{support[c]:,}")))
    head = ("class", *columns, "n")
    caption = "Classification report: each class against the rest, with 95 % intervals. Sensitivity is recall."
    return Table("classes", head, tuple(rows), 1, caption, tuple(notes.texts))


def _thresholds(of: Evaluated) -> tuple[Table, dict[str, Operating]]:
    """Return what thresholds do on test, which are chosen on validation or are 0.5, and the same for the figures."""
    positive, scores = of.labels == 1, of.probabilities[:, 1]
    rules = {"0.5": 0.5}
    held, why = of.predictions.validation, "no validation set was held out (recipe: selection: best_val)"
    if held is not None:
        true, given = held.labels == 1, softmax(held.logits)[:, 1]
        if true.all() or not true.any():
            why = "all validation examples are of one class"
        else:
            rules["Youden"] = youden(true, given)
            rules[f"specificity {SPECIFICITY:g}"] = at_specificity(true, given, SPECIFICITY)
            why = ""
    marked = {name: operating(positive, scores, threshold) for name, threshold in rules.items()}
    rows = []
    for name, at in marked.items():
        shares = (
            (at.sensitivity, at.hits, at.misses),
            (at.specificity, at.rejections, at.false_alarms),
            (at.precision, at.hits, at.false_alarms),
        )
        texts = [MISSING if math.isnan(x) else f"{x:.3f} ({a} of {a + b})" for x, a, b in shares]
        rows.append((Span(name), Span(f"{rules[name]:.3f}"), *(Span(text) for text in texts)))
    caption = f"At a threshold on the probability of {of.classes[1]!r}, which is the positive class. "
    if why:
        caption += f"Threshold 0.5: {why}."
    else:
        assert held is not None
        caption += (
            f"Thresholds were chosen on the {len(held.labels)} validation examples: the largest sensitivity + "
            f"specificity (Youden), and the largest sensitivity at {SPECIFICITY:.0%} specificity. Shares are of test."
        )
    head = ("rule", "threshold", "sensitivity", "specificity", "precision")
    return Table("thresholds", head, tuple(rows), 1, caption), marked


def _temperature(of: Evaluated) -> tuple[dict[str, NDArray[np.float64]], list[Block]]:
    """Return probabilities at the temperature that validation says, under words for them, and what it does."""
    held: Answers | None = of.predictions.validation
    if held is None:
        return {}, []
    if (held.logits.argmax(axis=1) == held.labels).all():
        words = f"Temperature scaling: none is the best, all {len(held.labels)} validation examples are right."
        return {}, [Paragraph((Span(words),))]
    warmth = temperature(held.logits, held.labels)
    cooled = softmax(of.predictions.logits / warmth)
    before, after = (expected_calibration_error(p, of.labels) for p in (of.probabilities, cooled))
    words = (
        f"Temperature scaling: T = {significant(warmth)} fits the {len(held.labels)} validation examples best, and "
        f"changes the ECE on test from {before:.3f} to {after:.3f}. No prediction changes."
    )
    return {f"at temperature {significant(warmth)}": cooled}, [Paragraph((Span(words),))]


def _figures(
    of: Evaluated, marked: Mapping[str, Operating], cooled: Mapping[str, NDArray[np.float64]], prefix: str
) -> list[Figure]:
    """Return the figures; of very many classes, calibration alone."""
    drawn = [diagrams.calibration({"as trained": of.probabilities, **cooled}, of.labels, prefix)]
    if len(of.classes) > MOST_DRAWN:
        return drawn
    shown: Sequence[int] = [1] if len(of.classes) == 2 else range(len(of.classes))
    curves = {
        of.classes[c]: (curve(of.labels == c, of.probabilities[:, c]), float(of.areas[0][c]), float(of.areas[1][c]))
        for c in shown
        if not math.isnan(of.areas[0][c])
    }
    lines = [diagrams.roc(curves, marked, prefix), diagrams.precision_recall(curves, marked, prefix)] if curves else []
    return [diagrams.confusions(of.counts, of.classes, prefix), *drawn, *lines]


def _number(value: float, why: str, notes: Notes) -> str:
    return f"{MISSING} {notes.mark(why)}" if math.isnan(value) else f"{value:.3f}"


def _range(value: float, held: Interval | None, notes: Notes) -> str:
    if math.isnan(value) or held is None:
        return MISSING
    text = f"{held.low:.3f} to {held.high:.3f}"
    return text if held.low < held.high else f"{text} {notes.mark(NO_WIDTH)}"


def _brackets(value: float, held: Interval | None) -> str:
    return "" if math.isnan(value) or held is None else f" [{held.low:.2f}, {held.high:.2f}]"

"""Which backbone: what scores without training said, what training showed, and how well the one foretold the other."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.record import Record
from bench.report.page import Block, Heading, Span, Table
from bench.report.study import Section, Study
from bench.report.units import MISSING, metric, sentence, signed, significant

NAMES = {
    "log_me": "LogME",
    "h_score": "H-score",
    "h_score_shrunk": "H-score, shrunk",
    "leep": "LEEP",
    "nce": "NCE",
    "nearest_neighbours": "5 nearest neighbours",
    "linear_probe": "linear probe",
}


@dataclass(frozen=True)
class _Entry:
    """A backbone on one data set at one size: means over seeds of its scores, their seconds, and what it reached.

    `reached` is the best mean of a strategy that trained from its pretrained weights, `spent` the standalone seconds
    of all of them.
    """

    backbone: str
    scores: Mapping[str, float]
    seconds: Mapping[str, float]
    reached: float | None
    spent: float


def blocks(study: Study, found: Sequence[Section]) -> list[Block]:
    """Return the tables of scores, and of how well they foretold; nothing where no cell has scores."""
    groups: dict[tuple[str, int], list[_Entry]] = {}
    for section in found:
        for size in section.sizes:
            entry = _entry(section, size, study.primary)
            if entry is not None:
                groups.setdefault((section.dataset, size), []).append(entry)
    if not groups:
        return []
    graded = _graded(groups, study.primary)
    tables = [_said(groups, study.primary), *([graded] if graded is not None else [])]
    return [Heading("Which backbone, without training", 2), *tables]


def _scores(record: Record, key: str) -> Mapping[str, float]:
    return next((said[key] for said in record.details.get("decided", ()) if key in said), {})


def _entry(section: Section, size: int, primary: str) -> _Entry | None:
    done = [(line, ok) for line in section.lines if (ok := [r for r in line.at(size) if r.status == "ok"])]
    scored = [r for _, ok in done for r in ok if _scores(r, "scores")]
    if not scored:
        return None
    trained = [
        (line, ok) for line, ok in done if ok[0].cell.backbone["weights"] != "random" and not _scores(ok[0], "scores")
    ]
    reached = [statistics.mean(held) for line, _ in trained if (held := line.values(size, f"metrics.{primary}"))]
    every = [r for _, ok in trained for r in ok]
    return _Entry(
        section.backbone,
        _mean([_scores(r, "scores") for r in scored]),
        _mean([_scores(r, "score_seconds") for r in scored]),
        max(reached, default=None),
        sum(r.seconds.standalone or 0.0 for r in every) / max(len({r.cell.seed for r in every}), 1),
    )


def _mean(given: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for each in given for name in each)
    return {name: statistics.mean(each[name] for each in given if name in each) for name in names}


def _names(groups: Mapping[tuple[str, int], Sequence[_Entry]]) -> list[str]:
    return list(dict.fromkeys(name for held in groups.values() for entry in held for name in entry.scores))


def _said(groups: Mapping[tuple[str, int], Sequence[_Entry]], primary: str) -> Table:
    """Return each backbone's scores beside what it reached, on each data set and at each size."""
    names, rows = _names(groups), []
    for (dataset, size), held in groups.items():
        best = {name: max(entry.scores.get(name, float("-inf")) for entry in held) for name in names}
        top = max((entry.reached for entry in held if entry.reached is not None), default=None)
        for entry in held:
            told = [Span(dataset), Span(str(size)), Span(entry.backbone)]
            reached = MISSING if entry.reached is None else f"{entry.reached:.3f}"
            told.append(Span(reached, "strong" if len(held) > 1 and entry.reached == top else ""))
            for name in names:
                score = entry.scores.get(name)
                strong = len(held) > 1 and score == best[name]
                told.append(Span(MISSING if score is None else signed(score), "strong" if strong else ""))
            rows.append(tuple(told))
    head = ("data", "n", "backbone", metric(primary), *(NAMES.get(name, name) for name in names))
    caption = (
        "Scores of the frozen backbone on the training examples, means over seeds, higher is better; "
        f"{metric(primary)} is the best mean on test of a strategy that trained from its weights. The highest of a "
        "data set and size in bold."
    )
    return Table("transferability", head, tuple(rows), 3, caption)


def _graded(groups: Mapping[tuple[str, int], Sequence[_Entry]], primary: str) -> Table | None:
    """Return how well each score foretold which backbone would do best; None under two backbones with results."""
    rows, trained, cases = [], 0.0, 0
    for name in _names(groups):
        held = [[e for e in entries if e.reached is not None and name in e.scores] for entries in groups.values()]
        held = [entries for entries in held if len(entries) > 1]
        if not held:
            continue
        cases = max(cases, len(held))
        trained = statistics.mean(sum(e.spent for e in entries) for entries in held)
        ranks = [_weighted_tau(entries, name) for entries in held if len(entries) > 2]
        known = [tau for tau in ranks if tau is not None]
        lost = [_lost(entries, name) for entries in held]
        hits = sum(each == 0 for each in lost)
        seconds = statistics.mean(sum(e.seconds[name] + e.seconds["features"] for e in entries) for entries in held)
        rows.append(
            (
                Span(NAMES.get(name, name)),
                Span(signed(statistics.mean(known), 2) if known else MISSING),
                Span(f"{signed(min(known), 2)} to {signed(max(known), 2)}" if known else MISSING),
                Span(f"{hits} of {len(held)}"),
                Span(f"{statistics.mean(lost):.3f}"),
                Span(significant(seconds, 2)),
            )
        )
    if not rows:
        return None
    most = max(len(entries) for entries in groups.values())
    caption = (
        f"How well a score foretold the {metric(primary)} of up to {most} backbones, over {cases} "
        f"{'case' if cases == 1 else 'cases'} (a data set at a size): Kendall's rank correlation weighted towards the "
        "best (Vigna, 2015), how often the backbone with the highest score was the best, and the "
        f"{metric(primary)} lost by taking it. Seconds are those of all backbones, the pass for their features too; "
        f"training them by every strategy took {significant(trained, 2)} s a seed. "
        f"{sentence(_few(most, cases))}"
    )
    head = ("score", "weighted τ", "range", "best found", "lost", "seconds")
    return Table("foretold", head, tuple(rows), 1, caption)


def _few(backbones: int, cases: int) -> str:
    """Say what so few backbones can tell."""
    return f"ranks of {backbones} backbones say little one by one; read the mean over the {cases}."


def _weighted_tau(entries: Sequence[_Entry], name: str) -> float | None:
    """Return the weighted tau of a score and what was reached; None where one of them is the same for all."""
    from scipy.stats import weightedtau

    scores, reached = [e.scores[name] for e in entries], [e.reached for e in entries]
    if len(set(scores)) < 2 or len(set(reached)) < 2:
        return None
    return float(weightedtau(scores, reached).statistic)


def _lost(entries: Sequence[_Entry], name: str) -> float:
    """Return how much better than the backbone with the highest score the best one was."""
    reached = [e.reached for e in entries if e.reached is not None]
    chosen = max(entries, key=lambda e: e.scores[name])
    return max(reached) - (chosen.reached or 0.0)

"""The results in words: a Markdown page and a figure, made from the stored json alone.

`python -m tests.benchmarks.table reports/benchmarks/cpu-2-cores.json` writes both beside the json again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.compare.statistics import paired, summarise
from bench.report.units import listing

# Accuracies are equal when the mean paired difference is not told from 0 by its 95 % interval, or is at most NEAR; and
# never when it is more than FAR. Less than ROUNDING is the arithmetic's.
NEAR, FAR, ROUNDING = 0.01, 0.05, 1e-9
NAMES = {
    "naive": "textbook",
    "tuned": "tuned textbook",
    "lightning": "Lightning",
    "sklearn": "scikit-learn",
    "trainer": "Trainer",
    "tuned_trainer": "tuned Trainer",
    "ours": "harness",
}
# Those in the figure: scripts of the same method.
COLOURS = {"naive": "#0b6e99", "tuned": "#9bb8c4", "trainer": "#0b6e99", "tuned_trainer": "#9bb8c4"}
HEAD = (
    "strategy", "n", "rounds", "against", "accuracy", "theirs", "seconds", "theirs", "times as fast", "with set-up",
    "target", "goal", "met",
)  # fmt: skip


@dataclass(frozen=True)
class Ratio:
    """How many times as fast: the ratio of the medians, and the lowest and highest ratio of a round."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_times(self.median)} ({_times(self.low)} to {_times(self.high)})"


def equal(ours: Mapping[int, float], theirs: Mapping[int, float]) -> bool:
    """Say whether two sides reach the same accuracy, given by seed (or by cell): no ratio without it."""
    difference = paired(ours, theirs)
    if difference is None or abs(difference.mean) > FAR + ROUNDING:
        return False
    if abs(difference.mean) <= NEAR + ROUNDING:
        return True
    return difference.low is not None and difference.high is not None and difference.low <= 0 <= difference.high


def accuracies(info: Mapping[str, Any], side: str) -> dict[int, float]:
    """Return the accuracy of each round of a side, by the round's key."""
    return {run["key"]: run["accuracy"] for run in info["runs"] if run["side"] == side}


def others(info: Mapping[str, Any]) -> list[str]:
    """Return the sides beside the harness, in the order of `NAMES`."""
    return [side for side in NAMES if side != "ours" and any(run["side"] == side for run in info["runs"])]


def differing(info: Mapping[str, Any]) -> list[str]:
    """Return a line for each side whose accuracy is not the harness's."""
    ours = accuracies(info, "ours")
    return [
        f"{NAMES[side]}: accuracies differ: {_accuracy(ours)} vs {_accuracy(theirs)}"
        for side in others(info)
        if not equal(ours, theirs := accuracies(info, side))
    ]


def ratio(info: Mapping[str, Any], side: str, clock: str = "work") -> Ratio:
    """Return the ratio of a side's seconds to the harness's on one clock."""
    theirs, ours = (seconds(info, who, clock) for who in (side, "ours"))
    each = [theirs[key] / ours[key] for key in ours if key in theirs]
    return Ratio(median(theirs.values()) / median(ours.values()), min(each), max(each))


def seconds(info: Mapping[str, Any], side: str, clock: str) -> dict[int, float]:
    """Return a side's seconds on one clock, by the round's key; a matrix is one round, the sum of its cells."""
    found: dict[int, float] = {}
    for run in info["runs"]:
        if run["side"] == side:
            key = 0 if info["kind"] == "matrix" else run["key"]
            found[key] = found.get(key, 0.0) + run["seconds"][clock]
    return found


def render(data: Mapping[str, Any]) -> str:
    """Return the page: a pure function of what was stored."""
    known = [b for b in data["benchmarks"] if "runs" in b["extra_info"]]
    lines = ["# The harness beside the textbook way", "", *_environment(data), ""]
    if data["quick"]:
        lines += [
            "**A quick run: it tries the benchmark's own code. Its numbers mean nothing, and no ratio is shown.**",
            "",
        ]
    lines += [*_LEGEND, "", *_method(known)]
    for title, members in _sections(known):
        lines += ["", f"## {title}", "", *_table(HEAD, [row for i in members for row in _rows(i, data["quick"])])]
    overheads = [
        run["seconds"]["overhead"] for b in known for run in b["extra_info"]["runs"] if "overhead" in run["seconds"]
    ]
    if overheads:
        spread = f"median {median(overheads):.2f}, {min(overheads):.2f} to {max(overheads):.2f}"
        lines += [
            "",
            "Wall seconds around a warm run of the harness that are on no clock, evaluation and measuring aside: "
            f"{spread}, in {len(overheads)} runs.",
        ]
    lines += _choices(known)
    for title, head, rows in _OTHERS:
        found = [row for b in data["benchmarks"] for row in rows(b["extra_info"], b["seconds"])]
        if found:
            lines += ["", f"## {title}", "", *_table(head, found)]
    return "\n".join(lines) + "\n"


_LEGEND = [
    "Each round trains every side on one seed, in the order A B, B A, A B: the same first weights, labelled examples,",
    "pixels, order, flips, batch size, epochs, optimiser and schedule. *Textbook* is a DataLoader with PIL transforms",
    "and four workers, in fp32; *tuned* adds what a careful author does (tests/benchmarks/tuned.py). The heads of",
    "feature_extract learn on the features as they are; scikit-learn standardises them, and solves to the end.",
    "",
    "On texts the other side is the transformers library's Trainer with its defaults: fp32, and batches drawn at",
    "random, padded to their longest text. *Tuned* adds batches of like length, and bf16 where that is faster. What is",
    "no default is the recipe's: schedule, decay, label smoothing, no clipping of gradients. A whole encoder learns",
    "from batches of like length in the harness, which draws the same examples in another order.",
    "",
    "*Seconds* are the median over rounds and their range, from the raw examples to the trained model: for the harness",
    "prepare + train + shared, for the others the whole script without building networks; *with set-up* is the ratio",
    "with that in, and with what finding the fastest layout and precision took the harness (its `standalone`) and the",
    "tuned script. Scoring on the test examples is on no clock.",
    "*Times as fast* is the ratio of the medians, with the range of the rounds' own ratios.",
    "",
    "*Accuracy* is the mean over rounds and its standard deviation. No ratio is given where accuracies differ: they",
    "are equal when the mean paired difference is at most 5 points, and either at most 1 point or not told from 0 by",
    "its 95 % interval.",
]


def _sections(known: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return titled groups of the measured cases, in the order in which they were measured."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for benchmark in known:
        info = benchmark["extra_info"]
        where = _where(info)
        drawn = "" if info["weights"] == "pretrained" else f", weights {info['weights']}"
        title = {
            "warm": f"Warm: {where}{drawn}",
            "cold": f"Cold, imports and decoding in: {where}",
            "matrix": f"Whole matrix: {where}{drawn}",
        }[info["kind"]]
        found.setdefault(title, []).append(info)
    return list(found.items())


def _where(info: Mapping[str, Any]) -> str:
    """Return the backbone and what it learnt from; earlier results say the pixels of their pictures alone."""
    return f"{info['backbone']}, {info.get('data') or str(info['resolution']) + ' px'}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _rows(info: Mapping[str, Any], quick: bool) -> list[list[Any]]:
    ours = accuracies(info, "ours")
    rows = []
    for side in others(info):
        theirs = accuracies(info, side)
        target, goal = info["targets"].get(side, (None, None))
        cells = [
            info["strategy"],
            info["n"],
            len(seconds(info, "ours", "work")),
            NAMES[side],
            _accuracy(ours),
            _accuracy(theirs),
            _seconds(seconds(info, "ours", "work")),
            _seconds(seconds(info, side, "work")),
        ]
        if quick:
            cells += ["", "", "", "", ""]
        elif not equal(ours, theirs):
            cells += [
                f"accuracies differ: {_accuracy(ours)} vs {_accuracy(theirs)}",
                "",
                _least(target),
                _least(goal),
                "no",
            ]
        else:
            work = ratio(info, side)
            cells += [
                work,
                _times(ratio(info, side, "total").median),
                _least(target),
                _least(goal),
                _met(work, target, goal),
            ]
        rows.append(cells)
    return rows


def _met(found: Ratio, target: float | None, goal: float | None) -> str:
    if target is None:
        return ""
    if found.median < target:
        return "no"
    return "goal" if goal is not None and found.median >= goal else "yes"


def _environment(data: Mapping[str, Any]) -> list[str]:
    e = data["environment"]
    where = e["gpu"] or f"{e['cpu']}, {e['threads']} threads"
    versions = {**{k: v for k, v in e["packages"].items() if k in ("torch", "torchvision", "timm")}, **data["versions"]}
    days = sorted({b["measured_at"][:10] for b in data["benchmarks"]})
    commit = f"{(e['git_commit'] or 'unknown')[:12]}{', changed since' if e['git_dirty'] else ''}"
    return [
        f"{where}; {e['system']}, Python {e['python']}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; commit {commit}{' of what was measured last' if len(days) > 1 else ''}; measured on {listing(days)}, "
        f"in {sum(b['wall'] for b in data['benchmarks']) / 60:.0f} minutes in all."
    ]


def _method(known: Sequence[Mapping[str, Any]]) -> list[str]:
    found = {(b["extra_info"]["epochs"], b["extra_info"]["test_size"]) for b in known}
    return [f"{epochs} epochs; scored on {tested:,} test examples." for epochs, tested in sorted(found)]


def _choices(known: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the harness and the tuned sides found fastest."""
    lines = []
    for side in ("ours", "tuned", "tuned_trainer"):
        found = {}
        for benchmark in known:
            info = benchmark["extra_info"]
            for run in info["runs"]:
                if run["side"] == side and run["notes"]:
                    found[f"{_where(info)}, {info['strategy']}"] = run["notes"]
        if found:
            lines += ["", f"What the {NAMES[side]} chose: " + "; ".join(f"{k}: {v}" for k, v in found.items()) + "."]
    return lines


def _accuracy(values: Mapping[int, float]) -> str:
    found = summarise(list(values.values()))
    if found is None:
        return "none"
    return f"{found.mean:.3f}" + (f" ± {found.sd:.3f}" if found.sd is not None else "")


def _seconds(values: Mapping[int, float]) -> str:
    middle = f"{median(values.values()):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values.values()):.2f} to {max(values.values()):.2f})"


def _times(value: float) -> str:
    return f"{value:.2f}x" if value < 10 else f"{value:.1f}x"


def _least(value: float | None) -> str:
    return "" if value is None else f"{value:g}x"


def _duration(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def _durations(values: Sequence[float]) -> str:
    middle = _duration(median(values))
    return middle if len(values) == 1 else f"{middle} ({_duration(min(values))} to {_duration(max(values))})"


def _scale(info: Mapping[str, Any], taken: Sequence[float]) -> list[list[Any]]:
    """Return the row of one measurement of the harness's own commands; see test_scale.py."""
    if "scale" not in info:
        return []
    what = info.get("command") or (f"import {info['module']}" if "module" in info else info["scale"])
    taken = info.get("each_seconds", taken)  # of a cell, where a whole run was timed
    peak = f"{info['peak_rss_bytes'] / 1e6:.0f} MB" if info.get("peak_rss_bytes") else ""
    target = info.get("target_seconds")
    met = "" if target is None else "yes" if median(taken) <= target else "no"
    cells = f"{info['cells']:,}" if "cells" in info else ""
    return [
        [what, cells, info.get("cache", ""), _durations(taken), peak, "" if target is None else f"{target:g} s", met]
    ]


def _autotune(info: Mapping[str, Any], _: Sequence[float]) -> list[list[Any]]:
    """Return a row for each recipe: what was chosen and what was best when all were timed; see test_autotune.py."""
    rows = []
    for recipe, verdict in (info["verdicts"] if info.get("kind") == "autotune" else {}).items():
        longer = {k: v for k, v in verdict["longer"].items() if v is not None}
        best, chosen = min(longer, key=lambda k: longer[k]), verdict["chosen"]
        off, where = longer[chosen] / longer[best], f"{_where(info)}, {recipe}"
        took = [_duration(longer[name]) for name in (chosen, best)]
        trial, met = _duration(verdict["trial_seconds"]), "yes" if off <= info["limit"] else "no"
        rows.append([where, chosen, took[0], best, took[1], f"{off - 1:.1%}", f"{info['limit'] - 1:.0%}", met, trial])
    return rows


def _clocks(info: Mapping[str, Any], _: Sequence[float]) -> list[list[Any]]:
    """Return a row for each cell: its standalone seconds by a shared run, and alone; see test_clocks.py."""
    rows = []
    for cell, found in (info["cells"] if info.get("kind") == "clocks" else {}).items():
        off = median(found["shared"]) / median(found["alone"]) - 1
        met = "yes" if abs(off) <= info["limit"] else "no"
        told = [_durations(found["shared"]), _durations(found["alone"])]
        rows.append([cell, *told, f"{off:+.1%}", f"±{info['limit']:.0%}", met])
    return rows


def _techniques(info: Mapping[str, Any], _: Sequence[float]) -> list[list[Any]]:
    """Return a row for each technique; see techniques.py."""
    rows = []
    for t in info["techniques"] if info.get("kind") == "techniques" else ():
        off, on = t["off"]["seconds"], t["on"]["seconds"]
        where = f"{t['strategy']}, n={t['n']}, {t['epochs']} epochs"
        reached = [f"{t[way]['accuracy']:.3f}" for way in ("off", "on")]
        gain = _times(median(off) / median(on))
        rows.append([t["technique"], where, _durations(off), _durations(on), gain, *reached])
    return rows


_OTHERS: tuple[tuple[str, tuple[str, ...], Callable[[Mapping[str, Any], Sequence[float]], list[list[Any]]]], ...] = (
    (
        "Each technique against its absence",
        ("technique", "on", "without", "with", "times as fast", "accuracy without", "with"),
        _techniques,
    ),
    (
        "Autotune against trying everything for longer",
        ("network and precision", "chosen", "a step", "best", "a step", "off by", "limit", "met", "the trial took"),
        _autotune,
    ),
    (
        "Standalone seconds: said by a shared run, and paid alone",
        ("cell", "said", "paid", "off by", "limit", "met"),
        _clocks,
    ),
    (
        "The harness itself, by number of cells",
        ("what", "cells", "cache", "seconds", "peak memory", "target", "met"),
        _scale,
    ),
)


def figure(data: Mapping[str, Any], path: Path) -> None:
    """Draw the ratios of the equal cases as bars on a logarithmic axis, with their targets as lines."""
    from matplotlib.figure import Figure

    bars = []
    for benchmark in data["benchmarks"]:
        info = benchmark["extra_info"]
        if "runs" in info:
            bars += [
                (
                    f"{info['strategy']}, {_where(info)}, {info['kind']}",
                    side,
                    ratio(info, side),
                    info,
                )
                for side in others(info)
                if side in COLOURS and equal(accuracies(info, "ours"), accuracies(info, side))
            ]
    canvas = Figure(figsize=(9, 1.2 + 0.28 * len(bars)), layout="constrained")
    axes = canvas.subplots()
    for place, (_, side, found, info) in enumerate(bars):
        axes.barh(place, found.median, color=COLOURS[side])
        axes.plot([found.low, found.high], [place, place], color="black", linewidth=1)
        target = info["targets"].get(side, (None, None))[0]
        if target is not None:
            axes.plot([target, target], [place - 0.4, place + 0.4], color="#c0392b", linewidth=2)
    axes.set_yticks(range(len(bars)), [f"{label}: {NAMES[side]}" for label, side, _, _ in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("times as fast as the other side; the red lines are targets")
    canvas.savefig(path, dpi=110, metadata={"Software": None})


def write(source: Path) -> Path:
    """Write the page, and the figure of a full run, beside the json; return the page's path."""
    data = json.loads(source.read_text(encoding="utf-8"))
    page = source.with_suffix(".md")
    page.write_text(render(data), encoding="utf-8")
    if not data["quick"]:
        figure(data, source.with_suffix(".png"))
    return page


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))

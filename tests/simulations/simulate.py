"""Do the statistics hold what they say? Made-up suites whose truth is known, thousands of them.

`python -m tests.simulations.simulate` writes reports/simulations/statistics.json and .md: the same numbers each time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.compare.answers import difference
from bench.compare.scaling import crossing, fit
from bench.compare.statistics import compare_all, paired

SUITES = 2000
STRATEGIES = 5
# Deviation over seeds of an accuracy, and what all strategies of a seed share: they learn from the same examples.
NOISE, SHARED = 0.01, 0.015
Noise = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]
NOISES: dict[str, Noise] = {
    "normal": lambda g, shape: g.standard_normal(shape),
    "heavy tails (t with 3 degrees)": lambda g, shape: g.standard_t(3, shape) / np.sqrt(3),
    "skewed (exponential)": lambda g, shape: 1 - g.exponential(size=shape),
}


SPREADS = {
    "all as noisy": np.ones(STRATEGIES),
    "one 5 times as noisy": np.array([5.0, 1.0, 1.0, 1.0, 1.0]),
    "from 1 to 4 times as noisy": np.linspace(1.0, 4.0, STRATEGIES),
}


def suites(
    noise: Noise, means: NDArray[np.float64], seeds: int, count: int, spread: NDArray[np.float64] | float = 1.0
) -> Iterator[dict[str, dict[int, float]]]:
    """Yield made-up suites: the accuracies of each strategy by seed; `spread` multiplies the noise of each."""
    generator = np.random.default_rng(seeds)
    scale = np.broadcast_to(np.asarray(spread, dtype=float), means.shape)[:, None]
    for _ in range(count):
        own = scale * noise(generator, (len(means), seeds))
        values = means[:, None] + NOISE * own + SHARED * noise(generator, (1, seeds))
        yield {f"s{i}": dict(enumerate(map(float, row))) for i, row in enumerate(values)}


def intervals_over_seeds(noise: Noise, seeds: int, count: int) -> float:
    """Return how often the 95 % interval of a paired difference holds it."""
    means = np.array([0.70, 0.72])
    held = 0
    for suite in suites(noise, means, seeds, count):
        found = paired(suite["s0"], suite["s1"])
        held += found is not None and (found.low or 0) <= -0.02 <= (found.high or 0)
    return held / count


def intervals_in_a_family(seeds: int, count: int, spread: NDArray[np.float64] | float = 1.0) -> float:
    """Return how often the interval of one of all pairs holds their difference, which is none."""
    held = total = 0
    for suite in suites(NOISES["normal"], np.full(STRATEGIES, 0.7), seeds, count, spread):
        found = [c.difference for c in compare_all(suite).values()]
        held += sum(d is not None and (d.low or 0) <= 0 <= (d.high or 0) for d in found)
        total += len(found)
    return held / total


def false_verdicts(noise: Noise, seeds: int, count: int, spread: NDArray[np.float64] | float = 1.0) -> float:
    """Return in how many suites of equal strategies any two are said to differ."""
    wrong = 0
    for suite in suites(noise, np.full(STRATEGIES, 0.7), seeds, count, spread):
        wrong += any(c.verdict in ("better", "worse") for c in compare_all(suite).values())
    return wrong / count


def found_differences(noise: Noise, seeds: int, gap: float, count: int) -> float:
    """Return how often a strategy that is better by `gap` deviations than all others is told from each of them."""
    means = np.full(STRATEGIES, 0.7)
    means[0] += gap * NOISE
    told = total = 0
    for suite in suites(noise, means, seeds, count):
        compared = compare_all(suite)
        told += sum(compared["s0", f"s{i}"].verdict == "better" for i in range(1, STRATEGIES))
        total += STRATEGIES - 1
    return told / total


def intervals_over_examples(examples: int, count: int) -> float:
    """Return how often the interval over test examples holds the true difference of two strategies, 3 seeds each."""
    generator = np.random.default_rng(examples)
    held = 0
    for _ in range(count):
        hard = generator.random(examples)
        rights = [[hard + 0.2 * generator.random(examples) < level for _ in range(3)] for level in (0.90, 0.87)]
        found = difference(*rights)
        held += found.low <= 0.03 <= found.high
    return held / count


def intervals_of_crossings(seeds: int, count: int) -> float:
    """Return how often the interval of a crossing holds it."""
    generator = np.random.default_rng(seeds)
    sizes = np.array([100, 300, 1000, 3000])
    held = 0
    for _ in range(count):
        flat, rising = np.full(4, 0.70), 0.70 + 0.08 * np.log10(sizes / 700)
        a, b = (
            {
                int(n): dict(enumerate(m + NOISE * generator.standard_normal(seeds)))
                for n, m in zip(sizes, means, strict=True)
            }
            for means in (flat, rising)
        )
        found = crossing(a, b)
        held += (found.low or 0) <= 700 <= (found.high or np.inf)
    return held / count


def intervals_of_laws(seeds: int, at: int, count: int) -> float:
    """Return how often the interval of a fitted curve holds the error at a size, between or beyond those measured."""
    generator = np.random.default_rng(seeds)
    sizes = (100, 250, 500, 1000, 2000)
    held = 0
    for _ in range(count):
        errors = {n: list(0.1 + 3.0 * n**-0.5 + NOISE * generator.standard_normal(seeds)) for n in sizes}
        found = fit(errors)
        if found is None:
            continue
        interval = found.at(at)
        held += (interval.low or 0) <= 0.1 + 3.0 * at**-0.5 <= (interval.high or 1)
    return held / count


def simulate(count: int) -> list[dict[str, Any]]:
    """Return every question with what was found; `low` and `high` bound what it should be."""
    found: list[dict[str, Any]] = []

    def told(question: str, value: float, low: float | None = None, high: float | None = None) -> None:
        found.append({"question": question, "found": value, "low": low, "high": high, "suites": count})

    for name, noise in NOISES.items():
        exact = name == "normal"
        for seeds in (3, 5, 10):
            held = intervals_over_seeds(noise, seeds, count)
            told(
                f"95 % interval over {seeds} seeds holds the difference, {name}", held, *((0.93, 0.97) if exact else ())
            )
            wrong = false_verdicts(noise, seeds, count)
            told(
                f"a difference shown among {STRATEGIES} equal strategies, {seeds} seeds, {name}",
                wrong,
                0.0,
                0.05 + slack(count),
            )
    for seeds in (3, 5):
        for title, spread in SPREADS.items():
            held = intervals_in_a_family(seeds, count // 2, spread)
            told(f"95 % interval of one of 10 pairs holds the difference, {seeds} seeds, {title}", held, 0.93, 0.97)
        for title, spread in list(SPREADS.items())[1:]:
            wrong = false_verdicts(NOISES["normal"], seeds, count, spread)
            told(
                f"a difference shown among {STRATEGIES} equal, {seeds} seeds, {title}", wrong, 0.0, 0.05 + slack(count)
            )
    for gap, seeds in ((2, 3), (2, 5), (4, 3), (4, 5), (8, 3)):
        share = found_differences(NOISES["normal"], seeds, gap, count // 4)
        told(f"a lead of {gap} deviations is shown, {seeds} seeds", share)
    for examples in (300, 2000):
        held = intervals_over_examples(examples, count)
        told(f"95 % interval over {examples} test examples holds the difference", held, 0.93, 0.97)
    for seeds in (3, 5):
        told(f"95 % interval of a crossing holds it, {seeds} seeds", intervals_of_crossings(seeds, count // 4), 0.93)
        for at in (700, 8000):
            held = intervals_of_laws(seeds, at, count // 4)
            told(f"95 % interval of a fitted curve at n = {at:,} (sizes up to 2,000), {seeds} seeds", held, 0.93)
    return found


def slack(count: int) -> float:
    """Return how far a share of 5 % may come out by chance: two standard errors."""
    return float(2 * np.sqrt(0.05 * 0.95 / count))


def page(found: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Do the statistics hold what they say?",
        "",
        "Made-up suites whose truth is known: accuracies of five strategies that differ by seed with a deviation of",
        "0.01, on top of what a seed gives all of them. Made by tests/simulations/simulate.py: the same each time.",
        "",
        "| question | found | should be | holds | suites |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in found:
        low, high, share = row["low"], row["high"], row["found"]
        wanted = "" if low is None and high is None else f"{low or 0:.1%} to {high if high is not None else 1:.1%}"
        holds = "" if not wanted else "yes" if (low or 0) <= share <= (1 if high is None else high) else "no"
        lines.append(f"| {row['question']} | {share:.1%} | {wanted} | {holds} | {row['suites']:,} |")
    return "\n".join(lines) + "\n"


def main(folder: Path, count: int = SUITES) -> None:
    """Simulate and write both files."""
    found = simulate(count)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "statistics.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "statistics.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "reports/simulations"))

"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from bench.compare.statistics import Summary

Unit = Literal["seconds", "count", "flops", "bytes", "ms", "per_second"]
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
BASE = {"seconds": "s", "ms": "ms", "per_second": "1/s", "count": "", "flops": "FLOPs", "bytes": "B"}
SCALED = ("count", "flops", "bytes")
MISSING = "–"


def scale(values: Sequence[float], unit: Unit) -> tuple[float, str]:
    """Return what to divide a column by and the name of its unit, so that its largest value reads well."""
    if unit not in SCALED:
        return 1.0, BASE[unit]
    largest = max(values, default=0.0)
    factor, prefix = next(((f, p) for f, p in PREFIXES if largest >= f), PREFIXES[-1])
    return factor, f"{prefix}{BASE[unit]}"


def significant(x: float, digits: int = 3) -> str:
    """Format a number with so many significant digits, in plain notation."""
    if x == 0 or not math.isfinite(x):
        return f"{x:g}"
    places = digits - 1 - math.floor(math.log10(abs(x)))
    rounded = round(x, places)
    places = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(places, 0)}f}"


def plain_number(x: float) -> str:
    """Format a number that may be a count: every digit of a whole one from a thousand on, else four."""
    return f"{x:,.0f}" if float(x).is_integer() and abs(x) >= 1000 else significant(x, 4)


def number_or_dash(x: float | None) -> str:
    """Format such a number, or that there is none."""
    return MISSING if x is None else plain_number(x)


def spread(found: Summary | None, digits: int = 3) -> str:
    """Format mean ± deviation; one value has no ±, none is a dash."""
    if found is None:
        return MISSING
    mean = f"{found.mean:.{digits}f}"
    return mean if found.sd is None else f"{mean} ± {found.sd:.{digits}f}"


def duration(seconds: float) -> str:
    """Format seconds for a sentence: 4.2 s, 38 s, 6.4 min, 2.1 h."""
    if seconds < 120:
        return f"{significant(seconds, 2)} s"
    if seconds < 2 * 3600:
        return f"{significant(seconds / 60, 2)} min"
    return f"{significant(seconds / 3600, 2)} h"


def seeds(n: int) -> str:
    """Format a count of seeds."""
    return f"{n} seed" if n == 1 else f"{n} seeds"


def p_value(p: float) -> str:
    """Format a p value for a sentence."""
    return "p < 0.001" if p < 0.001 else f"p = {significant(p, 2)}"


def metric(name: str) -> str:
    """Return the name of a metric as it stands in a heading."""
    known = {"macro_f1": "macro-F1", "auroc": "AUROC", "nll": "NLL", "ece": "ECE"}
    return known.get(name, name.replace("_", " "))


def listing(words: Sequence[str]) -> str:
    """Join words: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def sentence(text: str) -> str:
    """Return text with a capital first letter."""
    return text[:1].upper() + text[1:]


def signed(x: float, digits: int = 3) -> str:
    """Format a number that may be negative, with a true minus sign; one that rounds to 0 keeps a digit of its own."""
    text = f"{x:.{digits}f}" if x == 0 or abs(x) >= 0.5 * 10**-digits else significant(x, 1)
    return text.replace("-", "−")

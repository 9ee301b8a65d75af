"""A gate's outcome for people and for machines: text, Markdown, JSON, JUnit, GitHub annotations, a badge."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from xml.etree import ElementTree

from bench.compare.gate import NOTHING, Change, Gate
from bench.compare.measures import MEASURES
from bench.report.units import MISSING, p_value
from bench.report.units import number_or_dash as number

# Rows of a pull request's comment; more are not read.
MOST_ROWS = 40


def text(gate: Gate) -> str:
    """Return the outcome for a terminal: what failed first, one line each, then the counts."""
    lines = [f"REGRESSION: {_line(change)}" for change in gate.regressions]
    lines += [f"{'FAILED' if m.fails else m.what}: {m.title}: {m.note}" for m in gate.moved]
    lines += [f"improvement: {_line(change)}" for change in gate.changes if change.verdict == "improvement"]
    lines += [f"{c.note}: {c.measure} of {c.point}" for c in gate.changes if c.note.startswith("not confirmed")]
    reasons = Counter((c.measure, c.note) for c in gate.changes if c.verdict == "not comparable")
    lines += [f"not compared: {measure} at {_count(n, 'point')}: {why}" for (measure, why), n in reasons.items()]
    return "\n".join(" ".join(line.split()) for line in [*lines, summary(gate)])


def summary(gate: Gate) -> str:
    """Say the outcome in one line."""
    counts = {verdict: sum(c.verdict == verdict for c in gate.changes) for verdict in _PLURAL}
    told = [f"{count} {_PLURAL[verdict][count != 1]}" for verdict, count in counts.items() if count]
    if gate.exit_code == NOTHING:
        told = ["nothing could be compared", *told]
    elif not gate.changes:
        told = [f"{_count(gate.cells, 'cell')} in both"]
    failing = sum(m.fails for m in gate.moved)
    told += [f"{_count(failing, 'cell')} gone or failing"] if failing else []
    told += [f"{_count(gate.again, 'cell')} of {gate.cells} from the very run of the base"] if gate.again else []
    return "; ".join(told)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


_PLURAL = {
    "regression": ("regression", "regressions"),
    "improvement": ("improvement", "improvements"),
    "within the limit": ("change within its limit", "changes within their limits"),
    "no change shown": ("comparison without a change shown", "comparisons without a change shown"),
    "not comparable": ("not comparable", "not comparable"),
}


def markdown(gate: Gate) -> str:
    """Return the outcome for a pull request or a step's summary."""
    mark = "✅" if gate.exit_code == 0 else "❌"
    parts = [f"**{mark} bench: {_escaped(summary(gate))}**"]
    told = [c for c in gate.changes if c.verdict in ("regression", "improvement", "within the limit")]
    told.sort(key=lambda c: c.verdict != "regression")
    if told:
        rows = ["| | measure | point | base | new | change | limit |", "|:--|:--|:--|--:|--:|--:|--:|"]
        for c in told[:MOST_ROWS]:
            cells = (
                c.verdict,
                c.measure,
                c.point,
                number(c.base),
                number(c.new),
                _delta(c),
                c.limit.partition(":")[2],
            )
            rows.append(f"| {' | '.join(_escaped(cell) for cell in cells)} |")
        parts.append("\n".join(rows))
        if len(told) > MOST_ROWS:
            parts.append(f"and {len(told) - MOST_ROWS} more")
    if gate.moved:
        items = [
            f"- {'**fails**: ' * m.fails}{m.what}: {_escaped(m.title)}: {_escaped(m.note)}"
            for m in gate.moved[:MOST_ROWS]
        ]
        parts.append("\n".join(items))
        if len(gate.moved) > MOST_ROWS:
            parts.append(f"and {len(gate.moved) - MOST_ROWS} more cells")
    return "\n\n".join(parts) + "\n"


def as_json(gate: Gate) -> str:
    """Return everything that was compared as JSON."""
    body = {"exit_code": gate.exit_code, "summary": summary(gate), **asdict(gate)}
    return json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def junit(gate: Gate) -> str:
    """Return one test case a comparison and a moved cell, in the form that CI servers read."""
    bad = gate.failures
    skipped = sum(c.verdict == "not comparable" for c in gate.changes)
    total = len(gate.changes) + len(gate.moved)
    counts = {"tests": str(total), "failures": str(bad), "errors": "0"}
    suites = ElementTree.Element("testsuites", {"name": "bench", **counts})
    named = {"name": "bench compare", **counts, "skipped": str(skipped)}
    suite = ElementTree.SubElement(suites, "testsuite", named)
    for c in gate.changes:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": _xml(c.measure), "name": _xml(c.point), "time": "0"}
        )
        if c.verdict == "regression":
            ElementTree.SubElement(case, "failure", {"message": _xml(_line(c)), "type": "regression"})
        elif c.verdict == "not comparable":
            ElementTree.SubElement(case, "skipped", {"message": _xml(c.note)})
    for m in gate.moved:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "status", "name": _xml(m.title), "time": "0"})
        if m.fails:
            ElementTree.SubElement(case, "failure", {"message": _xml(m.note), "type": m.what})
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def github(gate: Gate) -> str:
    """Return workflow commands: an error for each regression, a warning for what only moved, a notice at the end."""
    lines = [_command("error", "bench: regression", _line(c)) for c in gate.regressions]
    for m in gate.moved:
        lines.append(_command("error" if m.fails else "warning", f"bench: {m.what}", f"{m.title}: {m.note}"))
    return "\n".join([*lines, _command("notice", "bench", summary(gate))]) + "\n"


def badge(gate: Gate) -> str:
    """Return a badge in the form that shields.io reads from an address."""
    count = gate.failures
    message = (
        f"{count} regression{'s' * (count != 1)}"
        if count
        else "not comparable"
        if gate.exit_code == NOTHING
        else "no regressions"
    )
    colour = "red" if count else "lightgrey" if gate.exit_code == NOTHING else "brightgreen"
    return json.dumps({"schemaVersion": 1, "label": "bench", "message": message, "color": colour}) + "\n"


FORMATS: dict[str, Callable[[Gate], str]] = {
    "text": lambda gate: text(gate) + "\n",
    "md": markdown,
    "json": as_json,
    "junit": junit,
    "github": github,
    "badge": badge,
}


def _line(c: Change) -> str:
    p = f", {p_value(c.p)}" if c.p else ""
    note = f" ({c.note})" if c.note else ""
    return f"{c.measure} of {c.point}: {number(c.base)} to {number(c.new)}, {_delta(c)}, limit {c.limit}{p}{note}"


def _delta(c: Change) -> str:
    if c.change is None:
        return MISSING
    if c.measure in MEASURES and MEASURES[c.measure].family in ("time", "memory"):
        return f"{c.change:+.1%}"
    if c.limit.endswith("%") and c.base:
        return f"{c.change / abs(c.base):+.1%}"
    return f"{100 * c.change:+.2f} pp" if c.limit.endswith("pp") else f"{c.change:+,.6g}"


def _escaped(words: str) -> str:
    """Return text that a Markdown table shows as it is."""
    flat = " ".join(words.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{sign}" if sign in "\\`*|[]_~@#$" else sign for sign in flat)


def _xml(words: str) -> str:
    """Return text without what XML can't hold."""
    return "".join(
        sign
        for sign in words
        if sign in "\t\n" or " " <= sign <= "\ud7ff" or "\ue000" <= sign <= "\ufffd" or sign >= "\U00010000"
    )


def _command(kind: str, title: str, words: str) -> str:
    """Return a workflow command, escaped as GitHub asks."""

    def escaped(given: str, more: bool = False) -> str:
        given = given.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        return given.replace(":", "%3A").replace(",", "%2C") if more else given

    return f"::{kind} title={escaped(title, True)}::{escaped(words)}"

"""The broken suites of suites.txt, and those that no text file can hold."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

BASE = """\
suite: toy
task: {name: classify, test_size: 30, monitor_size: 10}
recipe: {epochs: 2, batch_size: 8}
matrix:
  dataset: [toy]
  size: [12]
  backbone: [toy_cnn]
  strategy: [feature_extract]
  seed: [0]
"""
FIELDS = (
    "augment, batch_size, class_weights, clip_norm, curve_points, decay_norms, ema, epochs, head, label_smoothing, lr, "
    "optimizer, patience, precision, sampling, schedule, selection, validation, weight_decay"
)
_ENTRY = re.compile(r"^###(!?) (.*)\n((?:[>$] .*\n)*)((?:(?!###).*\n)*)", re.MULTILINE)
_KEY = re.compile(r" *[^\s:]+:")


@dataclass(frozen=True)
class Broken:
    """A suite that is refused: what is wrong, the bytes of the file, further arguments, and the line that says so."""

    title: str
    content: bytes
    arguments: tuple[str, ...]
    said: str


def changed(lines: str) -> str:
    """Return BASE with lines in place of those of the same key and depth, and all others after it."""
    text = BASE.splitlines()
    for line in lines.splitlines():
        key = _KEY.match(line)
        at = next((i for i, old in enumerate(text) if key and old.startswith(key[0])), None)
        if at is None:
            text.append(line)
        else:
            text[at] = line
    return "\n".join(text) + "\n"


def read() -> list[Broken]:
    """Return every entry of suites.txt."""
    found = []
    for whole, title, head, body in _ENTRY.findall((Path(__file__).parent / "suites.txt").read_text(encoding="utf-8")):
        body = body.rstrip("\n") + "\n" if body.strip() else ""
        said = "".join(line[2:] for line in head.splitlines() if line.startswith("> "))
        arguments = [word for line in head.splitlines() if line.startswith("$ ") for word in shlex.split(line[2:])]
        found.append(Broken(title, (body if whole else changed(body)).encode(), tuple(arguments), said))
    return found


def generated() -> list[Broken]:
    """Return what no text file should hold: bytes that are no text, and too much of anything."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    many, shown = "x" * 100_000, repr("x" * 100)[:57]
    unshown = "a character that does not show, U+{:04X}: a suite is what its reader sees"
    of, short = f"the recipe; it has {FIELDS}", ", and a suite is a short text"
    profiles = "profiles are more than 100"
    no_text = "this is not UTF-8 text"
    base = BASE.encode()
    found: list[tuple[str, str | bytes, str]] = [
        ("a bomb", "\n".join(levels), ":1:34: too much: over 20,000 values or 40 levels"),
        ("levels without end", "suite: " + "[" * 2000 + "]" * 2000, ":1:46: too much: over 40 levels"),
        ("mappings without end", "suite: " + "{a: " * 2000, ":1:160: too much: over 40 levels"),
        ("indentation without end", deeper(200), ":40:40: too much: over 40 levels"),
        ("more values than fit", "suite: [" + "1," * 50_000, ":1:80001: too much: over 20,000 values"),
        ("more keys than fit", numbered("k{}: 1", 30_000), ":20000:1: too much: over 20,000 values"),
        ("more profiles than fit", BASE + "profiles:\n" + numbered("  p{}: {{}}", 101), f":11:3: {profiles}"),
        ("a long line", f"question: {many}\n{BASE}recip: 1", ":11:1: unknown key 'recip'; did you mean 'recipe'?"),
        ("a long task", changed(f"task: {many}"), f":2:7: unknown task {shown}..."),
        ("a long strategy", changed(f"  strategy: [{many}]"), f":8:14: unknown strategy {shown}..."),
        ("a long measure", changed(f"gate: [{many}:-1pp]"), f":10:8: unknown measure {shown}..."),
        ("a long field", changed(f"recipe: {{{many[:999]}: 1}}"), f":3:10: unknown option {shown}... of {of}"),
        ("a long file", b"#" * 600_000, f": cannot be read: it is larger than 500,000 bytes{short}"),
        ("NUL", base + b"question: a\0b", f":10:12: {unshown.format(0)}"),
        ("the code of a terminal, as it is", base + b"question: \x1b[2J", f":10:11: {unshown.format(0x1B)}"),
        ("a letter that turns the line, as it is", BASE + "question: \u202eyot", f":10:11: {unshown.format(0x202E)}"),
        ("a delete", base + b"question: \x7f", f":10:11: {unshown.format(0x7F)}"),
        ("Latin-1", base + b"question: caf\xe9", f":10:14: {no_text}"),
        ("UTF-16", BASE.encode("utf-16"), f":1:1: {no_text}"),
        ("bytes of all kinds", bytes(range(256)), f":2:118: {no_text}"),
        ("a picture", b"\x89PNG\r\n\x1a\n", f":1:1: {no_text}"),
        ("an overlong form of a slash", base + b"question: \xc0\xaf", f":10:11: {no_text}"),
        ("half a character, as it is", base + b"question: \xed\xa0\x80", f":10:11: {no_text}"),
        ("a byte that is cut off at the end", base + b"question: \xe2\x82", f":10:11: {no_text}"),
    ]
    typed = [
        ("a setting that is no text", ("--set", "recipe.\udcff=3"), f"recipe.\\udcff=3: {unshown.format(0xDCFF)}"),
        ("a setting with the codes of a terminal", ("--set", "re\x1b[2J=3"), f"re\\x1b[2J=3: {unshown.format(0x1B)}"),
        ("only what is no text", ("--only", "size=\udcff"), f"size=\\udcff: {unshown.format(0xDCFF)}"),
    ]
    return [
        *(Broken(t, c.encode() if isinstance(c, str) else c, (), f"toy.yaml{said}") for t, c, said in found),
        *(Broken(t, base, arguments, f"{arguments[0]} {said}") for t, arguments, said in typed),
    ]


def deeper(levels: int) -> str:
    return "".join(f"{' ' * i}a:\n" for i in range(levels))


def numbered(line: str, count: int) -> str:
    return "".join(line.format(i) + "\n" for i in range(count))

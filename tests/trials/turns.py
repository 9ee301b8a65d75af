"""Does `bench compare --confirm` stay quiet, and does it catch what it should? Real rounds of codes that take turns.

`python -m tests.trials.turns ROUNDS [latency] [training]` has codes take turns so many times, as the command does: a
code and its copy, one whose forward pass takes 10 % longer, one whose training step takes 15 % longer. A trial draws as
many of those rounds as the command makes, and is judged as the command judges. The numbers of every round go to
reports/gate/turns.json, beside those that are there, and the outcome to turns.md.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench import confirm
from bench.compare.gate import Change
from bench.compare.measures import parse
from bench.naming import points
from bench.record import Record
from bench.tasks import every_metric
from tests.trials.gate import ROOT, SLOW, SUITE, _changed, _run

ROUNDS, TRIALS = 9, 400
LIMITS = {"latency": ("latency_p50:+5%", "latency_p50:+10%"), "training": ("seconds_train:+8%", "seconds_train:+15%")}
TITLES = {"latency": "forward pass 10 % slower", "training": "training step 15 % slower"}
# One round: base and new of each point.
Round = dict[str, tuple[float, float]]


def collect(rounds: int, kinds: Sequence[str]) -> dict[str, list[Round]]:
    """Return the rounds of each pair of codes, of these kinds: a code and its copy, a code and a slower one."""
    made: dict[str, list[Round]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        suite = SUITE.replace("seed: [0, 1, 2, 3, 4]", "seed: [0, 1]")
        (work / "suite.yaml").write_text(suite, encoding="utf-8")
        codes = {"same": _changed(work / "same", "bench/cell.py", "\n")}
        codes |= {name: _changed(work / name, *change) for name, change in SLOW.items()}
        first = _run(ROOT, work, "first")
        for number in range(rounds):
            for side in ("same", "latency") if "latency" in kinds else ():
                (pair,) = confirm._bursts(confirm.Codes(ROOT, codes[side]), first[0], 1, lambda text: None)
                made.setdefault(f"latency, {side}", []).append({"every point": pair})
            taken = {}
            names = ["base", "same", "training"] if "training" in kinds else []
            for name in names if number % 2 == 0 else reversed(names):
                taken[name] = _run(codes.get(name, ROOT), work, f"{name}-{number}")
            for side in ("same", "training") if taken else ():
                made.setdefault(f"training, {side}", []).append(by_point(taken["base"], taken[side]))
            print(f"{number + 1} of {rounds}", file=sys.stderr, flush=True)
    return made


def by_point(base: list[Record], new: list[Record]) -> Round:
    """Return the training seconds of each point, the geometric means over its seeds."""
    (limit,), _ = parse([LIMITS["training"][0]], every_metric())
    named = points([record.cell for record in base])
    found: Round = {}
    for point in dict.fromkeys(named.values()):
        ids = [cell_id for cell_id, name in named.items() if name == point]
        turn = ({r.cell_id: r for r in base}, {r.cell_id: r for r in new})
        for pair in confirm._pairs(limit, ids, [turn]):
            found[point] = pair
    return found


def judged(rounds: list[Round], text: str, luck: random.Random) -> tuple[int, int, int]:
    """Return in how many trials the gate fired, the alarms in all of them, and the comparisons."""
    (limit,), _ = parse([text], every_metric())
    name = limit.measure.name
    fired = alarms = looked = 0
    for _ in range(TRIALS):
        drawn = luck.sample(rounds, ROUNDS)
        pairs = {p: [r[p] for r in drawn if p in r] for p in dict.fromkeys(p for r in drawn for p in r)}
        between = {(name, p): Change(name, p, text, None, None, None, None, "no change shown") for p in pairs}
        changes = confirm._judged(limit, pairs, {p: p for p in pairs}, between)
        regressions = sum(change.verdict == "regression" for change in changes)
        fired, alarms, looked = fired + (regressions > 0), alarms + regressions, looked + len(changes)
    return fired, alarms, looked


def page(made: dict[str, list[Round]]) -> str:
    """Return the outcome as Markdown."""
    luck, rows = random.Random(0), []
    for kind, limits in LIMITS.items():
        for side in ("same", kind):
            for limit in limits if side == "same" else limits[:1]:
                rounds = made[f"{kind}, {side}"]
                fired, alarms, looked = judged(rounds, limit, luck)
                title = "nothing changed" if side == "same" else TITLES[kind]
                share = f"{fired} of {TRIALS} ({fired / TRIALS:.1%})"
                rows.append([title, f"`{limit}`", len(rounds), share, f"{alarms} of {looked}"])
    head = ["what was changed", "limit", "rounds in all", "trials in which the gate fired", "alarms in all comparisons"]
    return (
        "# Codes that take turns: does the gate stay quiet, and does it catch what it should?\n\n"
        f"{TRIALS} trials of {ROUNDS} rounds each, drawn from real ones on two cores of a shared machine: a suite of\n"
        "9 points of 2 seeds for training, two fresh processes for latency. Made by tests/trials/turns.py.\n\n"
        + tabulate(rows, head, tablefmt="github", disable_numparse=True)
        + "\n"
    )


def main(rounds: int, kinds: Sequence[str]) -> None:
    """Collect so many rounds more than there are, and write the outcome."""
    target = ROOT / "reports" / "gate"
    path = target / "turns.json"
    made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, found in (collect(rounds, kinds) if rounds else {}).items():
        made.setdefault(name, []).extend(found)
    path.write_text(json.dumps(made) + "\n", encoding="utf-8")
    (target / "turns.md").write_text(page(made), encoding="utf-8")
    print(page(made))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] or [*LIMITS])

"""The report: a pure function of a suite's description and its records. Same input, same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.compare.history import Series
from bench.machine import many_objects
from bench.report import (
    advice,
    against,
    closer,
    data,
    elsewhere,
    evidence,
    explore,
    export,
    figures,
    html,
    latex,
    markdown,
    recipes,
    seeing,
    tables,
    timeline,
    trade,
    transferability,
    versus,
)
from bench.report.board import Board, boards
from bench.report.page import Block, Figure, Heading, Page, Table
from bench.report.study import Section, Study, sections
from bench.report.units import listing
from bench.report.versus import Side

__all__ = ["Side", "Study", "page", "write", "write_history", "write_versus"]

# A report of more sections than this begins with a table of the winners, and each section has its one main figure:
# nobody looks through hundreds, and matplotlib takes half a second for each. Of more data sets no cell is looked at.
MOST_IN_FULL = 4


@many_objects()
def write(study: Study, folder: Path) -> Path:
    """Write index.md, index.html, figures/, tables.tex, cells.csv and cells.json; return the path of index.html.

    Pictures in `folder`/figures that belong to no figure of this study are removed.
    """
    found = sections(study)
    with ThreadPoolExecutor(1) as aside:  # the libraries of the explorer take a second, and another core
        aside.submit(explore.libraries)
        made = _page(study, found)
        cells = export.rows(study.records, study.parents)
        texts = {
            "cells.csv": export.csv_text(cells),
            "cells.json": export.json_text(study, made, cells),
        }
    return _write(made, folder, html.render(made, explore.data(study, found)), texts)


@many_objects()
def write_versus(a: Side, b: Side, folder: Path) -> Path:
    """Write index.md, index.html, figures/ and tables.tex of two studies side by side; return index.html's path."""
    made = versus.page(a, b)
    return _write(made, folder, html.render(made), {})


def write_history(suite: str, found: Sequence[Series], folder: Path) -> Path:
    """Write index.md, index.html, figures/ and tables.tex of a suite's history; return the path of index.html."""
    made = timeline.page(suite, found)
    return _write(made, folder, html.render(made), {})


def _write(made: Page, folder: Path, shown: str, more: Mapping[str, str]) -> Path:
    """Write a page with its pictures, and whatever else there is, into a folder."""
    pictures = folder / "figures"
    pictures.mkdir(parents=True, exist_ok=True)
    kept = set()
    for figure in made.figures():
        for ending, content in (("svg", figure.svg), ("png", figure.png)):
            path = pictures / f"{figure.name}.{ending}"
            if content is not None:
                path.write_bytes(content)
                kept.add(path)
    for path in pictures.iterdir():
        if path.suffix in (".svg", ".png") and path not in kept:
            path.unlink()
    texts = {"index.html": shown, "index.md": markdown.render(made), "tables.tex": latex.render(made), **more}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return folder / "index.html"


def page(study: Study) -> Page:
    """Return the page of a study, which both renderers show."""
    return _page(study, sections(study))


def _page(study: Study, found: Sequence[Section]) -> Page:
    named = elsewhere.names(study.records)
    standings = [boards(section, study.primary) for section in found]
    several, many = len(found) > 1, len(found) > MOST_IN_FULL
    answer: list[Block] = [*evidence.not_run(study)]
    blocks: list[Block] = []
    ranked = trade.ranking(found, standings, study.primary) if several else None
    if ranked is not None:
        blocks += [Heading("Over all data", 2), ranked]
    blocks += transferability.blocks(study, found)
    if many:
        answer += [tables.winners(found, standings, study.primary), evidence.left_out(study, len(found))]
    looked = data.surveyed(study, found)
    about = data.section(looked, 2)
    for number, (section, standing) in enumerate(zip(found, standings, strict=True), 1):
        told = advice.answer(section, standing, study.primary, tabled=True)
        told += elsewhere.answer(section, study.primary, named)
        if several:
            blocks.append(Heading(section.title, 2))
            answer += [] if many else [Heading(section.title, 3), *told]
            blocks += told if many else []
        else:
            answer += told
        drawn = figures.draw(section, standing, study.primary, f"{number}-" if several else "", alone=many)
        blocks += _section(study, section, standing, drawn, 3 if several else 2, [] if several else about)
        blocks += elsewhere.blocks(section, study.primary, named, 3 if several else 2)
    answer += data.warnings(looked)
    blocks += about if several else []
    blocks += closer.closer(study, found, standings, MOST_IN_FULL)
    blocks += seeing.seeing(study, found)
    blocks += evidence.failures(study)
    blocks += evidence.environments(study)
    blocks += evidence.reproduce(study)
    blocks += evidence.appendix(study)
    suite = study.suite
    title = str(suite.get("question") or suite.get("suite") or "Report")
    return Page(title, _facts(study, found), tuple(answer), tuple(blocks))


def _section(
    study: Study,
    section: Section,
    standing: tuple[Board, ...],
    drawn: dict[str, Figure],
    level: int,
    about: Sequence[Block],
) -> list[Block]:
    """Return the tables and figures of one data set and backbone, with what is to be said `about` its data."""
    primary = study.primary
    blocks: list[Block] = [Heading("Results", level), tables.results(section, standing, primary)]
    beside = against.table(section, primary, study.suite)
    blocks += [beside] if beside is not None else []
    blocks += [drawn[name] for name in ("size", "time") if name in drawn]
    if "convergence" in drawn:
        blocks += [Heading("Learning curves", level), drawn["convergence"]]
    costs = [
        tables.costs(
            section,
            tables.COST,
            "cost",
            "What a trained model costs: medians over seeds. Standalone is "
            f"what a user pays who runs only this cell; marginal is what this run spent.{_rounds(section)}",
        ),
        tables.costs(
            section,
            tables.SPENT,
            "seconds",
            "Where the seconds go: medians over seeds. Standalone is "
            "prepare + setup + train + shared; evaluation is apart.",
        ),
        tables.costs(section, tables.MODEL, "model", "The model, for one input. FLOPs are 2 x MACs."),
        tables.latency(section),
    ]
    blocks += _titled("Labels needed", [trade.labels_needed(section, standing, primary)], level)
    blocks += _titled("Worth their cost", [trade.fronts(standing, primary)], level)
    blocks += _titled("Cost", costs, level)
    blocks += _titled("How near the machine's limit", [tables.limit(section)], level)
    blocks += _titled("Quality", [tables.quality(section, primary)], level)
    blocks += about
    trained = recipes.recipe(section)
    return [*blocks, Heading("Recipe", level), *trained] if trained else blocks


def _rounds(section: Section) -> str:
    """Say that the costs are those of many rounds, where a task has them."""
    counts = {int(r.details["rounds"]) for line in section.rows for r in line.records if "rounds" in r.details}
    many = sorted(count for count in counts if count > 1)
    return f" A cell is {listing([str(n) for n in many])} rounds: seconds and FLOPs are of all of them." if many else ""


def _titled(title: str, found: Sequence[Table | None], level: int) -> list[Block]:
    """Return tables under a heading, or nothing when there are none."""
    held = [table for table in found if table is not None]
    return [Heading(title, level), *held] if held else []


def _facts(study: Study, found: Sequence[Section]) -> tuple[str, ...]:
    """Return what was studied, for the line below the title."""
    task = study.suite.get("task")
    name = task.get("name") if isinstance(task, dict) else task
    where = found[0].title if len(found) == 1 else f"{len(found)} pairs of data set and backbone"
    facts = (study.suite.get("suite"), name, where, evidence.outcome(study))
    return tuple(str(f) for f in (*facts, evidence.device(study.records)) if f)

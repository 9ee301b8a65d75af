"""Two suites, or two runs of one, side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest
from records import ENVIRONMENT, cell, homework, record, study
from runs import bench

from bench.report import Side, versus, write_versus
from bench.report.page import Table
from bench.report.versus import MOST_GAPS, Point, forest
from suites import write


def lifted(of, by: float, name: str = "full_finetune", **other):
    """Return the study with a strategy better by so much at every size, and with other facts of each record."""

    def change(r):
        gain = by * (1 + 0.05 * r.cell.seed) if r.cell.strategy["name"] == name and r.cell_id not in of.parents else 0
        return replace(r, metrics={**r.metrics, "accuracy": r.metrics["accuracy"] + gain}, **other)

    return replace(of, records=tuple(change(r) for r in of.records))


def beside(a, b):
    return versus.page(Side("before", a), Side("after", b))


def text_of(page) -> str:
    found = []
    for block in (*page.answer, *page.blocks):
        for words in (*getattr(block, "items", ()), getattr(block, "words", ()), *getattr(block, "rows", ())):
            found.append("".join(span.text for span in words))
    return "\n".join(found)


def rows_of(page, name) -> dict[tuple[str, str], list[str]]:
    table = next(t for t in page.tables() if t.name == name)
    return {(row[0].text, row[2].text): [span.text for span in row] for row in table.rows}


def test_a_study_beside_itself_differs_in_nothing():
    page = beside(homework(), homework())
    assert "Of 18 points that both have, after is not shown to differ at 18 in accuracy." in text_of(page)
    assert "Nothing: the same cells, run twice." in text_of(page)
    assert "1.0 times the standalone seconds of before." in text_of(page)
    assert all(row[5].startswith("0.000 (0.000 to 0.000)") for row in rows_of(page, "versus").values())


def test_what_got_better_is_named_with_its_gap_and_interval():
    page = beside(homework(), lifted(homework(), 0.05))
    said = text_of(page)
    assert "after is better at 3 and not shown to differ at 15 in accuracy" in said
    assert "full_finetune · n = 2000 on fashion_mnist · tf_efficientnet_lite0: 0.05" in said
    verdicts = {key: row[6] for key, row in rows_of(page, "versus").items()}
    assert {key for key, verdict in verdicts.items() if verdict == "better"} == {
        ("full_finetune", n) for n in ("100", "500", "2000")
    }
    assert "after is worse at 3" in text_of(beside(lifted(homework(), 0.05), homework()))


def test_two_seeds_give_no_verdict():
    said = text_of(beside(homework(seeds=2), lifted(homework(seeds=2), 0.3)))
    assert "after is without a verdict at 18" in said
    assert "no verdict from 2 seeds" in said


def test_other_machines_and_settings_are_told():
    def longer(r):
        return replace(r, cell=replace(r.cell, recipe={**r.cell.recipe, "epochs": 20}))

    other = lifted(homework(), 0.0, environment={**ENVIRONMENT, "fingerprint": "other", "cpu": "Other CPU"})
    other = replace(other, records=tuple(longer(r) for r in other.records))
    page = beside(homework(), other)
    said = text_of(page)
    assert "the environments differ" in said
    assert "recipe.epochs1020" in said
    assert "cpuExample CPU 2.0 GHzOther CPU" in said


def test_what_only_one_has_is_listed_and_nothing_in_common_is_said():
    few = replace(homework(), records=tuple(r for r in homework().records if r.cell.size == 100))
    said = text_of(beside(few, homework()))
    assert "after: scratch at n = 500 on fashion_mnist · tf_efficientnet_lite0; scratch at n = 2000" in said
    nothing = beside(study([record(cell("scratch"), 0.5)]), study([record(cell("distill"), 0.5)]))
    assert "nothing to compare" in text_of(nothing)


def test_too_many_gaps_are_not_drawn():
    points = [Point(str(i), 0.1, 0.0, 0.2) for i in range(MOST_GAPS + 1)]
    assert forest(points, "accuracy", "gaps") is None
    drawn = forest(points[:3], "accuracy", "gaps")
    assert "0 +0.100" in drawn.alt


def test_the_same_two_give_the_same_bytes(tmp_path):
    sides = Side("a <b>", homework()), Side("b", lifted(homework(), 0.02))
    for name in ("one", "two"):
        write_versus(*sides, tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert {str(f) for f in files} == {"figures/gaps.png", "figures/gaps.svg", "index.html", "index.md", "tables.tex"}
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    html = (tmp_path / "one" / "index.html").read_text(encoding="utf-8")
    assert "a <b>" not in html
    assert "<script" not in html
    assert all(isinstance(t, Table) for t in versus.page(*sides).tables())


@pytest.mark.slow
def test_two_suites_and_two_runs_of_one_are_put_side_by_side_by_the_command(tmp_path):
    write(tmp_path, {"matrix": {"seed": [0, 1]}})
    write(tmp_path, {"suite": "longer", "matrix": {"seed": [0, 1]}, "recipe": {"epochs": 4}}, "longer.yaml")
    for suite in ("toy.yaml", "longer.yaml"):
        assert bench(tmp_path, "run", suite, "--no-report").returncode == 0
    done = bench(tmp_path, "report", "--compare", "toy.yaml", "longer.yaml")
    assert (done.returncode, done.stdout.strip()) == (0, "reports/toy-vs-longer/index.html")
    text = (tmp_path / "reports/toy-vs-longer/index.md").read_text(encoding="utf-8")
    assert "# longer beside toy" in text
    assert "recipe.epochs" in text
    (tmp_path / "results").rename(tmp_path / "old")
    assert bench(tmp_path, "run", "toy.yaml", "--no-report").returncode == 0
    done = bench(tmp_path, "report", "--compare", "old/toy", "results/toy")
    assert done.stdout.strip() == "reports/old-toy-vs-results-toy/index.html"
    assert "the same cells, run twice" in (tmp_path / "reports/old-toy-vs-results-toy/index.md").read_text(
        encoding="utf-8"
    )


def test_one_or_three_can_not_be_compared(tmp_path):
    write(tmp_path)
    for words, told in (
        (["--compare", "toy.yaml"], "bench report --compare: 2 asked for, 1 given"),
        (["toy.yaml", "toy.yaml"], "bench report: 1 asked for, 2 given; --compare puts two side by side"),
        (["--compare", "nowhere", "toy.yaml"], "nowhere"),
    ):
        done = bench(tmp_path, "report", *words)
        assert done.returncode == 2
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "reports").exists()

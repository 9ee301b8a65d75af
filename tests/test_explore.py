"""The explorer of the HTML report, in a browser without a network."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import DESKTOP, PHONE, browser, opened
from playwright.sync_api import expect
from records import cell, failed, homework, record, study

from bench.report import write
from bench.report.explore import data
from bench.report.study import sections

HOSTILE = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script> \u202eRTL 🙂"


def answered(of):
    """Return a study whose records say what was taken for what."""
    classes = ["shirt", HOSTILE, "boot"]
    confusion = [[8, 1, 1], [4, 6, 0], [0, 0, 10]]
    right = base64.b64encode(np.packbits(np.ones(30, bool)).tobytes()).decode()
    details = {"classes": classes, "confusion": confusion, "asked": 30, "right": right}
    return replace(of, records=tuple(replace(r, details={**r.details, **details}) for r in of.records))


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    of = answered(homework())
    bad = failed(cell("protonet", 100), "oom", f"out of memory {HOSTILE}")
    suite = {**of.suite, "question": f"What? {HOSTILE}"}
    return write(replace(of, suite=suite, records=(*of.records, bad)), tmp_path_factory.mktemp("report"))


def dots(page, chart: str = "explore-size"):
    return page.locator(f"#{chart} .mark-symbol path")


def test_what_stands_in_the_script_is_json_that_cannot_end_it():
    of = study([record(cell({"name": "scratch", "note": HOSTILE}), 0.5)])
    text = data(of, sections(of))
    assert "<" not in text
    found = json.loads(text)
    columns = {column["key"]: column["values"] for column in found["columns"]}
    assert columns["metrics.accuracy"] == [0.5]
    assert columns["cell_id"] == [of.records[0].cell_id]
    assert found["records"][0]["metrics"]["accuracy"] == 0.5
    assert "samples_ms" not in found["records"][0]["latency"][0]


def test_a_strategy_has_the_colour_of_the_figures_and_a_parent_is_grey():
    of = homework()
    found = json.loads(data(of, sections(of)))["strategies"]
    assert [s["colour"] for s in found][:2] == ["#0072B2", "#D55E00"]
    assert found[-1]["name"].startswith("teacher: ")
    assert found[-1]["colour"] == "#767676"
    shapes = [s["shape"] for s in found[:-1]]
    assert len(set(shapes)) == len(shapes)


def test_records_of_very_many_cells_stay_in_the_store(monkeypatch):
    monkeypatch.setattr("bench.report.explore.MOST_ROWS", 10)
    of = homework()
    found = json.loads(data(of, sections(of)))
    assert found["records"] == []
    assert len(found["columns"][0]["values"]) == 54


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_asks_for_nothing_complains_of_nothing_and_fits(chromium, report, size, scheme):
    with opened(chromium, report, size, color_scheme=scheme) as seen:
        assert seen.complaints == []
        assert seen.requests == []
        assert dots(seen.page).count() == 54
        assert dots(seen.page, "explore-cost").count() >= 54
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_hostile_names_are_shown_as_text(chromium, report):
    with opened(chromium, report) as seen:
        page = seen.page
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        assert page.title() == f"What? {HOSTILE}"
        assert page.locator("img[src=x]").count() == 0
        page.locator("#explore-table a").first.click()
        expect(page.locator("#cell h2")).to_be_visible()
        assert HOSTILE in page.locator("#cell").inner_text()
        assert page.locator("#cell img").count() == 0
        assert seen.complaints == []


def test_a_filter_changes_the_table_and_the_charts_together(chromium, report):
    with opened(chromium, report) as seen:
        page = seen.page
        assert page.locator("#explore-count").inner_text() == "55 of 55 cells"
        page.get_by_role("group", name="strategy", exact=True).get_by_label("scratch").uncheck()
        expect(dots(page)).to_have_count(45)
        expect(page.locator("#explore-count")).to_have_text("46 of 55 cells")
        expect(page.locator(".dt-info")).to_contain_text("of 46 cells")
        page.get_by_role("button", name="strategy: none").click()
        expect(dots(page)).to_have_count(0)
        expect(page.locator("#explore-table")).to_contain_text("No cell passes the filters")
        page.get_by_role("button", name="strategy: all").click()
        expect(dots(page)).to_have_count(54)
        page.get_by_label("Search cells").fill("distill")
        expect(dots(page)).to_have_count(9)
        assert seen.complaints == []


def test_the_table_sorts_numbers_as_numbers_and_gives_csv(chromium, report):
    with opened(chromium, report) as seen:
        page = seen.page
        head = page.locator("#explore-table thead th", has_text="standalone seconds")
        for direction, ordered in (("ascending", sorted), ("descending", lambda x: sorted(x, reverse=True))):
            head.click()
            page.wait_for_selector(f"#explore-table th[aria-sort={direction}]")
            place = page.locator("#explore-table thead th").all_inner_texts().index("standalone seconds") + 1
            texts = page.locator(f"#explore-table tbody td:nth-child({place})").all_inner_texts()
            numbers = [float(t.split()[0]) for t in texts if t != "–"]
            assert len(numbers) >= 9
            assert numbers == ordered(numbers)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download csv").click()
        lines = Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()
        assert len(lines) == 56
        assert "standalone seconds" in lines[0]


def test_a_number_of_a_table_leads_to_its_cells_and_each_to_its_record(chromium, report):
    with opened(chromium, report) as seen:
        page = seen.page
        page.locator("main table").filter(has_text="feature_extract").locator("a.cells").first.click()
        panel = page.locator("#cell")
        expect(panel).to_contain_text("3 cells behind this number")
        panel.locator("a").first.click()
        page.wait_for_selector("#cell-curve svg")
        shown = panel.inner_text()
        for part in ("bench show ", "bench run suites/homework1.yaml --only cell=", " --force", "recall"):
            assert part in shown
        panel.get_by_text("The record", exact=True).click()
        cell_id = re.search(r"#cell=(\w+)", page.url)[1]
        assert f'"cell_id": "{cell_id}"' in panel.locator("details pre").inner_text()
        page.keyboard.press("Escape")
        expect(panel).not_to_be_visible()
        expect(page).to_have_url(re.compile(r"[^#]*"))


def test_an_address_opens_its_cell_and_a_failure_gives_its_reason(chromium, report):
    bad = cell("protonet", 100).id
    with opened(chromium, report, anchor=f"#cell={bad}") as seen:
        assert "oom: out of memory" in seen.page.locator("#cell").inner_text()
    with opened(chromium, report, anchor="#cell=<b>") as seen:
        assert not seen.page.locator("#cell").is_visible()
        assert seen.complaints == []


def test_a_dot_opens_its_cell(chromium, report):
    with opened(chromium, report) as seen:
        seen.page.locator("#explore-cost .mark-symbol path").first.click(force=True)
        seen.page.wait_for_selector("#cell[open]")
        assert "#cell=" in seen.page.url
        assert "To see it and to make it again" in seen.page.locator("#cell").inner_text()


def test_the_explorer_is_used_without_a_mouse(chromium, report):
    with opened(chromium, report) as seen:
        page = seen.page
        page.get_by_role("group", name="seed", exact=True).get_by_label("0").focus()
        page.keyboard.press("Space")
        expect(page.locator("#explore-count")).to_contain_text("36 of")
        page.locator("#explore-table a").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#cell[open]")
        assert page.locator("#cell").is_visible()
        page.keyboard.press("Escape")
        page.wait_for_selector("#cell", state="hidden")
        assert not page.locator("#cell").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_bars_anyone_who_reads_it_otherwise(chromium, report, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with opened(chromium, report, color_scheme=scheme) as seen:
        for step in (None, "#explore-table a"):
            if step:
                seen.page.locator(step).first.click()
                seen.page.wait_for_selector("#cell-curve svg")
            found = Axe().run(seen.page).response["violations"]
            told = {
                v["id"]: [n["html"][:200] for n in v["nodes"][:3]]
                for v in found
                if v["impact"] in ("serious", "critical")
            }
            assert told == {}


def test_without_scripts_the_report_is_whole(chromium, report):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert not page.locator("#explore").is_visible()
    assert page.locator("section.answer").is_visible()
    assert page.locator("main img").count() == 3
    context.close()

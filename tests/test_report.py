"""The report on made-up studies: what it says, what it shows, and that it is a pure function."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest
from records import ENVIRONMENT, SIZES, cell, failed, homework, record, study

from bench.record import Seconds
from bench.report import page, write
from bench.report.advice import answer
from bench.report.board import boards, crossings
from bench.report.choice import Limits
from bench.report.counsel import advised
from bench.report.page import Page
from bench.report.study import labels, sections

HOSTILE = "<img src=x onerror=alert(1)> | \"quoted\" 'single' `code` **bold** https://example.org \u202eRTL 🙂 $x_"


@cache
def homework_page():
    return page(homework())


class Tags(HTMLParser):
    """Every start tag of a page with its attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def text_of(spans) -> str:
    return "".join(span.text for span in spans)


def answer_of(of) -> str:
    """Return the answer's text, without drawing anything."""
    parts = []
    for section in sections(of):
        for block in answer(section, boards(section, of.primary), of.primary):
            parts += [text_of(words) for words in getattr(block, "items", None) or (block.words,)]
    return "\n".join(parts)


def table_of(of, name):
    made = of if isinstance(of, Page) else page(of)
    return next(t for t in made.tables() if t.name == name)


def row_of(table, label):
    return [span.text for row in table.rows if row[0].text == label for span in row[1:]]


def swap(of, chosen, change):
    """Return the study with the records that `chosen` picks replaced."""
    return replace(of, records=tuple(change(r) if chosen(r) else r for r in of.records))


def is_cell(strategy, size, seed=None, backbone="tf_efficientnet_lite0"):
    return lambda r: (
        (r.cell.strategy["name"], r.cell.size, r.cell.backbone["name"]) == (strategy, size, backbone)
        and seed in (None, r.cell.seed)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    write(homework(), out)
    return out


def test_the_same_study_gives_the_same_bytes(folder, tmp_path):
    write(homework(), tmp_path)
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert [str(n) for n in names] == [
        "cells.csv",
        "cells.json",
        *(f"figures/{n}.{e}" for n in ("by-size", "by-time", "convergence") for e in ("png", "svg")),
        "index.html",
        "index.md",
        "tables.tex",
    ]
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_the_report_imports_no_torch_and_draws_nothing_before_it_is_asked():
    code = "import sys, bench.report; print([m for m in ('torch', 'matplotlib', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_winner_at_each_size_is_named_with_its_mean_spread_and_price():
    said = answer_of(homework())
    assert "feature_extract has the best mean at n = 100, full_finetune at n = 500, distill at n = 2000." in said
    assert re.search(r"n = 100: feature_extract, accuracy 0\.68\d ± 0\.00\d \(3 seeds\) in 1\.1 s; then partial", said)
    assert re.search(
        r"distill, accuracy [\d.]+ ± [\d.]+ \(3 seeds\) in 5\.6 min \(2\.3 min without its teacher\)", said
    )


def test_the_crossing_of_the_winners_is_named_with_its_size():
    said = answer_of(homework())
    found = re.search(
        r"feature_extract leads up to n = 100, full_finetune from n = 500; .* near n ≈ (\d+) "
        r"\(95 % interval over seeds: (\d+) to (\d+)\)\.",
        said,
    )
    assert found
    low, middle, high = int(found[2]), int(found[1]), int(found[3])
    assert 200 < low <= middle <= high < 320


def test_an_interval_of_a_crossing_that_leaves_the_measured_sizes_says_so():
    rows = [("a", 100, 0.62), ("b", 100, 0.60), ("a", 1000, 0.70), ("b", 1000, 0.80)]
    luck = (0.05, -0.05, 0.0)
    made = study([
        record(cell(name, size, seed), accuracy + (luck[seed] if name == "a" else 0.0))
        for name, size, accuracy in rows for seed in range(3)
    ])  # fmt: skip
    assert "(95 % interval over seeds: 100 or fewer to" in answer_of(made)


def test_a_crossing_is_where_straight_lines_in_log_n_meet():
    rows = [("a", 100, 0.6), ("b", 100, 0.4), ("a", 10000, 0.7), ("b", 10000, 0.9)]
    made = study([record(cell(name, size), accuracy) for name, size, accuracy in rows])
    (found,) = crossings(boards(sections(made)[0], "accuracy"))
    assert (found.before, found.after, found.below, found.above) == ("a", "b", 100, 10000)
    assert found.at == pytest.approx(1000)
    assert found.height == pytest.approx(0.65)
    assert found.leading


def test_lines_that_keep_their_order_do_not_cross():
    rows = [
        ("a", 100, 0.5),
        ("b", 100, 0.5),
        ("a", 500, 0.7),
        ("b", 500, 0.6),
        ("a", 2000, 0.8),
        ("b", 2000, 0.7),
    ]
    made = study([record(cell(name, size), accuracy) for name, size, accuracy in rows])
    assert crossings(boards(sections(made)[0], "accuracy")) == ()
    assert "crossing" not in answer_of(made)


def test_a_lead_within_the_spread_of_seeds_is_not_called_a_difference():
    said = answer_of(homework())
    assert re.search(r"n = 2000: .* p = [\d.]+\): no difference shown", said)
    assert re.search(r"n = 100: .* p [=<] [\d.]+\): a difference is shown", said)
    table = table_of(homework_page(), "results")
    assert row_of(table, "full_finetune")[2].startswith("≈ ")
    assert not row_of(table, "scratch")[2].startswith("≈ ")


def test_one_seed_gives_no_spread_and_no_verdict():
    made = homework(seeds=1)
    said = answer_of(made)
    small_print = said.splitlines()[-1]
    assert small_print.startswith("One seed: no spread and no verdict")
    assert "±" not in said
    assert "difference" not in said
    assert not any("±" in s.text or "≈" in s.text for row in table_of(made, "results").rows for s in row)


def test_two_seeds_give_a_spread_and_no_verdict():
    said = answer_of(homework(seeds=2))
    assert "±" in said
    assert "no verdict from 2 seeds" in said
    assert "difference shown" not in said
    assert "difference is shown" not in said


def test_a_failed_cell_is_shown_counted_and_explained():
    made = swap(
        homework(),
        is_cell("partial_finetune", 100, 1),
        lambda r: failed(r.cell, "oom", "out of memory: 2 GiB"),
    )
    table = table_of(made, "results")
    assert "(n=2 of 3) [1]" in row_of(table, "partial_finetune")[0]
    assert table.notes == ("oom: out of memory: 2 GiB",)
    bad = table_of(made, "failures")
    (row,) = ([span.text for span in row] for row in bad.rows)
    assert row[0] == "partial_finetune"
    assert "oom" in row
    assert "out of memory: 2 GiB" in row
    assert row[-1].startswith("bench show ")
    assert "53 of 54 cells ended ok" in page(made).facts


def test_cells_that_have_not_run_are_told_before_the_answer():
    whole = homework()
    ran = tuple(r for r in whole.records if not (r.cell.strategy["name"] == "distill" and r.cell.size == 2000))
    made = replace(whole, records=ran, missing=tuple(r.cell for r in whole.records if r not in ran))
    first = text_of(page(made).answer[0].words)
    assert first.startswith("3 of 54 planned cells have not run yet (distill at n = 2000)")
    assert "51 of 54 cells have run, 51 ended ok" in page(made).facts
    (counsel,) = advised(made, Limits(), None)
    assert "3 of 54 planned cells have not run yet" in " ".join(counsel.text(80).split())


def test_skipped_cells_say_so_where_their_number_would_be():
    made = swap(homework(), is_cell("distill", 100), lambda r: failed(r.cell, "skipped", "a teacher of 100 labels"))
    table = table_of(made, "results")
    assert row_of(table, "distill")[0] == "skipped [1]"
    assert table.notes == ("skipped: a teacher of 100 labels",)
    assert "all 51 cells ended ok, 3 skipped" in page(made).facts
    ((strategy, _, *told),) = ([span.text for span in row] for row in table_of(made, "failures").rows)
    assert (strategy, *told) == ("distill", "100", "0, 1 and 2", "skipped", "a teacher of 100 labels", "–")


def test_a_study_in_which_everything_failed_is_still_a_report(tmp_path):
    made = study([failed(cell("scratch", n), "failed", "RuntimeError: no") for n in SIZES])
    text = write(made, tmp_path).read_text(encoding="utf-8")
    assert "No cell ended ok" in text
    assert "RuntimeError: no" in text
    assert list((tmp_path / "figures").iterdir()) == []


def test_all_ok_is_said():
    assert "All 54 cells ended ok." in [text_of(b.words) for b in homework_page().blocks if b.kind == "paragraph"]


def test_teachers_are_rows_of_their_own_and_never_win():
    table = table_of(homework_page(), "results")
    label = "teacher: full_finetune on tf_efficientnet_lite2"
    assert table.rows[-1][0].text == label
    teacher, distill, full = (
        float(row_of(table, name)[2].removeprefix("≈ ").split()[0]) for name in (label, "distill", "full_finetune")
    )
    assert teacher > max(distill, full), "the teacher is better here, or the test says nothing"
    assert label not in answer_of(homework())
    assert [s.style for s in table.rows[-1][1:]] == ["", "", ""]


def test_distillation_is_priced_with_and_without_its_teacher():
    table = table_of(homework_page(), "cost")
    standalone, without = (table.head.index(name) for name in ("standalone (s)", "without parents (s)"))
    (row,) = (r for r in table.rows if (r[0].text, r[1].text) == ("distill", "2000"))
    assert float(row[standalone].text) - float(row[without].text) == pytest.approx(200, abs=1)
    assert all(r[without].text == "–" for r in table.rows if r[0].text != "distill")


def test_a_missing_number_is_a_dash_with_its_reason():
    chosen = is_cell("scratch", 100)

    def change(r):
        return replace(
            r,
            metrics={**r.metrics, "auroc": None},
            cost=replace(r.cost, flops_forward=None),
            reasons={
                "metrics.auroc": "class 3 has no example",
                "cost.flops_forward": "an operator is unknown",
            },
        )

    made = swap(homework(), chosen, change)
    quality, model = table_of(made, "quality"), table_of(made, "model")
    assert quality.rows[0][quality.head.index("AUROC")].text == "– [1]"
    assert quality.notes == ("class 3 has no example",)
    assert model.rows[0][model.head.index("forward (MFLOPs)")].text == "– [1]"
    assert model.notes == ("an operator is unknown",)


def test_seconds_of_a_cell_that_shared_the_device_are_marked():
    made = swap(homework(), is_cell("scratch", 500, 0), lambda r: replace(r, timing_valid=False))
    table = table_of(made, "cost")
    (row,) = (r for r in table.rows if (r[0].text, r[1].text) == ("scratch", "500"))
    assert row[2].text.endswith("[1]")
    assert "shared the device" in table.notes[0]
    assert sum("[1]" in s.text for r in table.rows for s in r) == 2, "standalone and marginal of that row"


def test_two_environments_are_both_shown_with_a_warning():
    other = {**ENVIRONMENT, "fingerprint": "ffffffffffff", "cpu": "Another CPU"}
    made = swap(homework(), lambda r: r.cell.seed == 1, lambda r: replace(r, environment=other))
    table = table_of(made, "environments")
    assert table.head == ("fingerprint", ENVIRONMENT["fingerprint"], "ffffffffffff")
    assert row_of(table, "cells") == ["36", "18"]
    notes = [text_of(b.words) for b in page(made).blocks if b.kind == "paragraph"]
    assert any("2 environments" in note for note in notes)


def test_labels_show_only_the_options_that_differ():
    assert labels([{"name": "a", "k": 1, "version": 1}, {"name": "b", "k": 2}]) == ["a", "b"]
    two = [
        {"name": "a", "k": 1, "t": {"x": 1}, "version": 1},
        {"name": "a", "k": 2, "t": {"x": 1}, "version": 1},
    ]
    assert labels(two) == ["a(k=1)", "a(k=2)"]
    assert labels([{"name": "a", "t": {"x": 1}}, {"name": "a", "t": {"x": 2}}]) == ["a(t.x=1)", "a(t.x=2)"]


def test_figures_of_very_many_strategies_have_room_for_their_axes(tmp_path):
    """Else matplotlib warns, and a warning is an error."""
    names = [f"a strategy with a long name, number {i}" for i in range(28)]
    made = study([record(cell(name, n), 0.5 + 0.01 * i) for i, name in enumerate(names) for n in (100, 500)])
    for figure in page(made).figures():
        width, height = (float(v) for v in re.findall(r'(?:width|height)="([\d.]+)pt"', figure.svg.decode())[:2])
        assert height > 0.9 * width
    assert write(made, tmp_path).exists()


def test_each_data_set_and_backbone_has_its_own_section_and_one_colour_a_strategy():
    pairs = [("digits", "resnet18"), ("digits", "vit"), ("fashion_mnist", "resnet18")]
    made = study(
        [
            record(cell(name, 100, backbone=backbone, dataset=dataset), 0.5 + 0.1 * i)
            for dataset, backbone in pairs
            for i, name in enumerate(
                ["scratch", "full_finetune"] if backbone == "vit" else ["full_finetune", "scratch"]
            )
        ]
    )
    found = sections(made)
    assert [s.title for s in found] == ["digits · resnet18", "digits · vit", "fashion_mnist · resnet18"]
    colours = {(line.label, line.index) for s in found for line in s.lines}
    assert colours == {("full_finetune", 0), ("scratch", 1)}


def test_what_else_differs_between_two_cells_of_a_strategy_is_in_the_label():
    recipes = [{"epochs": 10, "lr": lr} for lr in (0.1, 0.01)]
    made = study([record(cell("a", recipe=r), 0.5) for r in recipes])
    assert [line.label for line in sections(made)[0].lines] == ["a(recipe.lr=0.1)", "a(recipe.lr=0.01)"]


def test_another_task_has_its_own_metrics_and_no_empty_headings(tmp_path):
    few = [
        replace(
            record(cell({"name": "prototypes"}, n, task={"name": "few_shot", "version": 1}), 0.8),
            metrics={"accuracy": 0.8, "accuracy_ci95": 0.01},
            details={"rounds": 600},
            curve=(),
            latency=(),
            seconds=Seconds(),
        )
        for n in (1, 5)
    ]
    made = study(few, suite={"suite": "few", "task": "few_shot"})
    headings = [b.text for b in page(made).blocks if b.kind == "heading"]
    assert "Learning curves" not in headings
    assert "Quality" not in headings
    assert "the 95 % interval of the mean over rounds is ± 0.010." in table_of(made, "results").caption
    assert "A cell is 600 rounds" in table_of(made, "cost").caption
    assert [f.name for f in page(made).figures()] == ["by-size"]
    assert write(made, tmp_path).exists()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    out = tmp_path_factory.mktemp("hostile")
    records = [
        record(cell({"name": name, "path": HOSTILE}, size, backbone=HOSTILE, dataset=HOSTILE), 0.5)
        for name in (HOSTILE, "plain")
        for size in (100, 500)
    ]
    records.append(failed(cell("plain", 500, 9, backbone=HOSTILE, dataset=HOSTILE), "failed", HOSTILE))
    write(study(records, suite={"suite": HOSTILE, "question": HOSTILE, "task": HOSTILE}, command=HOSTILE), out)
    return out


def test_hostile_text_is_shown_as_text_in_html(hostile):
    seen = Tags((hostile / "index.html").read_text(encoding="utf-8"))
    assert not [attrs for _, attrs in seen.tags if any(a.startswith("on") for a in attrs)]
    # The explorer's own: cells, its two libraries and itself.
    assert sum(tag == "script" for tag, _ in seen.tags) == 4
    assert all(attrs["src"].startswith("data:image/svg+xml;base64,") for tag, attrs in seen.tags if tag == "img")
    assert HOSTILE in seen.text


def test_hostile_text_is_shown_as_text_in_markdown(hostile):
    import markdown

    text = (hostile / "index.md").read_text(encoding="utf-8")
    assert "<img" not in text.replace("`", "").split("## How to reproduce")[0]
    shown = Tags(markdown.markdown(text, extensions=["tables", "fenced_code", "md_in_html"]))
    assert not [a for tag, a in shown.tags if "onerror" in a]
    assert all(a["src"].startswith("figures/") for tag, a in shown.tags if tag == "img")
    assert not [a for tag, a in shown.tags if tag == "a"]


def test_a_pipe_in_a_name_makes_no_new_column(hostile):
    text = (hostile / "index.md").read_text(encoding="utf-8")
    results = text.split("## Results")[1].split("![")[0]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in results.splitlines() if line.startswith("|")}
    assert widths == {4}


def test_html_asks_the_network_for_nothing_and_every_picture_has_a_text(folder):
    text = (folder / "index.html").read_text(encoding="utf-8")
    seen = Tags(text)
    links = [v for _, attrs in seen.tags for k, v in attrs.items() if k in ("src", "href", "srcset", "action")]
    assert all(link.startswith(("#", "data:")) for link in links)
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert all(address.startswith("data:") for address in re.findall(r"url\([\"']?([^)]*)", style))
    assert "@import" not in style
    assert "default-src 'none'" in text  # what is missed here, the browser refuses
    pictures = [attrs for tag, attrs in seen.tags if tag == "img"]
    assert len(pictures) == 3
    assert all(len(p["alt"]) > 60 for p in pictures)
    ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#") and not link.startswith("#cells=")} <= set(ids)


def test_markdown_links_its_figures_with_a_text(folder):
    found = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", (folder / "index.md").read_text(encoding="utf-8"))
    assert len(found) == 3
    assert all(alt and (folder / path).exists() for alt, path in found)


def test_both_pages_hold_the_same_words(folder):
    import markdown

    html_text = Tags((folder / "index.html").read_text(encoding="utf-8")).text.replace("\u00a0", " ")
    source = (folder / "index.md").read_text(encoding="utf-8")
    md_text = Tags(markdown.markdown(source, extensions=["tables", "fenced_code", "md_in_html"])).text
    told = [
        text_of(words) for b in homework_page().answer for words in (*getattr(b, "rows", ()), getattr(b, "words", ()))
    ]
    for sentence in (
        *(t for t in told if " has the best mean" in t or "leads up to" in t),
        "teacher: full_finetune on tf_efficientnet_lite2",
    ):
        assert sentence in html_text
        assert sentence in md_text


def test_csv_and_json_hold_every_cell_with_all_its_numbers(folder):
    made = homework()
    with (folder / "cells.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["cell_id"] for row in rows] == [r.cell_id for r in made.records]
    assert float(rows[1]["metrics.accuracy"]) == made.records[1].metrics["accuracy"]
    assert rows[1]["cost.params_total"] == "3383818"
    assert sum(row["parent"] == "True" for row in rows) == 9
    data = json.loads((folder / "cells.json").read_text(encoding="utf-8"))
    assert len(data["cells"]) == len(made.records)
    assert {t["name"] for t in data["tables"]} >= {"results", "cost", "quality", "cells"}


def test_pictures_of_a_study_that_is_gone_are_removed(tmp_path):
    write(homework(seeds=1), tmp_path)
    (tmp_path / "figures" / "notes.txt").write_text("mine", encoding="utf-8")
    write(study([record(cell("scratch"), 0.5)]), tmp_path)
    left = {p.name for p in (tmp_path / "figures").iterdir()}
    assert "by-size.svg" not in left
    assert "notes.txt" in left


def test_a_strategy_without_weights_stands_beside_each_variant_of_them():
    def backbone(weights, digest):
        return {"name": "vit", "source": "timm", "weights": weights, "digest": digest}

    kinds = [
        ("scratch", "random", None),
        ("full", "pretrained", "sha256:1"),
        ("full", "/w.safetensors", "sha256:2"),
    ]
    records = []
    for name, weights, digest in kinds:
        of = replace(cell(name, backbone="vit"), backbone=backbone(weights, digest))
        records.append(record(of, 0.5))
    found = {s.backbone: [line.label for line in s.lines] for s in sections(study(records))}
    assert found == {
        "vit(weights=pretrained)": ["scratch", "full"],
        "vit(weights=/w.safetensors)": ["scratch", "full"],
    }


def test_a_row_of_skips_names_no_cell_that_ran():
    records = [record(cell("scratch", 100, 1), 0.5)]
    records += [failed(cell("scratch", n, seed), "skipped", "not here") for n, seed in ((100, 0), (500, 0), (500, 1))]
    rows = [[span.text for span in row] for row in table_of(page(study(records)), "failures").rows]
    assert [row[2:4] for row in rows] == [["100", "0"], ["500", "0 and 1"]]


def test_a_backbone_with_other_options_is_another_wherever_it_is_named(tmp_path):
    records = []
    for layers in (None, 3):
        for name in ("scratch", "full_finetune"):
            of = cell(name, backbone="minilm")
            made = record(replace(of, backbone={**of.backbone, "layers": layers}), 0.5)
            summary = {"architecture": {"summary": f"of {layers} layers"}}
            records.append(replace(made, details={**made.details, **summary}))
    teacher = records[1].cell
    student = cell({"name": "distill", "teacher": {"layers": None}}, backbone="minilm", parents={"teacher": teacher.id})
    records.append(failed(replace(student, backbone={**student.backbone, "layers": 3}), "skipped", "another day"))
    whole = study(records)
    found = {s.backbone: [line.label for line in s.lines] for s in sections(whole)}
    assert found == {
        "minilm": ["scratch", "full_finetune"],
        "minilm(layers=3)": ["scratch", "full_finetune", "distill"],
    }
    made = page(whole)
    ((strategy, where, *_),) = ([span.text for span in row] for row in table_of(made, "failures").rows)
    assert (strategy, where) == ("distill", "fashion_mnist · minilm(layers=3)")
    write(whole, tmp_path)
    with (tmp_path / "cells.csv").open(encoding="utf-8") as handle:
        named = [(row["backbone"], row["weights"]) for row in csv.DictReader(handle)]
    assert named[1:4] == [("minilm", "pretrained"), ("minilm(layers=3)", "random"), ("minilm(layers=3)", "pretrained")]
    text = (tmp_path / "index.md").read_text(encoding="utf-8")
    assert all(f"Architecture of {name}" in text for name in ("minilm<", "minilm(layers=3)"))


def test_two_checkpoints_of_one_name_are_two_backbones_wherever_they_are_named(tmp_path):
    records = []
    for digest in ("aaaa", "bbbb"):
        of = cell("full_finetune", backbone="encoder")
        made = record(replace(of, backbone={**of.backbone, "weights": "file", "digest": digest}), 0.5)
        summary = {"architecture": {"summary": f"of {digest}"}}
        records.append(replace(made, details={**made.details, **summary}))
    whole = study(records)
    wanted = [section.backbone for section in sections(whole)]
    assert len(set(wanted)) == 2
    write(whole, tmp_path)
    with (tmp_path / "cells.csv").open(encoding="utf-8") as handle:
        assert [row["backbone"] for row in csv.DictReader(handle)] == wanted
    text = (tmp_path / "index.md").read_text(encoding="utf-8")
    assert all(f"Architecture of {name}<" in text for name in wanted)


def test_pairs_of_one_data_set_are_not_told_as_if_they_were_as_many_data_sets():
    def caption(*places):
        accuracies = {"full_finetune": 0.9, "feature_extract": 0.8, "lora": 0.7}
        records = [
            record(cell(name, seed=seed, **place), accuracy + 0.01 * seed)
            for place in places
            for name, accuracy in accuracies.items()
            for seed in range(3)
        ]
        return table_of(study(records), "ranks").caption

    assert "Pairs that share a data set" not in caption({"dataset": "digits"}, {"dataset": "letters"})
    assert "Pairs that share a data set" in caption({"backbone": "small"}, {"backbone": "large"})


def test_the_recipe_says_what_was_the_same_for_all_and_where_it_was_not():
    def longer(r):
        recipe = {**r.cell.recipe, "epochs": 40 if r.cell.strategy["name"] == "scratch" else 10}
        return replace(r, cell=replace(r.cell, recipe=recipe))

    made = page(swap(homework(), lambda r: True, longer))
    table = table_of(made, "recipe.epochs")
    assert row_of(table, "scratch") == ["40", "40", "40"]
    assert row_of(table, "distill") == ["10", "10", "10"]
    said = " ".join(text_of(b.words) for b in made.blocks if b.kind == "paragraph")
    assert "The same for every cell: augment.flip yes · batch_size 32 · lr 0.001" in said
    assert not [t for t in made.tables() if t.name.startswith("recipe.") and t is not table]


def test_what_test_examples_say_of_accuracy_is_told_of_no_other_metric():
    records = tuple(replace(r, details={**r.details, "right": "8A==", "asked": 8}) for r in homework().records)
    by_accuracy, by_f1 = (replace(homework(), records=records, primary=p) for p in ("accuracy", "macro_f1"))
    assert "over test examples" in answer_of(by_accuracy)
    assert "macro-F1" in answer_of(by_f1)
    assert "over test examples" not in answer_of(by_f1)

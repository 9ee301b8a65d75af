"""The tables of what was measured about the measuring: floors, drift, the spread of latency."""

from __future__ import annotations

from dataclasses import replace

from records import cell, homework, record, study

from bench.report import html, markdown, page


def table_of(made, name):
    return next((t for t in made.tables() if t.name == name), None)


def texts(table):
    return [[span.text for span in row] for row in table.rows]


def floored(fraction: float, measured: float, bound: str, **other):
    """Return a record of its own seed that came so near to its floor."""
    held = {"floor_seconds": fraction * measured, "measured_seconds": measured, "fraction": fraction, "bound": bound}
    drift = {"matmul_ms": [1.0, 1.0 + fraction / 10], "copy_ms": [1.0, 1.0], "drift": fraction / 10}
    seed = other.pop("seed")
    details = {"roofline": held, "calibration": drift}
    return record(cell("scratch", 100, seed), 0.5, **{"details": details, **other})


def test_the_floor_stands_beside_what_was_measured_as_medians_over_seeds():
    records = [floored(f, s, "memory", seed=i) for i, (f, s) in enumerate([(0.2, 10.0), (0.4, 12.0), (0.3, 50.0)])]
    table = table_of(page(study(records)), "limit")
    head = ("strategy", "n", "floor (s)", "measured (s)", "floor / measured", "bound by", "largest drift")
    assert table.head == head
    assert texts(table) == [["scratch", "100", "4.80", "12.0", "0.300", "memory", "4%"]]


def test_a_floor_that_differs_by_seed_in_what_binds_it_says_both():
    records = [floored(0.2, 10.0, "memory", seed=0), floored(0.2, 10.0, "compute", seed=1)]
    assert texts(table_of(page(study(records)), "limit"))[0][5] == "compute/memory"


def test_a_floor_that_could_not_be_had_is_a_dash_with_its_reason_and_a_doubtful_time_is_marked():
    bare = record(cell("full_finetune"), 0.6, details={}, reasons={"details.roofline": "no formula for aten.x"})
    table = table_of(page(study([floored(0.2, 10.0, "memory", seed=0, timing_valid=False), bare])), "limit")
    first, second = texts(table)
    assert first[3] == "10.0 [1]"
    assert second == ["full_finetune", "100", "– [2]", "–", "–", "–", "–"]
    assert "its speed changed" in table.notes[0]
    assert table.notes[1] == "no formula for aten.x"


def test_the_table_of_floors_is_in_both_renderings():
    made = page(study([floored(0.25, 10.0, "compute", seed=0)]))
    for text in (markdown.render(made), html.render(made)):
        assert "How near the machine" in text
        assert "0.250" in text


def test_records_without_floors_and_spreads_have_the_tables_they_had():
    made = page(homework())
    assert table_of(made, "limit") is None
    assert "How near" not in markdown.render(made)
    head = ("strategy", "device", "batch", "p50 (ms)", "p90 (ms)", "p99 (ms)", "examples per second")
    assert table_of(made, "latency").head == head


def test_what_is_known_of_latency_has_a_column_and_what_is_not_is_a_dash():
    plain = record(cell("scratch"), 0.5)
    spread = tuple(replace(entry, iqr_ms=0.25, device_p50_ms=8.5) for entry in plain.latency)
    other = record(cell("full_finetune"), 0.6)
    table = table_of(page(study([replace(plain, latency=spread), other])), "latency")
    assert table.head[6:] == ("IQR (ms)", "p50 on the device (ms)", "examples per second")
    rows = texts(table)
    assert [row[6:8] for row in rows if row[0] == "scratch"] == [["0.250", "8.50"]] * 2
    assert [row[6:8] for row in rows if row[0] == "full_finetune"] == [["–", "–"]] * 2

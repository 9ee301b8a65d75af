"""A record as text: every field comes back, nothing that is not a number is written as one."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import cell, failed, record

from bench.record import SCHEMA, Latency, NewerSchema, Point, Record, Seconds, dumps, loads

finite = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | finite
points = st.builds(
    Point,
    epoch=finite,
    step=st.integers(0),
    train_loss=maybe,
    train_accuracy=maybe,
    monitor_loss=maybe,
    monitor_accuracy=maybe,
    seconds=finite,
)
records = st.builds(
    replace,
    st.just(record(cell("distill", parents={"teacher": "0" * 12}), 0.8)),
    status=st.sampled_from(["ok", "failed", "oom", "timeout", "diverged", "skipped", "interrupted"]),
    reason=st.none() | st.text(),
    attempt=st.integers(1),
    metrics=st.dictionaries(st.text(), maybe, max_size=3),
    curve=st.lists(points, max_size=2).map(tuple),
    seconds=st.builds(Seconds, prepare=maybe, train=maybe, standalone=maybe),
    details=st.dictionaries(st.text(), st.none() | st.text() | st.lists(st.integers()), max_size=2),
)


@given(records)
def test_a_record_comes_back_from_its_text_and_from_its_json(made: Record):
    assert loads(dumps(made)) == made
    assert Record.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_each_top_level_key_has_a_line_of_its_own_so_that_a_change_can_be_read():
    made = record(cell("scratch"), 0.8)
    before, after = dumps(made).splitlines(), dumps(replace(made, attempt=2)).splitlines()
    assert [line for line, other in zip(after, before, strict=True) if line != other] == ['  "attempt": 2,']
    assert len(before) == len(made.to_json()) + 2


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_never_written(number: float):
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(replace(record(cell("scratch"), 0.8), metrics={"accuracy": number}))


def test_a_failure_is_a_record_too():
    made = failed(cell("scratch"), "oom", "it was too large")
    again = loads(dumps(made))
    assert (again.status, again.reason, again.seconds.train) == ("oom", "it was too large", None)


def changed(**fields: object) -> str:
    return json.dumps({**record(cell("scratch"), 0.8).to_json(), **fields})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ("[]", "schema None"),
        (changed(schema=0), "schema 0, this version reads 1"),
        (changed(status="fine"), "status: "),
        (changed(attempt="1"), "attempt: "),
        (changed(cell={}), "cell.task: "),
        (changed(seconds={"train": "long"}), "seconds.train: "),
        (changed(curve=[{"epoch": 1}]), "curve.0.step: "),
        (changed(metrics=[]), "metrics: "),
        (changed(metrics={"accuracy": math.nan}), "metrics.accuracy: Input should be a finite number"),
        (changed(seconds={"train": math.inf}), "seconds.train: Input should be a finite number"),
        ("[" * 100_000, "lists or mappings are nested too deep"),
    ],
)
def test_what_is_no_record_is_refused_with_the_place_in_one_line(text: str, said: str):
    with pytest.raises(ValueError, match=said) as refused:
        loads(text)
    assert "\n" not in str(refused.value)
    assert not isinstance(refused.value, NewerSchema)


def test_a_later_schema_is_told_from_a_damaged_record():
    with pytest.raises(NewerSchema, match=f"schema {SCHEMA + 1}"):
        loads(changed(schema=SCHEMA + 1))


def test_latency_samples_come_back():
    made = record(cell("scratch"), 0.8)
    entry = Latency("cpu", 2, 1, 1.0, 2.0, 3.0, (1.0, 2.0, 3.0), 1000.0)
    assert loads(dumps(replace(made, latency=(entry,)))).latency == (entry,)

"""The JSON Schema that editors use: it accepts what plans and refuses what does not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pages
import pytest
from test_bad_input import SUITE_MISTAKES

from bench.cli import main
from bench.document import parse, read
from bench.schema import suite_schema
from suites import TOY, write

ROOT = Path(__file__).parents[1]
# What takes a look at two places at once, at the disk, or at a library's list of models, no schema can see.
BEYOND = (
    "reserved", "when names", "typo in when", "the wrong type in when", "unknown axis in when", "profile that is not",
    "size larger", "size smaller", "duplicate", "zip out", "teacher", "no folder", "a folder", "no checkpoint",
    "a checkpoint", "unknown backbone", "wrong value", "wrong axis of the recipe",
)  # fmt: skip
SHAPES = {
    name: given
    for name, (given, _) in SUITE_MISTAKES.items()
    if isinstance(given, Mapping) and not any(word in name for word in BEYOND)
}


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = suite_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", sorted((ROOT / "suites").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_suites_are_valid(path: Path, validator: Any) -> None:
    assert [error.message for error in validator.iter_errors(read(path).data)] == []


def test_the_examples_of_the_guide_are_valid(validator: Any) -> None:
    examples = pages.blocks("writing-a-suite.md")["yaml"]
    assert len(examples) > 4
    for example in examples:
        assert [error.message for error in validator.iter_errors(TOY | parse(example, "block").data)] == []


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES.keys())
def test_wrong_shapes_names_and_types_are_refused(changes: Mapping[str, Any], tmp_path: Path, validator: Any) -> None:
    assert not validator.is_valid(read(write(tmp_path, changes)).data)


def test_a_profile_is_checked_like_a_suite_without_what_it_leaves_out(validator: Any) -> None:
    assert validator.is_valid({**TOY, "profiles": {"smoke": {"matrix": {"seed": [0]}, "recipe": {"epochs": 1}}}})
    for wrong in ({"recip": {}}, {"matrix": {"sed": [0]}}, {"matrix": {"seed": []}}, {"profiles": {}}):
        assert not validator.is_valid({**TOY, "profiles": {"smoke": wrong}})


def test_bench_schema_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["schema"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == suite_schema()

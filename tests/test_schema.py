"""The JSON Schema that editors use: it accepts what plans and refuses what does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pages
import pytest
from faults.corpus import Broken, read

from bench.cli import main
from bench.document import parse
from bench.document import read as read_suite
from bench.schema import suite_schema
from suites import TOY

ROOT = Path(__file__).parents[1]
# What takes no look at two places at once, at the disk, or at a library's list of models: a schema sees it.
SEEN = re.compile(
    "unknown (key|option|dataset|strategy|task|measure)|must be (text|a list|a mapping|a name|true|')"
    "|is missing|needs the option|is no limit|a suite's name"
)
BEYOND = ("teacher", "an axis of the recipe", "line break")
SHAPES = [
    broken
    for broken in read()
    if not broken.arguments and SEEN.search(broken.said) and not any(word in broken.title for word in BEYOND)
]


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = suite_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", sorted((ROOT / "suites").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_suites_are_valid(path: Path, validator: Any) -> None:
    assert [error.message for error in validator.iter_errors(read_suite(path).data)] == []


def test_the_examples_of_the_guide_are_valid(validator: Any) -> None:
    examples = pages.blocks("writing-a-suite.md")["yaml"]
    assert len(examples) > 4
    for example in examples:
        assert [error.message for error in validator.iter_errors(TOY | parse(example, "block").data)] == []


@pytest.mark.parametrize("broken", SHAPES, ids=lambda broken: broken.title)
def test_wrong_shapes_names_and_types_are_refused(broken: Broken, validator: Any) -> None:
    assert not validator.is_valid(parse(broken.content.decode(), "toy.yaml").data)


def test_a_profile_is_checked_like_a_suite_without_what_it_leaves_out(validator: Any) -> None:
    assert validator.is_valid({**TOY, "profiles": {"smoke": {"matrix": {"seed": [0]}, "recipe": {"epochs": 1}}}})
    for wrong in ({"recip": {}}, {"matrix": {"sed": [0]}}, {"matrix": {"seed": []}}, {"profiles": {}}):
        assert not validator.is_valid({**TOY, "profiles": {"smoke": wrong}})


def test_bench_schema_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["schema"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == suite_schema()

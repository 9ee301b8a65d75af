"""Suite files: YAML 1.2 with places, profiles, settings, and what `when` matches."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.document import parse
from bench.errors import SuiteError
from bench.planner import expand
from bench.suite import load, matches
from suites import write

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def value(text: str) -> Any:
    return parse(f"value: {text}\n", "x.yaml").data["value"]


@pytest.mark.parametrize(
    "word", ["no", "yes", "On", "off", "y", "n", "1:30", "1e", "12e3e", "0b1", "1_000", "2001-01-01", "-x", "tRUE"]
)
def test_words_stay_words(word: str) -> None:
    assert value(word) == word


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 0.001),
        ("1e3", 1000.0),
        ("1E+3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-0.5", -0.5),
        ("012", 12),
        ("0x1F", 31),
    ],
)
def test_numbers_are_numbers(text: str, number: float) -> None:
    assert value(text) == number
    assert type(value(text)) is type(number)


@pytest.mark.parametrize(
    ("text", "plain"), [("true", True), ("False", False), ("~", None), ("null", None), ("", None), ("'true'", "true")]
)
def test_there_are_two_truths_and_one_nothing(text: str, plain: Any) -> None:
    assert value(text) is plain or value(text) == plain


def test_an_alias_is_what_its_anchor_stands_for_and_where_it_stands() -> None:
    document = parse("base: &b {a: 1}\nagain: [*b, *b]\n", "x.yaml")
    assert document.data == {"base": {"a": 1}, "again": [{"a": 1}, {"a": 1}]}
    assert str(document.error(("again", 1, "a"), "wrong")) == "x.yaml:1:14: wrong"


# YAML reads JSON, but for a few characters that it does not print.
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8)
leaves = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(-1e12, 1e12) | texts
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(texts, trees, min_size=1, max_size=4), st.sampled_from([None, 2]))
def test_what_json_writes_is_read_back_and_every_value_knows_its_place(
    data: dict[str, Any], indent: int | None
) -> None:
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    document = parse(text, "x.json")
    assert document.data == data
    lines = text.split("\n")
    for trail, (line, column) in document.values.items():
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert json.JSONDecoder().raw_decode(rest)[0] == document.at(trail)
    for trail, (line, column) in document.keys.items():
        assert json.JSONDecoder().raw_decode(lines[line - 1][column - 1 :])[0] == trail[-1]


@settings(max_examples=300)
@given(st.text(max_size=100) | st.text("ab:-[]{}&*!|>'\"%#?,<=. \n\t0", max_size=40))
def test_any_text_is_a_document_or_one_line(text: str) -> None:
    said = ""
    try:
        parse(text, "x.yaml")
    except SuiteError as error:
        said = str(error)
    assert "\n" not in said


def test_a_profile_merges_mappings_and_replaces_all_else(tmp_path: Path) -> None:
    profile = {"matrix": {"size": [30]}, "recipe": {"epochs": 1, "augment": {"shift": 1}}, "span": "zip"}
    recipe = {"lr": 0.01, "augment": {"flip": True}}
    suite = load(write(tmp_path, {"profiles": {"one": profile}, "recipe": recipe}), "one")
    assert suite.matrix.size == [30]
    assert suite.matrix.seed == [0]
    assert suite.recipe == {"batch_size": 8, "lr": 0.01, "epochs": 1, "augment": {"flip": True, "shift": 1}}
    assert suite.span == "zip"


def test_settings_come_after_the_profile_and_later_ones_win(tmp_path: Path) -> None:
    path = write(tmp_path, {"profiles": {"one": {"recipe": {"epochs": 1}}}})
    settings = ["recipe.epochs=7", "recipe.augment.flip=true", "matrix.seed=[4, 5]", "recipe.epochs=8"]
    suite = load(path, "one", [*settings, "matrix.recipe.lr=[1e-3]", "question=no"])
    assert suite.recipe["epochs"] == 8
    assert suite.recipe["augment"] == {"flip": True}
    assert suite.matrix.axes()["seed"] == [4, 5]
    assert suite.matrix.axes()["recipe.lr"] == [0.001]
    assert suite.question == "no"


def test_a_mistake_of_a_profile_is_placed_in_the_profile(tmp_path: Path) -> None:
    path = write(tmp_path, "suite: a\nmatrix: {dataset: [toy], size: [12], backbone: [toy_cnn], strategy: [scratch]}\n"
                           "profiles:\n  one:\n    matrix: {size: [twelve]}\n")  # fmt: skip
    with pytest.raises(SuiteError, match=r"toy.yaml:5:21: size must be a whole number, not 'twelve'$"):
        load(path)


def test_the_resolved_suite_is_a_suite_of_the_same_cells(tmp_path: Path) -> None:
    changes = {
        "question": "Größer 🙂?",
        "matrix": {"recipe.lr": [0.1, 0.2], "strategy": ["scratch", "feature_extract"]},
        "overrides": [{"when": {"strategy": "scratch"}, "set": {"recipe": {"epochs": 3}}}],
        "exclude": [{"when": {"strategy": "scratch", "recipe.lr": 0.2}, "reason": "why not"}],
        "profiles": {"one": {"matrix": {"seed": [3, 4]}}},
        "deadline_seconds": 5,
    }
    suite = load(write(tmp_path, changes), "one", ["recipe.batch_size=4"])
    saved = tmp_path / "suite.json"
    saved.write_text(json.dumps(suite.resolved()), encoding="utf-8")
    again = load(saved)
    assert again.resolved() == suite.resolved()
    assert expand(again).entries == expand(suite).entries


@pytest.mark.parametrize(
    ("when", "yes"),
    [
        ({"size": 12}, True),
        ({"size": [6, 12]}, True),
        ({"size": 6}, False),
        ({"strategy": "distill"}, True),
        ({"strategy": ["scratch", "distill"], "size": 12}, True),
        ({"strategy": "distill", "size": 6}, False),
        ({"strategy": {"name": "distill", "alpha": 0.5}}, True),
        ({"strategy": {"alpha": 0.5}}, True),
        ({"strategy": {"name": "distill", "alpha": 0.6}}, False),
        ({"strategy": [{"alpha": 0.6}, {"alpha": 0.5}]}, True),
        ({"strategy": {"teacher": {"backbone": "big"}}}, True),
        ({"strategy": {"teacher": {"strategy": "full_finetune"}}}, True),
        ({"recipe.lr": 0.1}, False),
    ],
)
def test_when_matches_values_lists_names_and_options(when: dict[str, Any], yes: bool) -> None:
    teacher = {"backbone": {"name": "big"}, "strategy": "full_finetune"}
    point = {"size": 12, "strategy": {"name": "distill", "alpha": 0.5, "teacher": teacher}}
    assert matches(when, point) is yes


def blocks() -> list[str]:
    return BLOCK.findall((ROOT / "docs" / "writing-a-suite.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("block", blocks())
def test_every_example_of_the_guide_can_be_planned(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if block.startswith("suite:"):
        path = write(tmp_path, block)
        suite = load(path)
        assert expand(suite).runnable
        assert all(expand(load(path, profile)).runnable for profile in suite.profiles)
        return
    whole = next(b for b in blocks() if b.startswith("suite:"))
    keys = set(parse(block, "block").data)
    kept = [part for part in re.split(r"^(?=\w)", whole, flags=re.MULTILINE) if part.split(":")[0] not in keys]
    path = write(tmp_path, "".join(kept) + block)
    for profile in (None, *load(path).profiles):
        assert expand(load(path, profile)).runnable


def test_the_guide_names_every_key_and_every_field_of_the_recipe() -> None:
    from dataclasses import fields

    from bench.recipe import Augment, Recipe
    from bench.suite import Matrix, Suite

    text = (ROOT / "docs" / "writing-a-suite.md").read_text(encoding="utf-8")
    words = [*Suite.model_fields, *Matrix.model_fields, *(f.name for f in (*fields(Recipe), *fields(Augment)))]
    assert [word for word in words if f"`{word}`" not in text] == []


def test_a_setting_reaches_into_a_list_by_number(tmp_path: Path) -> None:
    suite = load(write(tmp_path), settings=["matrix.dataset.0.classes=4", "matrix.seed.0=9"])
    assert suite.matrix.dataset[0]["classes"] == 4
    assert suite.matrix.seed[0] == 9

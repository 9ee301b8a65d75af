"""What to take, within limits, how sure that is, and what the textbook would have said."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from records import cell, homework, record, study

from bench.report.advice import answer
from bench.report.board import boards
from bench.report.choice import Limits, choose, kind_of, rule_of_thumb
from bench.report.counsel import advised
from bench.report.examples import over_examples, single_runs
from bench.report.latex import escape
from bench.report.latex import render as latex
from bench.report.page import Page, Span, Table
from bench.report.study import sections
from bench.report.trade import fronts, labels_needed, ranking


@cache
def standing():
    of = homework()
    (section,) = sections(of)
    return section, boards(section, of.primary)


def cells_of(table: Table) -> dict[str, list[str]]:
    return {row[0].text: [span.text for span in row[1:]] for row in table.rows}


# choices


def test_without_limits_the_best_mean_is_chosen_and_the_second_is_the_runner_up():
    _, (few, _, many) = standing()
    assert [line.label for line, _ in choose(few).ranked[:2]] == ["feature_extract", "partial_finetune"]
    assert choose(many).ranked[0][0].label == "distill"
    assert choose(many).excluded == {}


def test_a_limit_leaves_out_what_exceeds_it_and_says_by_how_much():
    _, (_, _, many) = standing()
    choice = choose(many, Limits(seconds=100))
    assert set(choice.excluded) == {"scratch", "full_finetune", "distill"}
    assert choice.ranked[0][0].label == "partial_finetune"
    assert "> 100" in choice.excluded["distill"]
    assert choice.excluded["distill"].startswith("standalone seconds: 3")


@pytest.mark.parametrize("limits", [Limits(latency_ms=1), Limits(params=1e6), Limits(seconds=0.01)])
def test_limits_that_nothing_meets_leave_no_choice(limits):
    _, (few, *_) = standing()
    assert choose(few, limits).ranked == ()
    assert len(choose(few, limits).excluded) == 5


def test_a_cost_that_is_not_known_is_beyond_any_limit():
    of = study([record(cell("scratch"), 0.5, latency=())])
    (section,) = sections(of)
    (board,) = boards(section, "accuracy")
    assert choose(board, Limits(latency_ms=1e9)).excluded == {"scratch": "latency at batch 1, ms: not known"}


def test_what_is_as_good_for_less_is_named():
    of = study(
        [record(cell(s, seed=i), a + 0.01 * i * (-1) ** i, t) for s, a, t in
         (("full_finetune", 0.81, 50.0), ("partial_finetune", 0.80, 5.0), ("scratch", 0.2, 1.0)) for i in range(4)]
    )  # fmt: skip
    (section,) = sections(of)
    (board,) = boards(section, "accuracy")
    # The same luck for both: the difference is exact, and shown. Other luck: it is not.
    assert choose(board).cheaper is None

    def lucky(by: float):
        """Return the choice when the cheap strategy has other luck, and is so much worse on the whole."""
        luck = [by + 0.06 * sign for sign in (1, -1, 1, -1)]
        noisy = [
            replace(r, metrics={**r.metrics, "accuracy": r.metrics["accuracy"] + luck[r.cell.seed]})
            if r.cell.strategy["name"] == "partial_finetune" else r
            for r in of.records
        ]  # fmt: skip
        (section,) = sections(study(noisy))
        return choose(boards(section, "accuracy")[0])

    assert lucky(0.002).cheaper.label == "partial_finetune"
    # Six points that four seeds don't show are not nothing.
    far = lucky(-0.05)
    assert far.comparison.verdict == "no difference shown"
    assert far.cheaper is None


# the textbook's rule


def with_classes(of, count=10):
    details = {"classes": [str(c) for c in range(count)]}
    return replace(of, records=tuple(replace(r, details={**r.details, **details}) for r in of.records))


def test_strategies_are_told_apart_by_what_they_train_not_by_their_names():
    section, _ = standing()
    kinds = {line.label: kind_of(line, 100) for line in section.lines}
    assert kinds["scratch"] == "scratch"
    assert kinds["feature_extract"] == "frozen"
    assert kinds["full_finetune"] == "full"
    assert kinds["distill"] is None


@pytest.mark.parametrize(
    ("shares", "weights", "kind"),
    [
        ([0.0, 0.0, 0.0], "pretrained", "frozen"),
        ([0.0, 0.0, 1.0], "pretrained", "partial"),
        ([1.0, 1.0, 1.0], "pretrained", "full"),
        ([1.0, 1.0, 1.0], "random", "scratch"),
        ([0.0, 0.0, 0.0], "random", None),  # a frozen backbone of random weights
        ([1.0, 0.0, 0.0], "pretrained", None),  # the first stages
        ([0.02, 0.01, 0.01], "pretrained", None),  # norms
    ],
)
def test_what_is_none_of_the_four_kinds_is_not_taken_for_one(shares, weights, kind):
    backbone = {"name": "lite0", "source": "timm", "weights": weights, "digest": "d"}
    details = {"trained_shares": {str(i): share for i, share in enumerate(shares)}}
    of = record(replace(cell("any"), backbone=backbone), 0.5)
    (section,) = sections(study([replace(of, details={**of.details, **details})]))
    assert kind_of(section.lines[0], 100) == kind


def test_the_rule_of_thumb_goes_by_labels_a_class_and_likeness():
    (section,) = sections(with_classes(homework()))
    found = {board.size: rule_of_thumb(board) for board in boards(section, "accuracy")}
    assert found[100] == ("few labels (10 a class), like the pretraining's data", "frozen")
    assert found[2000][1] == "partial"
    (section,) = sections(with_classes(homework(), 2))
    assert rule_of_thumb(boards(section, "accuracy")[2])[1] == "full"


def test_without_frozen_features_or_classes_there_is_no_rule():
    _, (few, *_) = standing()
    assert rule_of_thumb(few) is None
    (section,) = sections(with_classes(study([record(cell("scratch"), 0.5)])))
    assert rule_of_thumb(boards(section, "accuracy")[0]) is None


def test_the_answer_says_whether_the_rule_and_the_measurement_agree():
    of = with_classes(homework())
    (section,) = sections(of)
    told = "".join(
        span.text for block in answer(section, boards(section, "accuracy"), "accuracy")
        for span in getattr(block, "words", ())
    )  # fmt: skip
    assert "The textbook's rule of thumb: n = 100, few labels (10 a class)" in told
    assert "a head on frozen features, as measured" in told
    assert re.search(r"a head on frozen features, 0\.0\d\d below the best", told)
    assert "fine-tuning the last stages, which was not measured" in told


# test examples


def answered(accuracy: float, seed: int, examples: int = 400) -> dict[str, object]:
    """Return the details of a cell that got so many of the test examples right, the easy ones first."""
    hard = np.random.default_rng(0).random(examples) + 0.1 * np.random.default_rng(seed + 1).random(examples)
    right = hard < np.quantile(hard, accuracy)
    return {"asked": examples, "right": base64.b64encode(np.packbits(right).tobytes()).decode()}


def two(seeds: int):
    of = study(
        [record(cell(s, seed=i), a, details=answered(a, i + 50 * place)) for place, (s, a) in
         enumerate((("full_finetune", 0.85), ("scratch", 0.75))) for i in range(seeds)]
    )  # fmt: skip
    (section,) = sections(of)
    return of, section, section.lines


def test_the_gap_has_an_interval_over_test_examples_too():
    of, _, (a, b) = two(3)
    found = over_examples(a, b, 100, "accuracy")
    assert found.mean == pytest.approx(0.10)
    assert found.low < 0.10 < found.high
    (counsel,) = advised(of, Limits(), None)
    assert "over test examples" in counsel.text(400)


def test_single_runs_are_compared_by_mcnemar():
    of, _, (a, b) = two(1)
    assert single_runs(a, b, 100, "accuracy").p < 0.001
    assert single_runs(*two(2)[2], 100, "accuracy") is None
    (counsel,) = advised(of, Limits(), None)
    assert "no verdict from 1 seed; on the same test examples p < 0.001 (McNemar)" in counsel.text(400)


def test_answers_of_other_test_sets_are_not_compared():
    of = study(
        [record(cell("scratch"), 0.5, details=answered(0.5, 0, 400)),
         record(cell("full_finetune"), 0.5, details=answered(0.5, 0, 404))]
    )  # fmt: skip
    (section,) = sections(of)
    assert over_examples(*section.lines, 100, "accuracy") is None


# at a terminal


def test_advice_is_text_that_fits_the_terminal_and_names_the_choice():
    (counsel,) = advised(homework(), Limits(seconds=20), 500)
    text = counsel.text(80)
    assert max(map(len, text.splitlines())) <= 80
    assert "n = 500" in text
    assert "n = 2000" not in text.split("Beyond")[0]
    assert text.splitlines()[2] == "partial_finetune has the best mean at n = 500."
    assert "Beyond the limits:" in text


def test_a_time_that_is_not_valid_says_so_wherever_it_is_told():
    noisy = replace(homework(), records=tuple(replace(r, timing_valid=False) for r in homework().records))
    (told,) = advised(noisy, Limits(), 500)
    assert "(timing not valid)" in " ".join(told.text(80).split())
    assert told.json["sizes"][0]["recommended"]["timing_valid"] is False
    (section,) = sections(noisy)
    table = next(
        b for b in answer(section, boards(section, "accuracy"), "accuracy", tabled=True) if isinstance(b, Table)
    )
    assert all(row[3].text.endswith(" [1]") for row in table.rows)
    assert table.notes[0].endswith("seconds are not comparable")
    assert "not valid" not in advised(homework(), Limits(), 500)[0].text(80)


def test_a_size_that_was_not_measured_is_answered_by_the_nearest_and_says_so():
    (counsel,) = advised(homework(), Limits(), 900)
    assert "n = 900 was not measured; the nearest size that was is 500." in counsel.text(200)
    assert [s["size"] for s in counsel.json["sizes"]] == [500]


def test_advice_as_json_has_the_choice_its_margin_and_its_certainty():
    (counsel,) = advised(homework(), Limits(), None)
    found = json.loads(json.dumps(counsel.json, allow_nan=False))
    first = found["sizes"][0]
    assert first["recommended"]["strategy"] == "feature_extract"
    assert first["recommended"]["seeds"] == 3
    assert first["margin"]["low"] <= first["margin"]["mean"] <= first["margin"]["high"]
    assert first["margin"]["verdict"] in ("better", "no difference shown")


# trade-offs


def test_the_front_goes_from_the_cheapest_to_the_best():
    table = fronts(standing()[1], "accuracy")
    assert cells_of(table)["standalone seconds"][2] == "feature_extract → partial_finetune → full_finetune → distill"
    assert "latency, batch 1" not in cells_of(table)  # the same for all


def test_one_strategy_is_no_trade():
    of = study([record(cell("scratch"), 0.5)])
    (section,) = sections(of)
    assert fronts(boards(section, "accuracy"), "accuracy") is None


def test_labels_needed_are_more_for_a_weaker_strategy_and_marked_beyond_the_data():
    section, found = standing()
    table = labels_needed(section, found, "accuracy")
    cells = cells_of(table)
    assert cells["feature_extract"][0] == "100 (best)"
    assert cells["scratch"][2].endswith(")") or "*" in cells["scratch"][2] or "tell" in cells["scratch"][2]
    assert "extrapolation" in table.caption
    assert table.head[-1] == "as good as distill from n ="
    assert cells["distill"][-1] == "–"
    assert cells["full_finetune"][-1] == "100 or fewer" or cells["scratch"][-1] != "100 or fewer"


def test_two_sizes_give_no_labels_needed():
    of = homework()
    (section,) = sections(replace(of, records=tuple(r for r in of.records if r.cell.size < 2000)))
    assert labels_needed(section, boards(section, "accuracy"), "accuracy") is None


def test_several_data_sets_are_ranked():
    names = ("scratch", "feature_extract", "full_finetune")
    of = study(
        [record(cell(s, seed=i, dataset=d), 0.5 + 0.1 * place + 0.001 * i) for d in ("digits", "fashion_mnist", "toy")
         for place, s in enumerate(names) for i in range(3)]
    )  # fmt: skip
    found = sections(of)
    table = ranking(found, [boards(s, "accuracy") for s in found], "accuracy")
    assert cells_of(table)["full_finetune"] == ["1.00"]
    assert cells_of(table)["scratch"] == ["3.00"]
    marks = {row[0].text: row[1].style for row in table.rows}
    assert marks["full_finetune"] == "strong"
    assert marks["scratch"] == ""  # three data sets tell the third from the first, and not the second
    assert ranking(found[:1], [boards(found[0], "accuracy")], "accuracy") is None


# LaTeX


def test_latex_escapes_what_it_would_read_as_its_own():
    assert escape("a_b & 5 % of $x {y}") == r"a\_b \& 5 \% of \$x \{y\}"
    assert escape("\\input{x}") == r"\textbackslash{}input\{x\}"


def test_latex_has_each_table_with_its_best_in_bold():
    table = Table("results", ("strategy", "n = 1"), ((Span("a_b"), Span("0.5 ± 0.1", "strong")),), 1, "A caption.")
    text = latex(Page("t", (), (), (table,)))
    assert r"a\_b & \textbf{0.5 $\pm$ 0.1} \\" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1

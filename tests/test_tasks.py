"""Tasks own the split and the score: the same for every strategy, and nothing of the test in the training."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import problem_of

from bench.errors import OptionError, Skip, SuiteError
from bench.planner import expand
from bench.quality.probabilities import softmax
from bench.suite import load
from bench.tasks import Problem, Round, tasks
from bench.tasks._subset import nested_order
from bench.tasks.classify import Classify
from bench.tasks.few_shot import FewShot
from suites import write

TEN = tuple("abcdefghij")
counts_of_classes = st.lists(st.integers(1, 60), min_size=2, max_size=8)


def problem(train: list[int], test: list[int], size: int, seed: int = 0, validation: float | None = None) -> Problem:
    """Return a problem with so many examples of each class."""
    labels = {
        split: np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
        for split, counts in (("train", train), ("test", test))
    }
    return Problem(labels, TEN[: len(train)], size, seed, validation)


def only(given: Problem, **options) -> Round:
    (found,) = Classify(**options).rounds(given)
    return found


def examples(selection) -> set[tuple[str, int]]:
    return {(selection.split, int(i)) for i in selection.index}


# classify


@given(counts=counts_of_classes, seed=st.integers(0, 99))
def test_every_beginning_of_the_order_is_stratified(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    order = nested_order(labels, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    taken = np.zeros(len(counts), dtype=int)
    for place, example in enumerate(order, start=1):
        taken[labels[example]] += 1
        if place < len(counts):
            assert taken.max() == 1
            continue
        assert taken.min() >= 1
        # No class is so far ahead that its last example belonged to another (Sainte-Lague's condition).
        ahead = max((2 * t - 1) / n for t, n in zip(taken, counts, strict=True) if t > 1) if taken.max() > 1 else 0
        behind = min((2 * t + 1) / n for t, n in zip(taken, counts, strict=True))
        assert ahead <= behind + 1e-12


def test_balanced_classes_get_the_same_number():
    labels = np.repeat(np.arange(10), 60)
    order = nested_order(labels, np.random.default_rng(0))
    for size in (10, 100, 500):
        assert (np.bincount(labels[order[:size]]) == size // 10).all()


@given(counts=st.lists(st.integers(220, 400), min_size=10, max_size=10), seed=st.integers(0, 9))
@settings(max_examples=20)
def test_100_is_inside_500_is_inside_2000(counts, seed):
    small, middle, large = (only(problem(counts, [20] * 10, size, seed), monitor_size=150) for size in (100, 500, 2000))
    assert examples(small.train) < examples(middle.train) < examples(large.train)
    assert [len(r.train) for r in (small, middle, large)] == [100, 500, 2000]
    assert (small.monitor.index == middle.monitor.index).all()
    assert (small.monitor.index == large.monitor.index).all()
    assert (small.test.index == large.test.index).all()


@given(
    counts=st.lists(st.integers(5, 60), min_size=2, max_size=8),
    share=st.floats(0.05, 0.9),
    part=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_train_validation_monitor_and_test_share_no_example(counts, share, part, seed):
    classes = len(counts)
    size = classes + 1 + round(part * (sum(counts) - classes - 1))
    found = only(problem(counts, [3] * classes, size, seed, validation=share), monitor_size=20)
    parts = [found.train, found.validation, found.test] + ([found.monitor] if found.monitor else [])
    together = [example for selection in parts for example in examples(selection)]
    assert len(together) == len(set(together)) == sum(len(selection) for selection in parts)
    # Validation is a part of the labelled budget, and training keeps one of each class.
    assert len(found.train) + len(found.validation) == size
    assert set(found.train.labels) == set(range(classes))
    whole = only(problem(counts, [3] * classes, size, seed), monitor_size=20)
    assert examples(found.train) | examples(found.validation) == examples(whole.train)


def test_labels_are_those_of_the_examples():
    given = problem([30] * 4, [10] * 4, 40, validation=0.25)
    found = only(given, test_size=20, monitor_size=10)
    for selection in (found.train, found.validation, found.monitor, found.test):
        assert (given.labels[selection.split][selection.index] == selection.labels).all()
    assert found.test.split == "test"
    assert len(found.test) == 20
    assert np.bincount(found.test.labels).tolist() == [5] * 4


def test_a_seed_draws_other_examples_and_the_same_test():
    one, other = (only(problem([60] * 4, [20] * 4, 40, seed), test_size=40) for seed in (0, 1))
    assert examples(one.train) != examples(other.train)
    assert examples(one.test) == examples(other.test)


def test_no_monitor_when_all_examples_are_labelled():
    assert only(problem([5] * 3, [5] * 3, 15)).monitor is None


def test_a_budget_of_one_example_a_class_leaves_nothing_to_select_on():
    with pytest.raises(Skip, match="size 3 leaves no example to select on"):
        only(problem([5] * 3, [5] * 3, 3, validation=0.2))


@pytest.mark.parametrize(
    ("size", "options", "wrong"),
    [
        (10, {}, None),
        (61, {}, "size 61 is larger than the data: 60 training examples"),
        (9, {}, "size 9 is smaller than the 10 classes"),
    ],
)
def test_a_size_that_the_data_do_not_have_is_said_before_anything_runs(size, options, wrong):
    assert Classify(**options).check(size, 10, {"train": 60, "test": 30}) == wrong


def test_a_test_that_the_data_do_not_have_is_a_mistake_in_the_option():
    with pytest.raises(OptionError, match="test_size 31 is larger than the data: 30 test examples") as wrong:
        Classify(test_size=31).check(10, 10, {"train": 60, "test": 30})
    assert wrong.value.path == ("test_size",)


# few-shot


EPISODES = FewShot(ways=3, queries=4, episodes=50)
FIVE = problem([20] * 5, [10] * 5, 3)


def test_an_episode_has_k_shots_of_each_way_and_queries_from_the_test_split():
    for episode in EPISODES.rounds(replace(FIVE, size=6)):
        assert np.bincount(episode.train.labels).tolist() == [2, 2, 2]
        assert np.bincount(episode.test.labels).tolist() == [4, 4, 4]
        assert (episode.train.split, episode.test.split) == ("train", "test")
        for selection in (episode.train, episode.test):
            assert len(examples(selection)) == len(selection)
            own = np.array([FIVE.classes.index(name) for name in episode.classes])
            assert (FIVE.labels[selection.split][selection.index] == own[selection.labels]).all()
        assert len(set(episode.classes)) == 3


def test_one_shot_is_inside_five_shot_of_the_same_episode_with_the_same_queries():
    for one, five in zip(EPISODES.rounds(FIVE), EPISODES.rounds(replace(FIVE, size=15)), strict=True):
        assert one.classes == five.classes
        assert (one.test.index == five.test.index).all()
        assert examples(one.train) < examples(five.train)


def test_episodes_differ_from_each_other_and_between_seeds():
    drawn = {(e.classes, *e.train.index) for seed in (0, 1) for e in EPISODES.rounds(replace(FIVE, seed=seed))}
    assert len(drawn) == 100


def test_every_class_is_drawn_about_equally_often():
    often = [name for e in FewShot(ways=3, queries=1, episodes=600).rounds(FIVE) for name in e.classes]
    assert all(abs(often.count(name) - 360) < 60 for name in FIVE.classes)


def test_the_interval_is_that_of_a_mean_over_episodes():
    episode = next(iter(EPISODES.rounds(FIVE)))
    right = np.eye(3, dtype=np.float32)[episode.test.labels]
    half = np.where(np.arange(12)[:, None] % 2 == 0, right, np.roll(right, 1, axis=1))
    scores = [EPISODES.score(logits, episode) for logits in (right, half, half, right)]
    assert [s.metrics["accuracy"] for s in scores] == [1.0, 0.5, 0.5, 1.0]
    summary = EPISODES.summary(scores).metrics
    deviation = np.sqrt(4 * 0.25**2 / 3)
    assert summary["accuracy"] == 0.75
    assert summary["accuracy_ci95"] == pytest.approx(1.96 * deviation / 2)


def test_six_hundred_episodes_are_the_default():
    assert FewShot().episodes >= 600


@pytest.mark.parametrize(
    ("size", "wrong"),
    [
        (15, None),
        (7, "size 7 is not a multiple of the 5 ways: it is ways x shots"),
    ],
)
def test_a_size_that_is_no_number_of_shots_is_said_before_anything_runs(size, wrong):
    assert FewShot(ways=5).check(size, 10, {"train": 60, "test": 30}) == wrong


def test_more_ways_than_classes_are_refused():
    with pytest.raises(OptionError, match="the data have 4") as wrong:
        FewShot(ways=5).check(10, 4, {"train": 60, "test": 30})
    assert wrong.value.path == ("ways",)


@pytest.mark.parametrize(("size", "queries", "split"), [(63, 4, "train"), (3, 11, "test")])
def test_a_class_with_too_few_examples_is_named(size, queries, split):
    with pytest.raises(Skip, match=f"from the {split} split, and 'a' has"):
        list(replace(EPISODES, queries=queries).rounds(replace(FIVE, size=size)))


# every task


def fingerprint(task, given: Problem) -> str:
    digest = hashlib.sha256()
    for one in task.rounds(given):
        for selection in (one.train, one.test, one.validation, one.monitor):
            if selection is not None:
                digest.update(selection.split.encode() + selection.index.tobytes() + selection.labels.tobytes())
        digest.update(repr(one.classes).encode())
    return digest.hexdigest()[:16]


@pytest.fixture(params=tasks.names())
def task(request):
    options = {"few_shot": {"ways": 3, "queries": 5, "episodes": 4}, "classify": {"test_size": 30, "monitor_size": 12}}
    return tasks.create({"name": request.param, **options.get(request.param, {})})


def test_the_rounds_are_a_function_of_the_problem_alone(task):
    given = problem_of(12)
    assert task.check(12, 3, {k: len(v) for k, v in given.labels.items()}) is None
    np.random.seed(0)  # noqa: NPY002 - a task that drew from the global generator would be caught
    once = fingerprint(task, given)
    np.random.seed(1)  # noqa: NPY002
    assert fingerprint(task, given) == once
    assert fingerprint(task, replace(given, seed=1)) != once


def test_a_task_scores_what_it_is_ranked_by(task):
    rounds = list(task.rounds(problem_of(12)))
    perfect = [task.score(8 * np.eye(3, dtype=np.float32)[r.test.labels], r) for r in rounds]
    guess = [task.score(np.zeros((len(r.test), 3), dtype=np.float32), r) for r in rounds]
    assert task.summary(perfect).metrics[task.primary] == 1.0
    assert task.summary(guess).metrics[task.primary] == pytest.approx(1 / 3)


def test_every_metric_that_is_missing_has_a_reason():
    given = problem([9] * 3, [4, 4, 1], 9)
    found = only(given)
    absent = replace(found, test=replace(found.test, labels=np.minimum(found.test.labels, 1)))
    score = Classify().score(np.zeros((9, 3), dtype=np.float32), absent)
    assert score.metrics["auroc"] is None
    assert "'c'" in score.reasons["metrics.auroc"]


def test_probabilities_sum_to_one_for_any_logits():
    logits = np.array([[1e4, -1e4, 0], [0, 0, 0]], dtype=np.float32)
    assert softmax(logits).sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_names_its_metrics_and_is_ranked_by_one_that_is_better_high(name):
    task = tasks.get(name)
    assert task.metrics[task.primary] == "higher"
    assert set(task.metrics.values()) <= {"higher", "lower"}


def test_the_metric_that_ranks_may_be_another_and_makes_no_other_cell(tmp_path):
    by_accuracy, by_f1 = (
        expand(load(write(tmp_path, {"task": {"primary": primary}}))) for primary in ("accuracy", "macro_f1")
    )
    assert (by_accuracy.primary, by_f1.primary) == ("accuracy", "macro_f1")
    assert [e.cell.id for e in by_accuracy.entries] == [e.cell.id for e in by_f1.entries]
    assert tasks.create(by_f1.entries[0].cell.plugin("task")).primary == "macro_f1"
    with pytest.raises(SuiteError, match=r"toy\.yaml:\d+:\d+: task 'classify': primary .*not 'nll'"):
        expand(load(write(tmp_path, {"task": {"primary": "nll"}})))

"""The gate: limits, verdicts, what moved, and what people and machines are told."""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import ENVIRONMENT, cell, failed, homework, record
from runs import bench

from bench.compare import baseline, pytest_benchmark
from bench.compare.gate import Gate, compare
from bench.compare.measures import DEFAULTS, MEASURES, parse
from bench.compare.outputs import FORMATS, github, junit, markdown, summary, text
from bench.errors import OptionError, StoreError
from bench.record import Latency
from bench.sides import load
from bench.tasks import every_metric
from bench.tasks.classify import Classify

NAMES = ("scratch", "feature_extract", "full_finetune")


def runs(seeds: int = 5, noise: float = 0.004, draw: int = 0, **change):
    """Return records of three strategies at two sizes: one run of a suite on a noisy machine.

    `change` adds to the accuracy, or multiplies times, of full_finetune at n = 500.
    """
    luck = random.Random(draw)
    made = []
    for name in NAMES:
        for size in (100, 500):
            for seed in range(seeds):
                of = cell(name, size, seed)
                hit = name == "full_finetune" and size == 500
                accuracy = 0.6 + size / 5000 + luck.gauss(0, noise) + (change.get("accuracy", 0.0) if hit else 0.0)
                train = 5.0 * (1 + luck.gauss(0, 0.02)) * (change.get("train", 1.0) if hit else 1.0)
                got = record(of, accuracy, train)
                if "params" in change and hit:
                    got = replace(got, cost=replace(got.cost, params_total=got.cost.params_total + change["params"]))
                made.append(replace(got, details={**got.details, "calibration": {"matmul_ms": [1.5, 1.5]}}))
    return made


def gate(base, new, *limits: str) -> Gate:
    metrics = every_metric()
    return compare(base, new, *parse(limits or DEFAULTS, metrics))


def found(outcome: Gate) -> set[tuple[str, str]]:
    return {(c.measure, c.point) for c in outcome.regressions}


WORSE = "full_finetune · n=500"


# limits


@given(
    st.sampled_from(sorted(MEASURES)),
    st.floats(0, 1e6, allow_nan=False).map(lambda x: round(x, 3)),
    st.sampled_from(["", "%"]),
)
def test_a_limit_says_how_far_a_measure_may_rise(name, amount, unit):
    ((limit,), status) = parse([f"{name}:+{amount:f}{unit}"], {})
    assert not status
    assert limit.relative == (unit == "%")
    assert limit.allows(200.0) == pytest.approx(amount * 2 if unit else amount, abs=1e-5)


def test_points_are_hundredths_and_a_metric_of_the_task_falls():
    ((limit,), _) = parse(["accuracy:-1pp"], every_metric())
    assert limit.allows(0.9) == pytest.approx(0.01)
    assert parse(["status"], {}) == ((), True)
    with pytest.raises(OptionError, match="accuracy has two limits: accuracy:-1pp and accuracy:-2pp"):
        parse(["accuracy:-1pp", "accuracy:-2pp"], every_metric())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("accuracy", "is no limit: write accuracy:-1pp"),
        ("statsu", "or status; did you mean 'status'?"),
        ("accuracy:-1", "write points, accuracy:-1pp, or a share of its value, accuracy:-1%"),
        ("accuracy:-200pp", "write points"),
        ("accuracy:1pp", "is no limit"),
        ("acuracy:-1pp", "unknown measure 'acuracy'; did you mean 'accuracy'"),
        ("latency_p5:+1%", "did you mean 'latency_p50'"),
        ("status:+0", "unknown measure 'status'; did you mean 'status'"),
        ("accuracy:+1pp", "accuracy is worse when it is lower; write accuracy:-1pp"),
        ("params_total:-0", "params_total is worse when it is higher; write params_total:+0"),
        ("nll:-1%", "nll is worse when it is higher; write nll:+1%"),
        ("params_total:+1pp", "points are for metrics of the task"),
        ("accuracy:-1e3", "is no limit"),
    ],
)
def test_a_wrong_limit_says_what_is_wrong_and_the_nearest_right_word(written, said):
    with pytest.raises(OptionError, match=re.escape(said)):
        parse([written], Classify.metrics)


# verdicts


def test_the_same_records_show_no_change_and_pass():
    outcome = gate(runs(), runs())
    assert outcome.exit_code == 0
    assert {c.verdict for c in outcome.changes} == {"no change shown"}
    assert outcome.moved == ()
    assert (outcome.cells, outcome.again) == (30, 30)
    assert summary(outcome).endswith("30 cells of 30 from the very run of the base")


def test_status_alone_is_a_comparison():
    assert gate(runs(), runs(), "status").exit_code == 0
    assert gate(runs(), [failed(r.cell, "oom", "no") for r in runs()], "status").exit_code == 1
    assert gate(runs(), [record(cell("protonet"), 0.5)], "accuracy:-1pp").exit_code == 4
    # Asked for measures that neither has: that their cells ended well is no answer.
    bare = [replace(r, metrics={}) for r in runs()]
    assert gate(bare, bare, "accuracy:-1pp", "status").exit_code == 4


def test_one_more_parameter_is_a_regression_and_one_less_an_improvement():
    outcome = gate(runs(), runs(params=1))
    assert found(outcome) == {("params_total", WORSE)}
    assert outcome.exit_code == 1
    fewer = gate(runs(params=1), runs())
    assert fewer.exit_code == 0
    assert [c.verdict for c in fewer.changes if c.measure == "params_total" and c.point == WORSE] == ["improvement"]


def test_a_count_that_rises_for_one_seed_is_a_regression_whatever_the_others_do():
    base, new = runs(), runs()
    new[20:22] = [
        replace(r, cost=replace(r.cost, flops_train=r.cost.flops_train + by))
        for r, by in zip(new[20:22], (-10, 5), strict=True)
    ]
    (change,) = gate(base, new, "flops_train:+0").regressions
    assert change.change == 5


def test_a_number_that_is_no_more_is_a_regression_and_says_why():
    new = runs()
    new[0] = replace(new[0], metrics={**new[0].metrics, "auroc": None}, reasons={"metrics.auroc": "one class"})
    (change,) = gate(runs(), new, "auroc:-1pp").regressions
    assert change.note == "it has no value any more: one class"


def test_a_change_of_just_the_limit_passes():
    def exact(accuracy):
        return [replace(r, metrics={"accuracy": accuracy}) for r in runs()]

    assert gate(exact(0.80), exact(0.79), "accuracy:-1pp").exit_code == 0
    assert gate(exact(0.80), exact(0.789), "accuracy:-1pp").exit_code == 1


def test_a_point_that_is_noisier_than_the_rest_is_judged_by_its_own_few_seeds():
    luck = random.Random(3)

    def noisy():
        made = runs(seeds=3, noise=0.002, draw=luck.randrange(10**6))
        return [
            replace(r, metrics={"accuracy": r.metrics["accuracy"] + luck.gauss(0, 0.04)})
            if r.cell.strategy["name"] == "scratch" else r
            for r in made
        ]  # fmt: skip

    assert sum(bool(gate(noisy(), noisy(), "accuracy:-1pp").regressions) for _ in range(150)) <= 12


def test_points_that_differ_in_an_option_are_not_mixed():
    def two(shift):
        cells = [cell({"name": "partial_finetune", "unfreeze": k}, 100, seed) for k in (1, 2) for seed in range(3)]
        return [record(c, 0.7 + (shift if c.strategy["unfreeze"] == 2 else 0) + 0.001 * c.seed) for c in cells]

    outcome = gate(two(0), two(-0.05), "accuracy:-1pp")
    assert len(outcome.changes) == 2
    (change,) = outcome.regressions
    assert "unfreeze=2" in change.point


def test_a_loss_of_accuracy_beyond_the_limit_is_found_in_its_place_through_the_noise():
    hits = sum(("accuracy", WORSE) in found(gate(runs(draw=i), runs(draw=900 + i, accuracy=-0.03))) for i in range(40))
    assert hits >= 38


def test_noise_alone_is_no_regression():
    alarms = [found(gate(runs(draw=i), runs(draw=500 + i))) for i in range(60)]
    assert sum(map(len, alarms)) <= 1


def test_a_shown_change_within_its_limit_passes():
    outcome = gate(runs(noise=0.0001), runs(noise=0.0001, draw=1, accuracy=-0.005), "accuracy:-1pp")
    (change,) = (c for c in outcome.changes if c.point == WORSE)
    assert (change.verdict, outcome.exit_code) == ("within the limit", 0)


def test_slower_training_is_found_and_a_slower_machine_is_not():
    assert ("seconds_train", WORSE) in found(gate(runs(), runs(draw=1, train=1.15), "seconds_train:+8%"))
    slow = [
        replace(
            r,
            seconds=replace(r.seconds, train=r.seconds.train * 1.3, standalone=r.seconds.standalone * 1.3),
            details={**r.details, "calibration": {"matmul_ms": [1.95, 1.95]}},
        )
        for r in runs(draw=1)
    ]
    assert found(gate(runs(), slow, "seconds_train:+8%")) == set()


def test_times_of_another_machine_are_ratios_to_the_kernels_or_not_compared():
    def elsewhere(records, kernels):
        environment = {**ENVIRONMENT, "fingerprint": "other"}
        details = {"calibration": {"matmul_ms": [kernels, kernels]}} if kernels else {}
        return [replace(r, environment=environment, details=details) for r in records]

    base, new = runs(), runs(draw=1, train=1.15)
    limits = ("seconds_train:+8%", "peak_memory_bytes:+15%", "accuracy:-1pp")
    outcome = gate(base, elsewhere(new, 1.5), *limits)
    assert found(outcome) == set()  # 15 % is within twice the limit
    assert ("seconds_train", WORSE) in found(gate(base, elsewhere(runs(draw=1, train=1.3), 1.5), *limits))
    verdicts = {c.measure: c.verdict for c in gate(base, elsewhere(new, None), *limits).changes}
    assert verdicts["seconds_train"] == verdicts["peak_memory_bytes"] == "not comparable"
    assert verdicts["accuracy"] != "not comparable"


def kernels(records, ms: float):
    return [replace(r, details={"calibration": {"matmul_ms": [ms, ms]}}) for r in records]


def test_kernels_that_differ_alone_raise_no_alarm():
    alarms = [gate(kernels(runs(draw=i), 1.5), kernels(runs(draw=90 + i), 1.4), "seconds_train:+1%") for i in range(40)]
    assert sum(len(outcome.regressions) for outcome in alarms) <= 4


def test_each_seed_is_compared_with_the_kernels_of_its_own_machines():
    def moved(records):
        """Return seeds from the first on as another machine of half the speed runs them, whose kernels say so."""
        environment = {**ENVIRONMENT, "fingerprint": "slow"}
        return [
            r if r.cell.seed == 0 else replace(kernels([r], 3.0)[0], environment=environment,
            seconds=replace(r.seconds, train=2 * r.seconds.train)) for r in records
        ]  # fmt: skip

    outcome = gate(kernels(runs(), 1.5), moved(kernels(runs(draw=1), 1.5)), "seconds_train:+8%")
    assert {c.verdict for c in outcome.changes} == {"no change shown"}
    assert all("other machines" in c.note for c in outcome.changes)


def test_points_that_would_be_called_the_same_are_all_compared():
    def versions(second: float):
        return [record(cell({"name": "scratch", "version": v}, 100, seed + 3 * v), a + 0.001 * seed)
                for v, a in ((1, 0.8), (2, second)) for seed in range(3)]  # fmt: skip

    outcome = gate(versions(0.5), versions(0.3), "accuracy:-1pp")
    assert len({c.point for c in outcome.changes}) == 2
    assert len(outcome.regressions) == 1


def test_nothing_that_can_be_compared_is_exit_4():
    environment = {**ENVIRONMENT, "fingerprint": "other"}
    new = [replace(r, environment=environment, details={}) for r in runs()]
    assert gate(runs(), new, "seconds_train:+8%").exit_code == 4
    assert "nothing could be compared" in summary(gate(runs(), new, "seconds_train:+8%"))


def test_latency_is_compared_by_its_raw_samples():
    def timed(by: float, draw: int):
        luck = np.random.default_rng(draw)
        samples = tuple(map(float, by * 10 * np.exp(luck.normal(0, 0.05, 60))))
        entry = Latency("cpu", 2, 1, float(np.median(samples)), 11.0, 12.0, samples, 100.0)
        return [replace(r, latency=(entry,)) for r in runs()]

    limit = "latency_p50:+5%"
    assert {c.measure for c in gate(timed(1, 0), timed(1.1, 1), limit).regressions} == {"latency_p50"}
    assert gate(timed(1, 0), timed(1.0, 1), limit).exit_code == 0
    assert gate(timed(1, 0), timed(1, 0), limit).exit_code == 0


def test_one_seed_is_judged_by_its_test_examples_and_two_by_nothing():
    def answered(records, wrong: int):
        right = np.ones(400, bool)
        right[:wrong] = False
        kept = {"asked": 400, "right": base64.b64encode(np.packbits(right).tobytes()).decode()}
        return [replace(r, metrics={"accuracy": float(right.mean())}, details=kept) for r in records]

    one = answered(runs(seeds=1), 40), answered(runs(seeds=1), 80)
    outcome = gate(*one, "accuracy:-1pp")
    assert len(outcome.regressions) == 6
    assert "McNemar" in outcome.changes[0].note
    assert gate(one[0], answered(runs(seeds=1), 42), "accuracy:-0pp").exit_code == 0
    two = gate(answered(runs(seeds=2), 40), answered(runs(seeds=2), 80), "accuracy:-1pp")
    assert {c.note for c in two.changes} == {"2 of the 3 seeds that a verdict needs"}


# what moved


def test_vanished_new_failed_and_changed_cells_are_told():
    base = [*runs(), record(cell("distill", 100, 0), 0.5)]
    kept = [r for r in runs() if r.cell.strategy["name"] != "scratch"]
    broken = failed(kept[0].cell, "oom", "out of memory")
    longer = replace(kept[1], cell=replace(kept[1].cell, recipe={**kept[1].cell.recipe, "epochs": 20}))
    longer = replace(longer, cell_id=longer.cell.id)
    outcome = gate(base, [broken, longer, *kept[2:], record(cell("protonet", 100, 0), 0.5)])
    told = {(m.what, m.fails) for m in outcome.moved}
    assert told == {("vanished", True), ("new", False), ("status", True), ("identity", False)}
    crashed = failed(longer.cell, "failed", "RuntimeError")
    (moved,) = (m for m in gate(base, [broken, crashed, *kept[2:]]).moved if m.what == "identity")
    assert moved.fails
    assert moved.note.endswith("ok before, now failed: RuntimeError")
    (identity,) = (m for m in outcome.moved if m.what == "identity")
    assert "recipe.epochs: 10 before, now 20" in identity.note
    (status,) = (m for m in outcome.moved if m.what == "status")
    assert status.note == "ok before, now oom: out of memory"
    assert outcome.exit_code == 1
    assert gate(base, [broken, longer, *kept[2:]], "accuracy:-1pp").exit_code == 0


# what is told


HOSTILE = "<b>|`::error::\n%0A]]>&\x00"


def hostile() -> Gate:
    def named(records):
        return [
            replace(r, cell=(of := replace(r.cell, strategy={"name": HOSTILE})), cell_id=of.id)
            for r in records if r.cell.strategy["name"] == "full_finetune"
        ]  # fmt: skip

    return gate(named(runs()), [*named(runs(params=1)), failed(cell(HOSTILE, 900), "oom", HOSTILE)])


def test_text_names_a_regression_with_its_numbers_first():
    first, *_, last = text(gate(runs(), runs(params=1))).splitlines()
    assert first == (
        "REGRESSION: params_total of full_finetune · n=500: 3,383,818 to 3,383,819, +1, limit params_total:+0"
    )
    assert last.startswith("1 regression; ")


def test_junit_counts_what_it_holds_and_any_text_is_xml():
    outcome = hostile()
    root = ElementTree.fromstring(junit(outcome))
    (suite,) = root
    assert int(suite.get("tests")) == len(suite) == len(outcome.changes) + len(outcome.moved)
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure")) == outcome.failures == 2
    assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped"))
    assert all(case.get("name") and case.get("classname") for case in suite)


# What Jenkins' schema of this format (junit-10.xsd of its xUnit plugin) lets each element have, and what it must have.
JUNIT = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time"},
        {"name", "tests", "failures", "errors"},
        {"testcase"},
    ),
    "testcase": ({"name", "time", "classname"}, {"name"}, {"failure", "skipped"}),
    "failure": ({"type", "message"}, set(), set()),
    "skipped": ({"type", "message"}, set(), set()),
}


def test_junit_keeps_to_the_schema_of_its_readers():
    for outcome in (hostile(), gate(runs(), runs()), Gate((), (), 0, 0, False)):
        root = ElementTree.fromstring(junit(outcome))
        assert root.tag == "testsuites"
        for element in root.iter():
            may, must, holds = JUNIT[element.tag]
            assert must <= element.attrib.keys() <= may
            assert {child.tag for child in element} <= holds


def test_annotations_are_one_line_each_in_githubs_form():
    lines = github(hostile()).splitlines()
    assert all(re.fullmatch(r"::(error|warning|notice) title=[^:,]+::[^\r\n]+", line) for line in lines)
    assert sum(line.startswith("::error") for line in lines) == hostile().failures


def test_markdown_keeps_its_table_whatever_the_names_are():
    shown = markdown(hostile())
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert "<b>" not in shown
    assert shown.startswith("**❌ bench: 1 regression")


def test_every_form_is_given_for_nothing_and_for_everything():
    for outcome in (Gate((), (), 0, 0, False), gate(runs(), runs(params=1))):
        for form in FORMATS.values():
            assert form(outcome).endswith("\n")
    assert json.loads(FORMATS["badge"](gate(runs(), runs(params=1))))["message"] == "1 regression"
    assert json.loads(FORMATS["json"](Gate((), (), 0, 0, False)))["exit_code"] == 4


# baselines


def test_a_baseline_is_small_sorted_text_that_gives_the_same_verdicts():
    of = list(homework().records)
    kept = baseline.text(of)
    assert baseline.text(reversed(of)) == kept
    assert len(kept.splitlines()) == 54
    assert len(kept) < 300_000
    again = baseline.read(kept, "x")
    assert {r.cell_id for r in again} == {r.cell_id for r in of}
    assert gate(again, of).changes == gate(of, of).changes


def test_a_line_that_is_no_record_is_named():
    kept = baseline.text(homework().records).splitlines()
    kept[3] = kept[3][:50]
    with pytest.raises(StoreError, match=r"^base\.jsonl:4: is no record of a baseline"):
        baseline.read("\n".join(kept), "base.jsonl")


def test_files_of_pytest_benchmark_are_read_as_latencies(tmp_path):
    def file(name, by):
        data = [0.01 * by * (1 + 0.01 * (i % 7)) for i in range(40)]
        benchmark = {"name": "test_a", "fullname": "t.py::test_a", "stats": {"data": data}}
        path = tmp_path / name
        path.write_text(json.dumps({"machine_info": {"cpu": {"brand_raw": "x"}}, "benchmarks": [benchmark]}))
        return load(str(path), tmp_path)

    base, slower = file("a.json", 1.0), file("b.json", 1.2)
    assert base[0].latency[0].samples_ms[0] == pytest.approx(10)
    outcome = gate(base, slower, "latency_p50:+10%")
    assert [c.verdict for c in outcome.changes] == ["regression"]
    assert gate(base, file("c.json", 1.0), "latency_p50:+10%").exit_code == 0


def test_our_latencies_are_a_file_that_pytest_benchmark_compares(tmp_path):
    of = runs(seeds=1)
    luck = np.random.default_rng(0)
    samples = tuple(map(float, 10 * np.exp(luck.normal(0, 0.05, 60))))
    of = [replace(r, latency=(Latency("cpu", 2, 1, 10.0, 11.0, 12.0, samples, 100.0),)) for r in of]
    text = pytest_benchmark.text(of)
    (first, *_) = pytest_benchmark.records(text)
    assert first.latency[0].samples_ms == pytest.approx(samples)
    stats_of = json.loads(text)["benchmarks"][0]["stats"]
    assert stats_of["median"] == pytest.approx(np.median(samples) / 1000)
    assert (stats_of["q1"], stats_of["q3"]) == pytest.approx(tuple(np.quantile(samples, [0.25, 0.75]) / 1000))
    assert stats_of["stddev"] == pytest.approx(np.std(samples, ddof=1) / 1000)
    path = tmp_path / "latencies.json"
    path.write_text(text, encoding="utf-8")
    pytest.importorskip("pytest_benchmark")
    shown = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(path), "--csv=" + str(tmp_path / "x")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "6 tests" in shown.stdout


# by the command


def stored(folder, name, records):
    """Keep records as a run of a suite would."""
    (folder / name).mkdir(parents=True)
    for r in records:
        (folder / name / f"{r.cell_id}.json").write_text(json.dumps(replace(r, suite=name).to_json()), encoding="utf-8")


def test_every_exit_code_comes_through_the_command(tmp_path):
    stored(tmp_path / "results", "shop", runs())
    stored(tmp_path / "new", "shop", runs(params=1))
    saved = bench(tmp_path, "baseline", "save", "shop")
    assert saved.stdout.startswith("results/baselines/shop.jsonl: 30 cells, ")
    base = "results/baselines/shop.jsonl"
    same = bench(tmp_path, "compare", base, "results/shop")
    assert (same.returncode, same.stderr) == (0, "")
    worse = bench(tmp_path, "compare", base, "new/shop", "--format", "junit", "--output", "junit.xml")
    assert worse.returncode == 1
    assert worse.stdout.startswith("REGRESSION: params_total of full_finetune")
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("failures") == "1"
    only = bench(tmp_path, "compare", base, "new/shop", "--fail-on", "params_total:+1", "--fail-on", "status")
    assert only.returncode == 0
    for wrong, said in (
        (["--fail-on", "params:+0"], "error: --fail-on: unknown measure 'params'; did you mean"),
        (["--format", "jnuit"], "error: --format jnuit: there is no such form; did you mean 'junit'?"),
    ):
        done = bench(tmp_path, "compare", base, "new/shop", *wrong)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert done.stderr.startswith(said)
    missing = bench(tmp_path, "compare", "nowhere", "new/shop")
    assert missing.returncode == 2
    assert "nowhere: is no results folder, baseline (.jsonl)" in missing.stderr
    stored(tmp_path / "other", "shop", [record(cell("protonet", 100), 0.5)])
    assert bench(tmp_path, "compare", base, "other/shop", "--fail-on", "accuracy:-1pp").returncode == 4


def test_a_baseline_of_a_git_ref_is_the_baseline_there(tmp_path):
    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True, capture_output=True
        )

    stored(tmp_path / "results", "shop", runs())
    bench(tmp_path, "baseline", "save", "shop")
    git("init", "-b", "main")
    git("add", "results/baselines")
    git("commit", "-m", "a baseline")
    assert bench(tmp_path, "compare", "git:main", "results/shop").returncode == 0
    gone = bench(tmp_path, "compare", "git:nowhere", "results/shop")
    assert gone.returncode == 2
    assert gone.stderr.startswith("error: git:nowhere: ")


def test_baselines_are_listed_shown_and_taken_in_part(tmp_path):
    assert "no baselines in results/baselines" in bench(tmp_path, "baseline", "list").stdout
    stored(tmp_path / "results", "shop", runs(params=1))
    bench(tmp_path, "baseline", "save", "shop")
    before = (tmp_path / "results/baselines/shop.jsonl").read_text(encoding="utf-8")
    assert re.match(r"shop +30 cells  Example CPU 2.0 GHz, commit 4156e7d", bench(tmp_path, "baseline", "list").stdout)
    assert len(bench(tmp_path, "baseline", "show", "shop").stdout.splitlines()) == 30
    for r in runs(draw=1):
        (tmp_path / "results/shop" / f"{r.cell_id}.json").write_text(json.dumps(r.to_json()), encoding="utf-8")
    bench(tmp_path, "baseline", "update", "shop", "--only", "strategy=scratch")
    after = (tmp_path / "results/baselines/shop.jsonl").read_text(encoding="utf-8")
    changed = [a for a, b in zip(after.splitlines(), before.splitlines(), strict=True) if a != b]
    assert len(changed) == 10
    assert all('"scratch"' in line for line in changed)
    none = bench(tmp_path, "baseline", "update", "shop", "--only", "strategy=scrach")
    assert (none.returncode, none.stdout) == (2, "")
    assert none.stderr == "error: --only strategy=scrach: the suite has no strategy 'scrach'; did you mean 'scratch'?\n"

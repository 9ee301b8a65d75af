"""What is measured: quality against hand-made cases, costs against hand counts, and the rules of the clocks."""

from __future__ import annotations

import base64
import importlib.util
import json
import math
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from learners import SMALL_MODELS
from sklearn import metrics
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from worked import CLASSES, EPOCHS, HEAD, LAST, MIDDLE, SIZE, STEM, TRUNK, WHOLE, worked

from bench.backbones import find
from bench.backbones._build import hollow
from bench.backbones._network import Network
from bench.backbones.torchvision import Torchvision, _weights
from bench.cell import Cell
from bench.measure import environment, latency, memory
from bench.measure.architecture import Architecture, architecture_of, summarise
from bench.measure.clock import Clock
from bench.measure.cost import operations_of
from bench.measure.flops import Uncountable, count_macs, macs_by_fvcore
from bench.measure.quality import MOST_CONFUSED, quality
from bench.quality.probabilities import ECE_BINS, expected_calibration_error, softmax

CPU = torch.device("cpu")


# Quality


def test_quality_of_a_case_that_was_worked_out_by_hand():
    # Right with 0.7, right with 0.6, and a cat with 0.5 where it is an owl.
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2]])
    found = quality(np.log(probabilities).astype(np.float32), np.array([0, 1, 2]), ("cat", "dog", "owl"))
    assert found.reasons == {}
    assert found.metrics == pytest.approx(
        {
            "accuracy": 2 / 3,
            "macro_f1": (2 / 3 + 1 + 0) / 3,  # precision 1/2 and recall 1; both 1; never found
            "nll": -(math.log(0.7) + math.log(0.6) + math.log(0.2)) / 3,
            "ece": (0.3 + 0.4 + 0.5) / 3,  # each in a bin of its own
            "auroc": (1 + 1 + 1 / 2) / 3,  # the owl is more of an owl than the cat is, and less than the dog
        },
        abs=1e-6,
    )


@pytest.mark.parametrize(
    ("labels", "named"), [([0, 1, 0, 1], "owl"), ([1, 2, 2, 1], "cat"), ([1, 1, 1, 1], "cat"), ([0, 0, 0, 0], "cat")]
)
def test_auroc_is_null_with_the_reason_when_a_class_has_no_contrast(labels, named):
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    found = quality(logits, np.array(labels), ("cat", "dog", "owl"))
    assert found.metrics["auroc"] is None
    assert found.reasons == {"metrics.auroc": f"the scored examples have no contrast for the class {named!r}"}
    assert all(value is not None for name, value in found.metrics.items() if name != "auroc")


LOGITS = arrays(np.float32, st.tuples(st.integers(4, 30), st.just(4)), elements=st.floats(-8, 8, width=32))


@given(LOGITS, st.randoms(use_true_random=False))
def test_quality_is_what_scikit_learn_says(logits, random):
    labels = np.array([*range(4), *(random.randrange(4) for _ in range(len(logits) - 4))])
    found = quality(logits, labels, ("a", "b", "c", "d")).metrics
    probabilities = softmax(logits)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-12)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, logits.argmax(axis=1)))
    assert found["nll"] == pytest.approx(metrics.log_loss(labels, probabilities), rel=1e-6)
    expected = metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert found["auroc"] == pytest.approx(expected)


def test_a_confident_mistake_costs_what_it_says():
    found = quality(np.array([[200.0, 0.0], [0.0, 1.0]], dtype=np.float32), np.array([1, 1]), ("a", "b")).metrics
    assert found["nll"] == pytest.approx((200 + math.log(1 + math.exp(-1))) / 2)


@given(LOGITS, st.randoms(use_true_random=False))
def test_ece_is_its_definition(logits, random):
    labels = np.array([random.randrange(4) for _ in logits])
    probabilities = softmax(logits)
    total = 0.0
    for b in range(ECE_BINS):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, labels, strict=True)
            if math.ceil(row.max() * ECE_BINS) - 1 == b
        ]
        if inside:
            confidence, accuracy = (sum(values) / len(inside) for values in zip(*inside, strict=True))
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(total, abs=1e-9)


def test_a_calibrated_model_has_no_ece_and_a_sure_and_wrong_one_has_all():
    sure = np.eye(2)[[0, 1, 0, 1]]
    assert expected_calibration_error(sure, np.array([0, 1, 0, 1])) == 0
    assert expected_calibration_error(sure, np.array([1, 0, 1, 0])) == 1
    half = np.array([[0.75, 0.25]] * 4)
    assert expected_calibration_error(half, np.array([0, 0, 0, 1])) == 0


# Clock and memory


@pytest.mark.alone
def test_the_time_of_an_inner_phase_is_not_the_outer_ones():
    clock = Clock(CPU)
    started = time.perf_counter()
    with clock.phase("outer"):
        time.sleep(0.03)
        with clock.phase("inner"):
            time.sleep(0.06)
            with clock.phase("outer"):
                time.sleep(0.01)
        time.sleep(0.03)
    whole = time.perf_counter() - started
    assert clock.seconds["inner"] == pytest.approx(0.06, abs=0.02)
    assert clock.seconds["outer"] == pytest.approx(0.07, abs=0.02)
    assert sum(clock.seconds.values()) == pytest.approx(whole, abs=1e-3)


@pytest.mark.alone
def test_a_phase_that_raises_is_counted_and_left():
    clock = Clock(CPU)
    with clock.phase("outer"):
        with suppress(KeyError), clock.phase("inner"):
            time.sleep(0.02)
            raise KeyError
        time.sleep(0.02)
    assert clock.seconds["inner"] == pytest.approx(0.02, abs=0.015)
    assert clock.seconds["outer"] == pytest.approx(0.02, abs=0.015)


@pytest.mark.alone
def test_elapsed_has_the_running_stretch_and_a_phase_that_never_ran_has_none():
    clock = Clock(CPU)
    with clock.phase("train"):
        time.sleep(0.02)
        first = clock.elapsed("train")
        time.sleep(0.02)
        assert clock.elapsed("train") - first == pytest.approx(0.02, abs=0.015)
    assert clock.elapsed("train") == clock.seconds["train"] > first
    assert clock.seconds["evaluate"] == 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is Linux's to tell")
def test_peak_memory_is_that_since_the_reset():
    assert memory.reset_peak(CPU)
    quiet = memory.peak_bytes(CPU)
    block = np.ones(25_000_000)
    high = memory.peak_bytes(CPU)
    del block
    assert memory.peak_bytes(CPU) > high - 1e6, "Linux counts pages in bunches"
    assert memory.reset_peak(CPU)
    after = memory.peak_bytes(CPU)
    assert high - quiet > 190e6
    assert high - after > 190e6


# FLOPs


@pytest.mark.parametrize("name", sorted(Torchvision.known()))
def test_macs_and_parameters_are_those_that_torchvision_publishes(name):
    published = _weights(name).meta
    facts = Torchvision(name).facts()
    aux = 0
    if name == "inception_v3":
        # The published count has an auxiliary head, which is made for training alone and left off here.
        from torchvision.models import get_model

        model = hollow(lambda: get_model(name, weights=None, init_weights=False))
        aux = sum(p.numel() for p in model.AuxLogits.parameters())
    assert facts.params_total + aux == published["num_params"]
    # Published with three decimals: 0.04 G is 1.2 % more than shufflenet_v2_x0_5 has.
    assert facts.macs_forward / 1e9 == pytest.approx(published["_ops"], rel=0.01, abs=0.00055)


def plain_attention() -> AbstractContextManager[None]:
    return torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "swin_t", "vit_b_32"])
def test_the_count_is_that_of_torchs_own_counter(name):
    from torchvision.models import get_model

    model = hollow(partial(get_model, name, weights=None)).train()
    x = torch.zeros(1, 3, 224, 224, device="meta")
    with plain_attention(), FlopCounterMode(display=False) as own:
        model(x)  # in training, torchvision's attention takes no fast path
    assert count_macs(model, (3, 224, 224)) * 2 == own.get_total_flops() > 0
    assert all(module.training for module in model.modules())


def test_a_model_that_calls_modules_with_bare_parameters_is_counted():
    """CaiT, where torch's own counter fails without gradients."""
    facts = find({"name": "cait_xxs24_224"}).facts()
    # 2.5 GMACs in the paper (Touvron et al., 2021, arXiv 2103.17239).
    assert facts.macs_forward == pytest.approx(2.5e9, rel=0.02)


def test_upsampling_is_no_product_and_a_fourier_transform_has_no_formula():
    class Up(nn.Module):
        def __init__(self, transform: bool) -> None:
            super().__init__()
            self.conv, self.transform = nn.Conv2d(3, 2, 1), transform

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.interpolate(self.conv(x), scale_factor=2, mode="bilinear", antialias=self.transform)
            return torch.fft.rfft2(x).real if self.transform else x

    assert count_macs(Up(False), (3, 4, 4)) == 3 * 2 * 16
    with pytest.raises(Uncountable, match=r"no formula for aten\._fft_r2c"):
        count_macs(Up(True), (3, 4, 4))


def test_counting_computes_nothing_and_leaves_a_model_as_it_was():
    network = toy()
    network.freeze(1)
    network.train()
    modes = [module.training for module in network.modules()]
    trained = [p.requires_grad for p in network.parameters()]
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    count_macs(network.model, (3, 16, 16))
    macs_by_fvcore(network.model, (3, 16, 16))
    summarise(network)
    assert [module.training for module in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == trained
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(("name", "source", "edge"), SMALL_MODELS)
def test_fvcore_agrees(name, source, edge):
    """On transformers too, since attention's products are added to what fvcore knows."""
    network = find({"name": name, "source": source, "weights": "random"}).build(10, False, 0, edge)
    shape = (3, edge, edge)
    assert macs_by_fvcore(network.model, shape) == pytest.approx(count_macs(network.model, shape), rel=0.01)


def test_fvcore_says_nothing_when_it_cannot_trace_a_model():
    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> object:
            return {"no": object(), "tensor": self.fc(x)}

    assert macs_by_fvcore(Untraceable(), (4,)) is None


def test_counting_is_silent():
    program = """
from bench.backbones import find
from bench.measure.flops import count_macs, macs_by_fvcore
model = find({"name": "test_vit", "weights": "random"}).build(10, False, 0).model
assert macs_by_fvcore(model, (3, 160, 160)) == count_macs(model, (3, 160, 160))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Latency


def toy(classes: int = 3) -> Network:
    return find({"name": "toy_cnn"}).build(classes, pretrained=False, seed=0)


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Architecture, Path, float]:
    started = time.perf_counter()
    folder = tmp_path_factory.mktemp("artifacts")
    return architecture_of(toy(), cell(), "fp32", CPU, folder), folder, time.perf_counter() - started


def cell() -> Cell:
    backbone = {"name": "toy_cnn", "source": "toy", "version": 1, "weights": "random", "digest": "random"}
    return Cell({"name": "classify"}, {"name": "toy"}, 12, backbone, {"name": "scratch"}, {}, 0)


def test_latency_has_its_samples_and_says_where_it_was_measured(measured):
    for batch, found in zip((1, 32), measured[0].latency, strict=True):
        assert (found.device, found.threads, found.batch) == ("cpu", 1, batch)
        assert len(found.samples_ms) >= 50
        assert 0 < min(found.samples_ms) <= found.p50_ms <= found.p90_ms <= found.p99_ms <= max(found.samples_ms)
        assert np.percentile(found.samples_ms, [50, 90, 99]) == pytest.approx(
            [found.p50_ms, found.p90_ms, found.p99_ms]
        )
        assert found.iqr_ms == pytest.approx(np.subtract(*np.percentile(found.samples_ms, [75, 25])))
        assert found.device_p50_ms is None
        assert found.throughput_per_second == pytest.approx(batch * 1000 / found.p50_ms)
    one, many = measured[0].latency
    assert one.p50_ms < many.p50_ms < 32 * one.p50_ms


def test_latency_is_measured_for_a_second_at_least_and_a_record_stays_small(measured):
    assert measured[2] > 2
    assert all(len(found.samples_ms) <= latency.KEPT_SAMPLES for found in measured[0].latency)


def test_the_first_passes_are_not_in_the_samples():
    passes = count()

    def measure() -> float:
        time.sleep(0.002)
        return max(2.0, 100 * 0.8 ** next(passes))

    samples = latency._samples(measure)
    assert len(samples) >= 50
    assert set(samples) == {2.0}


def test_measuring_latency_leaves_a_network_in_its_mode(monkeypatch):
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.0)
    network = toy()
    network.freeze(2)
    network.train()
    modes = [module.training for module in network.modules()]
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    latency.latency(network, 2, "bf16", CPU)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


def test_the_layout_of_training_does_not_change_what_latency_measures(monkeypatch):
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.0)
    network = toy().arrange(torch.contiguous_format)
    seen = []
    network.head.register_forward_hook(lambda *_: seen.append(network.model.get_parameter("stem.0.weight").stride()))
    latency.latency(network, 2, "fp32", CPU)
    last = network.model.get_parameter("stem.0.weight")
    assert set(seen) == {last.contiguous(memory_format=torch.channels_last).stride()}
    assert network.layout == torch.contiguous_format
    assert last.is_contiguous()


@pytest.mark.gpu
def test_a_gpu_has_a_clock_of_its_own_beside_the_hosts():
    gpu = torch.device("cuda")
    found = latency.latency(toy().to(gpu), 32, "fp32", gpu)
    assert 0 < found.device_p50_ms <= found.p50_ms
    assert len(found.samples_ms) >= 50


def test_an_architecture_is_measured_once(measured):
    found, folder, _ = measured
    assert architecture_of(toy(), cell(), "fp32", CPU, folder) == found
    (kept,) = folder.rglob("*.json")
    kept.write_text(kept.read_text()[:100])
    assert len(list(folder.rglob("*.json"))) == 1


def test_another_head_is_another_architecture(measured, monkeypatch):
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.0)
    found, folder, _ = measured
    other = architecture_of(toy(classes=9), cell(), "fp32", CPU, folder)
    assert other.summary != found.summary
    assert other.macs_by_fvcore == found.macs_by_fvcore + 6 * 32


def test_the_summary_is_torchinfos(measured):
    summary = measured[0].summary
    assert f"Total params: {sum(p.numel() for p in toy().parameters()):,}" in summary
    assert "Linear: 1-4" in summary


# Cost


def test_macs_from_a_stage_on_are_those_of_a_hand_count():
    stages = operations_of(toy())
    macs = [sum(o.macs for stage in stages[start:] for o in stage) for start in range(4)]
    assert macs == [WHOLE, WHOLE - STEM, LAST + HEAD, HEAD]


@pytest.fixture(scope="module")
def costs(tmp_path_factory) -> dict[str, Any]:
    """The cost of one cell of each strategy, run by the worker in this process; flips make two views."""
    folder = tmp_path_factory.mktemp("costs")
    strategies = [
        "scratch",
        "feature_extract",
        {"name": "partial_finetune", "unfreeze": 1},
        "full_finetune",
        {"name": "distill", "teacher": {"strategy": "full_finetune"}},
        "protonet",
    ]
    changes = {
        "matrix": {"strategy": strategies, "size": [SIZE]},
        "recipe": {"epochs": EPOCHS, "augment": {"flip": True}},
    }
    return {name: record["cost"] for name, record in worked(folder, changes).items()}


def test_flops_are_twice_the_macs_of_a_hand_count(costs):
    for cost in costs.values():
        assert cost["macs_forward"] == WHOLE
        assert cost["flops_forward"] == 2 * WHOLE


def test_flops_of_a_training_are_those_of_a_hand_count(costs):
    """Forward once, backward twice; a frozen prefix and a teacher once for each of the two views of an example."""
    passes, views = SIZE * EPOCHS, SIZE * 2
    full = 6 * passes * WHOLE
    assert {name: cost["flops_train"] for name, cost in costs.items()} == {
        "scratch": full,
        "full_finetune": full,
        "feature_extract": 6 * passes * HEAD + 2 * views * TRUNK,
        "partial_finetune": 6 * passes * (LAST + HEAD) + 2 * views * (STEM + MIDDLE),
        "distill": full + 2 * views * WHOLE + full,
        "protonet": 2 * SIZE * TRUNK,
    }


def test_parameters_that_were_trained_are_those_of_the_trained_stages(costs):
    stem, middle, last = (3 * 8 * 9 + 16, 8 * 16 * 9 + 32, 16 * 32 * 9 + 64)
    head = 32 * CLASSES + CLASSES
    total = stem + middle + last + head
    assert {name: cost["params_trained"] for name, cost in costs.items()} == {
        "scratch": total,
        "full_finetune": total,
        "feature_extract": head,
        "partial_finetune": last + head,
        "distill": total,
        "protonet": head,
    }
    buffers = 2 * (8 + 16 + 32) * 4 + 3 * 8
    assert all(cost["params_total"] == total for cost in costs.values())
    assert all(cost["weights_bytes"] == 4 * total + buffers for cost in costs.values())


def test_peak_memory_is_that_of_a_process_with_torch_in_it(costs):
    for cost in costs.values():
        assert cost["peak_memory_bytes"] is None or 1e8 < cost["peak_memory_bytes"] < 1e11


# Environment


def test_the_environment_says_what_timings_depend_on():
    found = environment.environment("cpu")
    assert json.loads(json.dumps(found)) == found
    assert found["cpu"]
    assert found["threads"] == torch.get_num_threads() or found["threads"] >= 1
    assert found["cores"] >= 1
    assert (found["gpu"], found["driver"], found["cuda"]) == (None, None, None)
    assert found["torch"] == torch.__version__
    assert found["cpu_kernels"] == torch.backends.cpu.get_cpu_capability()
    assert found["cpu_flags"] == sorted(found["cpu_flags"])
    assert bool(found["cpu_flags"]) == Path("/proc/cpuinfo").exists()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "timm", "torchvision", "numpy", "fvcore", "transfer-bench"} <= set(found["packages"])
    assert len(found["fingerprint"]) == 12
    int(found["fingerprint"], 16)


def test_the_fingerprint_hangs_on_the_machine_alone():
    environment.environment.cache_clear()
    first = environment.environment("cpu")
    environment.environment.cache_clear()
    assert environment.environment("cpu") == first
    environment.environment.cache_clear()
    torch.set_num_threads(2)
    try:
        other = environment.environment("cpu")
    finally:
        torch.set_num_threads(1)
        environment.environment.cache_clear()
    assert (other["threads"], first["threads"]) == (2, 1)
    assert other["fingerprint"] != first["fingerprint"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_harness_and_not_of_a_repository_around_it(tmp_path):
    def git(*words: str) -> str:
        options = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *options, "-C", str(tmp_path), *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    copy = tmp_path / "environment.py"
    shutil.copy(environment.__file__, copy)
    spec = importlib.util.spec_from_file_location("copied_environment", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "the first")
    assert module._git() == {"git_commit": None, "git_dirty": None}
    (tmp_path / ".gitignore").write_text("__pycache__/\n")  # Python may have kept what it compiled
    git("add", "environment.py", ".gitignore")
    git("commit", "-q", "-m", "the harness")
    assert module._git() == {"git_commit": git("rev-parse", "HEAD"), "git_dirty": False}
    copy.write_text(copy.read_text() + "# changed")
    assert module._git()["git_dirty"] is True


def test_the_details_of_a_score_say_what_was_right_and_what_was_taken_for_what():
    labels = np.array([0, 0, 1, 2, 2, 2, 1, 0, 1])
    predicted = np.array([0, 1, 1, 2, 0, 2, 1, 0, 2])
    score = quality(np.eye(3, dtype=np.float32)[predicted], labels, ("a", "b", "c"))
    bits = np.unpackbits(np.frombuffer(base64.b64decode(score.details["right"]), np.uint8), count=len(labels))
    assert score.details["asked"] == len(labels)
    assert bits.tolist() == (labels == predicted).astype(int).tolist()
    assert score.details["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    assert score.details["classes"] == ["a", "b", "c"]


def test_confusions_of_very_many_classes_are_not_kept():
    labels = np.arange(MOST_CONFUSED + 1)
    score = quality(np.eye(len(labels), dtype=np.float32), labels, [str(c) for c in labels])
    assert set(score.details) == {"asked", "right"}

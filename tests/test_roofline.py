"""Operations against hand counts, and the floor of a training: what binds it, what it leaves out, when it is none."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from learners import RECIPE, SMALL_MODELS, learner, round_of
from torch import Tensor, nn

import suites
from bench.backbones import find
from bench.engines.job import Job
from bench.engines.worker import run as run_cell
from bench.measure import latency
from bench.measure import roofline as measuring
from bench.measure.contention import Contention
from bench.measure.cost import counted_for, operations_of
from bench.measure.environment import environment
from bench.measure.flops import Operation, count_macs, operations
from bench.measure.roofline import Limits, NoRoofline, limits_of, measure_limits, roofline
from bench.planner import expand
from bench.recipe import Augment
from bench.strategies.full_finetune import FullFinetune
from bench.strategies.partial_finetune import PartialFinetune
from bench.suite import load

CPU = torch.device("cpu")


def one(model: nn.Module, shape: tuple[int, ...], learns: bool = True) -> Operation:
    """Return the only product of a model."""
    ((operation,),) = operations(model, [model], shape, list(model.parameters()) if learns else ())
    return operation


# Operations


def test_a_linear_layer_is_that_of_a_hand_count():
    # Reads 5 inputs and 5 x 3 weights and 3 biases, writes 3 outputs; one gradient where it is the first that learns.
    assert one(nn.Linear(5, 3), (5,)) == Operation(15, 15, 5 + 3, 15 + 3, (1, 2))


def test_a_convolution_is_that_of_a_hand_count():
    # 4 x 4 pixels, 3 x 3 kernel, padding 1: of 12 products along a side, 10 are inside of the picture.
    found = one(nn.Conv2d(2, 6, 3, padding=1, bias=False), (2, 4, 4))
    assert found == Operation(2 * 6 * 9 * 16, 2 * 6 * 100, 2 * 16 + 6 * 16, 2 * 6 * 9, (1, 2))


def test_a_stride_longer_than_the_kernel_reads_a_part_of_its_input():
    assert one(nn.Conv2d(8, 4, 1, stride=2, bias=False), (8, 6, 6)).moved == 8 * 9 + 4 * 9


def test_a_layer_that_does_not_learn_has_no_gradient_of_its_own():
    assert one(nn.Linear(5, 3), (5,), learns=False).gradients == (0, 1)


def test_a_product_of_two_activations_has_no_weights_and_two_gradients():
    class Gram(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.fc(x)
            return x @ x.transpose(1, 2)

    model = Gram()
    ((_, product),) = operations(model, [model], (6, 4), list(model.parameters()))
    assert product == Operation(6 * 6 * 4, 6 * 6 * 4, 2 * 6 * 4 + 6 * 6, 0, (2, 2))


def test_a_product_of_weights_alone_is_made_once_a_batch():
    class Merged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Parameter(torch.ones(4, 2)), nn.Parameter(torch.ones(2, 3))

        def forward(self, x: Tensor) -> Tensor:
            return x @ (self.down @ self.up)

    model = Merged()
    ((merged, used),) = operations(model, [model], (4,), list(model.parameters()))
    assert merged == Operation(24, 24, 0, 8 + 6 + 12, (2, 2))
    assert used == Operation(12, 12, 4 + 3, 12, (1, 2))


def test_an_expanded_tensor_is_read_once():
    class Bias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(1, 1, 5))

        def forward(self, x: Tensor) -> Tensor:
            return torch.baddbmm(self.bias.expand(1, 7, 5), x, x.transpose(1, 2)[:, :, :5])

    assert one(Bias(), (7, 3)) == Operation(7 * 3 * 5, 7 * 3 * 5, 21 + 15 + 35, 5, (0, 2))


@settings(deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from([1, 2]),
)
def test_products_with_padding_are_left_out_of_what_is_needed(length, kernel, stride, padding, dilation, groups):
    assume(length + 2 * padding >= dilation * (kernel - 1) + 1)
    conv = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups, bias=False).requires_grad_(False)
    conv.weight.fill_(1)
    found = one(conv, (2, length, length + 1))
    assert found.needed == conv(torch.ones(1, 2, length, length + 1)).sum()
    assert found.needed <= found.macs


@pytest.mark.parametrize(
    ("name", "source", "edge"),
    SMALL_MODELS,
)
def test_the_stages_and_the_head_sum_to_the_whole_model(name, source, edge):
    network = find({"name": name, "source": source, "weights": "random"}).build(10, False, 0, edge)
    by_stage = operations_of(network, [n for n, _ in network.model.named_parameters()])
    assert len(by_stage) == len(network.stages) + 1
    assert sum(o.macs for stage in by_stage for o in stage) == count_macs(network.model, (3, edge, edge))
    (whole,) = operations(network.model, [network.model], (3, edge, edge))
    assert sorted((o.macs, o.needed, o.moved, o.weights) for o in whole) == sorted(
        (o.macs, o.needed, o.moved, o.weights) for stage in by_stage for o in stage
    )


def test_counting_on_the_meta_device_gives_the_same_operations():
    network = find({"name": "test_vit", "weights": "random"}).build(10, False, 0, 160)
    here = operations(network.model, [network.model], (3, 160, 160))
    model = network.model.to("meta")
    assert operations(model, [model], (3, 160, 160)) == here


# Limits


def limits(peak: float, *copies: tuple[int, float]) -> Limits:
    return Limits({"fp32": peak, "bf16": peak}, copies or ((1, 1e30),))


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.floats(1, 1e12)), min_size=1, max_size=5, unique_by=lambda c: c[0]),
    st.lists(st.floats(0, 1e10), min_size=2, max_size=2),
)
def test_more_bytes_never_have_more_bandwidth_and_no_less_than_that_of_memory(copies, touched):
    found = limits(1.0, *sorted(copies))
    fewer, more = sorted(touched)
    assert found.bandwidth_for(fewer) >= found.bandwidth_for(more) >= found.bandwidth_bytes


@pytest.fixture(scope="module")
def machine() -> Limits:
    return measure_limits(CPU)


def test_the_limits_of_this_machine_are_of_a_plausible_size(machine):
    assert machine.peak_flops.keys() == {"fp32", "bf16"}
    assert all(1e8 < peak < 1e16 for peak in machine.peak_flops.values())
    assert 1e6 < machine.bandwidth_bytes < 1e14
    assert [touched for touched, _ in machine.copies] == sorted(touched for touched, _ in machine.copies)
    assert machine.copies[-1][0] >= 4 * measuring._cache_bytes(CPU)


def test_limits_are_measured_once_and_a_damaged_file_is_no_limit(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "_measured", {})
    path = tmp_path / "machine" / f"{environment('cpu')['fingerprint']}.json"
    path.parent.mkdir()
    path.write_text(json.dumps(asdict(machine)))
    assert limits_of(CPU, tmp_path) == machine
    path.write_text(path.read_text()[:50])
    assert limits_of(CPU, tmp_path) == machine, "a process reads it once"
    measuring._measured.clear()
    monkeypatch.setattr(measuring, "TRIES", 0)
    with pytest.raises(NoRoofline, match="other work held the processor each time"):
        limits_of(CPU, tmp_path)


def test_limits_that_were_measured_beside_other_work_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "_measured", {})
    monkeypatch.setattr(measuring, "_disturbed", measuring.Counter())
    monkeypatch.setattr(measuring, "PER_SIZE_SECONDS", 0.0)
    monkeypatch.setattr(Contention, "explain", lambda self: "others worked")
    with pytest.raises(NoRoofline, match="could not be measured: others worked"):
        limits_of(CPU, tmp_path)
    assert list(tmp_path.rglob("*.json")) == []
    monkeypatch.setattr(Contention, "explain", lambda self: None)
    found = limits_of(CPU, tmp_path)
    measuring._measured.clear()
    assert limits_of(CPU, tmp_path) == found, "what was kept is read back"


# The floor

SIZE, CLASSES = 12, 3
# toy_cnn at 16 pixels: 3x3 convolutions of stride 2 and padding 1 from 3 to 8, 16 and 32 channels, then a linear head.
# Along a side of n pixels, n/2 outputs have 3 products each, and one of them lies in the padding.
STEM, MIDDLE, LAST = (a * b * (3 * n // 2 - 1) ** 2 for a, b, n in ((3, 8, 16), (8, 16, 8), (16, 32, 4)))
HEAD = 32 * CLASSES
MOVED = [3 * 256 + 8 * 64, 8 * 64 + 16 * 16, 16 * 16 + 32 * 4, 32 + CLASSES]
WEIGHTS = [3 * 8 * 9, 8 * 16 * 9, 16 * 32 * 9, HEAD + CLASSES]


def floor(taught: Any, machine: Limits, measured: float = 1e30) -> measuring.Roofline:
    return roofline(taught, counted_for(taught), machine, measured)


@pytest.fixture(scope="module")
def partial(tmp_path_factory) -> Any:
    """A learner that trained the last stage and the head on two views of each example, beside a frozen prefix."""
    recipe = replace(RECIPE, epochs=2, augment=Augment(flip=True))
    taught = learner(tmp_path_factory.mktemp("partial"), PartialFinetune(unfreeze=1), recipe)
    taught.fit(round_of(SIZE, recipe))
    return taught


def test_a_floor_that_arithmetic_binds_is_the_products_of_a_hand_count(partial):
    """Forward and two gradients, less that of the first layer's input; the frozen prefix once for each view."""
    products = 2 * SIZE * (2 * LAST + 3 * HEAD) + 2 * SIZE * (STEM + MIDDLE)
    found = floor(partial, limits(1e9))
    assert found.floor_seconds == pytest.approx(2 * products / 1e9)
    assert (found.bound, found.compute_share, found.peak_flops) == ("compute", 1.0, 1e9)


def test_a_floor_that_memory_binds_is_the_bytes_of_a_hand_count(partial):
    """Weights are read once a batch: of 8 in training, of 64 without gradients."""
    trained = 2 * SIZE * (2 * (MOVED[2] + WEIGHTS[2] / 8) + 3 * (MOVED[3] + WEIGHTS[3] / 8))
    passed = 2 * SIZE * sum(MOVED[k] + WEIGHTS[k] / 64 for k in (0, 1))
    found = floor(partial, limits(1e30, (1, 1e9)))
    assert found.floor_seconds == pytest.approx(4 * (trained + passed) / 1e9)
    assert (found.bound, found.compute_share, found.bandwidth_bytes) == ("memory", 0.0, 1e9)


def test_numbers_of_two_bytes_move_half_as_much(tmp_path, partial):
    recipe = replace(partial.recipe, precision="bf16")
    taught = learner(tmp_path, PartialFinetune(unfreeze=1), recipe)
    taught.fit(round_of(SIZE, recipe))
    memory = limits(1e30, (1, 1e9))
    assert floor(taught, memory).floor_seconds == pytest.approx(floor(partial, memory).floor_seconds / 2)
    assert floor(taught, memory).precision == "bf16"


@given(st.floats(6, 14), st.floats(6, 14), st.floats(0, 3))
def test_a_fraction_lies_between_0_and_1_and_a_better_machine_has_a_lower_floor(partial, peak, bandwidth, more):
    found = floor(partial, limits(10**peak, (1, 10**bandwidth)))
    assert 0 < found.fraction <= 1
    assert 0 <= found.compute_share <= 1
    assert found.bound == ("compute" if found.compute_share >= 0.5 else "memory")
    better = floor(partial, limits(10 ** (peak + more), (1, 10 ** (bandwidth + more))))
    assert better.floor_seconds <= found.floor_seconds * (1 + 1e-9)
    both = [floor(partial, limits(p, (1, b))).floor_seconds for p, b in ((10**peak, 1e30), (1e30, 10**bandwidth))]
    assert max(both) * (1 - 1e-9) <= found.floor_seconds <= sum(both) * (1 + 1e-9)


def test_what_was_faster_than_its_floor_has_no_fraction(partial):
    machine = limits(1e9)
    seconds = floor(partial, machine).floor_seconds
    assert floor(partial, machine, seconds).fraction == 1
    with pytest.raises(NoRoofline, match="less than the floor"):
        floor(partial, machine, seconds * 0.99)


def test_a_learner_that_learnt_nothing_has_no_floor(tmp_path):
    with pytest.raises(NoRoofline, match="nothing was trained"):
        floor(learner(tmp_path, FullFinetune()), limits(1e9))


# Records


@pytest.fixture(scope="module")
def records(tmp_path_factory, machine) -> dict[str, dict[str, Any]]:
    """Records of toy cells that the worker made in this process, on a machine whose limits are known."""
    folder = tmp_path_factory.mktemp("cells")
    kept = folder / "machine" / f"{environment('cpu')['fingerprint']}.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps(asdict(machine)))
    measuring._measured.clear()
    strategies = ["full_finetune", "feature_extract", {"name": "distill", "teacher": {"strategy": "full_finetune"}}]
    changes = {"matrix": {"strategy": strategies}, "recipe": {"augment": {"flip": True}}}
    found: dict[str, dict[str, Any]] = {}
    for entry in expand(load(suites.write(folder, changes))).runnable:
        cell = entry.cell
        parents = {role: {"record": found[p], "weights": str(folder / p)} for role, p in cell.parents.items()}
        files = {"predictions": str(folder / "predictions"), "progress": str(folder / "progress")}
        job = Job("toy", cell.to_json(), parents, str(folder), weights=str(folder / cell.id), device="cpu", **files)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(latency, "MIN_SECONDS", 0.0)
            found[cell.id] = run_cell(asdict(job))
        assert found[cell.id]["status"] == "ok", found[cell.id]["reason"]
    return {record["cell"]["strategy"]["name"]: record for record in found.values()}


def test_the_floor_of_a_real_cell_is_below_what_it_took(records):
    for record in records.values():
        held, seconds = record["details"]["roofline"], record["seconds"]
        assert 0 < held["floor_seconds"] <= held["measured_seconds"]
        assert 0 < held["fraction"] <= 1
        assert held["measured_seconds"] == pytest.approx(seconds["train"] + seconds["shared"] - seconds["parents"])
        assert held["precision"] == "fp32"


def test_a_students_floor_holds_its_teachers_passes_and_not_its_training(records, machine):
    student, teacher = records["distill"]["details"]["roofline"], records["full_finetune"]["details"]["roofline"]
    passes = 2 * 2 * SIZE * (STEM + MIDDLE + LAST + HEAD) / machine.peak_flops["fp32"]
    assert teacher["floor_seconds"] + passes <= student["floor_seconds"] < 2 * teacher["floor_seconds"]


def test_a_record_says_what_the_calibration_kernels_took(records):
    for record in records.values():
        held = record["details"]["calibration"]
        assert all(len(held[name]) == 2 and min(held[name]) > 0 for name in ("matmul_ms", "copy_ms"))
        largest = max(max(held[name]) / min(held[name]) for name in ("matmul_ms", "copy_ms")) - 1
        assert held["drift"] == pytest.approx(largest)
        if held["drift"] > 0.25:
            assert not record["timing_valid"]
            assert "speed changed while the cell ran" in record["reasons"]["timing_valid"]

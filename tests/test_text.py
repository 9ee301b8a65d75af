"""Texts through the same loop as pictures: stages with masks, ragged rows, batches of like lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import runs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import CPU, every_strategy, learner, network_of, round_of

import bench
import suites
from bench.backbones import find
from bench.backbones._inputs import STEP, TextInputs, Tokens, each
from bench.backbones._toy_encoder import WIDTH, Words
from bench.datasets.toy_text import ToyText
from bench.measure.clock import Clock
from bench.measure.cost import operations_of
from bench.recipe import Recipe
from bench.strategies.full_finetune import FullFinetune
from bench.strategies.gradual_unfreeze import GradualUnfreeze
from bench.strategies.partial_finetune import PartialFinetune
from bench.tasks import Selection
from bench.training.feed import batches
from bench.training.passes import infer
from bench.training.rows import Ragged, Rows
from bench.training.sources import Padded, source_of
from bench.training.texts import Texts

TEXTS = ToyText()
RECIPE = Recipe(epochs=2, batch_size=8, lr=3e-3)


def tokens_of(lengths: list[int], width: int, seed: int = 0) -> Tokens:
    """Return made-up texts of these lengths; what fills them up is no padding token, and must not matter."""
    ids = torch.randint(2, 512, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    return Tokens(ids, torch.arange(width) < torch.tensor(lengths)[:, None])


# stages


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_prefix_and_its_suffix_are_the_whole_bit_for_bit(pooling):
    network = find({"name": "toy_encoder", "pooling": pooling}).build(2, True, 0).eval()
    x = tokens_of([5, 30, 17], 32)
    with torch.no_grad():
        whole = network(x)
        for cut in range(len(network.stages) + 1):
            assert torch.equal(network.suffix(network.prefix(x, cut), cut), whole)
        assert torch.equal(network.model(*x), whole)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(3, 40), min_size=1, max_size=6), more=st.integers(0, 60), seed=st.integers(0, 99))
def test_logits_do_not_depend_on_padding(lengths, more, seed):
    network = network_of("toy_encoder", classes=2).eval()
    short = tokens_of(lengths, max(lengths), seed)
    filled = torch.randint(0, 512, (len(lengths), more), generator=torch.Generator().manual_seed(seed + 1))
    long = Tokens(torch.cat([short.states, filled], 1), torch.nn.functional.pad(short.mask, (0, more)))
    with torch.no_grad():
        torch.testing.assert_close(network(long), network(short), rtol=1e-4, atol=1e-5)


def test_a_pass_counts_the_products_of_its_own_length():
    network = network_of("toy_encoder", classes=2)
    length, dim = network.inputs.length, WIDTH
    embeddings, one, other, head = (sum(op.macs for op in stage) for stage in operations_of(network))
    layer = length * (4 * dim * dim + 2 * dim * 2 * dim) + 2 * length * length * dim
    assert (embeddings, one, other, head) == (0, layer, layer, 2 * dim)


# rows of different lengths


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_ragged_rows_come_back_as_they_went_in(data, tmp_path_factory):
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=30))
    folder = tmp_path_factory.mktemp("rows")
    kept = [torch.arange(100 * i, 100 * i + n) for i, n in enumerate(lengths)]
    rows, clock = Rows(folder, "tokens", {}), Clock(CPU)

    def compute(keys):
        return Ragged(torch.cat([kept[i] for i in keys]), np.array([lengths[i] for i in keys]))

    for _ in range(data.draw(st.integers(1, 3))):
        asked = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=20)))
        rows.ensure(asked, compute, clock, "prepare")
        if data.draw(st.booleans()):
            rows.save()
        if data.draw(st.booleans()):
            rows.save()
            rows = Rows(folder, "tokens", {})
        assert rows.lengths(asked).tolist() == [lengths[i] for i in asked]
        assert torch.equal(rows.take(asked), torch.cat([kept[i] for i in asked]))
        width = int(rows.lengths(asked).max()) + 2
        filled = [torch.cat([kept[i], kept[i][-1:].expand(width - lengths[i])]) for i in asked]
        assert torch.equal(rows.padded(asked, width), torch.stack(filled))
        order = torch.randperm(len(asked))
        (batch,) = source_of(rows, asked, CPU).batches(order, [slice(0, len(order))])
        assert torch.equal(batch.states[batch.mask], torch.cat([kept[asked[i]] for i in order]))
        assert batch.states.shape[1] % STEP == 0


def test_texts_too_large_for_memory_are_streamed_the_same(tmp_path, monkeypatch):
    made = learner(tmp_path, FullFinetune(), RECIPE, "toy_encoder", TEXTS)
    train = round_of(24, RECIPE, TEXTS).train
    order, parts = torch.randperm(24), [slice(0, 10), slice(10, 24)]
    resident = list(made.cache.feed(train, made.views, made.network, "prepare").source.batches(order, parts))
    monkeypatch.setattr("bench.training.sources.RESIDENT_LIMIT_BYTES", 0)
    streamed = list(made.cache.feed(train, made.views, made.network, "prepare").source.batches(order, parts))
    for one, other in zip(resident, streamed, strict=True):
        assert torch.equal(one.states, other.states)
        assert torch.equal(one.mask, other.mask)


# batches


def padded(lengths):
    return Padded(np.array(lengths), lambda order, parts, widths: iter(()), CPU)


@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=300), size=st.integers(1, 16), seed=st.integers(0, 9))
def test_an_epoch_of_texts_has_each_once_whatever_their_lengths(lengths, size, seed):
    parts, generator = batches(len(lengths), size), torch.Generator().manual_seed(seed)
    order = padded(lengths).regrouped(torch.randperm(len(lengths), generator=generator), parts, generator)
    assert sorted(order.tolist()) == list(range(len(lengths)))


def test_batches_of_texts_are_of_like_lengths_and_other_ones_each_epoch():
    lengths = np.random.default_rng(0).integers(5, 120, 2000)
    source, parts, generator = padded(lengths), batches(2000, 32), torch.Generator().manual_seed(0)

    def spent(order):
        return sum(int(lengths[order[p]].max()) * (p.stop - p.start) for p in parts)

    random = [torch.randperm(2000, generator=generator) for _ in range(2)]
    one, other = (source.regrouped(order, parts, generator) for order in random)
    assert spent(one) < 0.65 * spent(random[0])
    together = [{frozenset(order[p].tolist()) for p in parts} for order in (one, other)]
    assert not together[0] & together[1]
    means = [lengths[one[p]].mean() for p in parts[:-1]]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.4  # no longer ones late in an epoch


def test_few_texts_are_left_in_their_random_order():
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(padded(range(1, 101)).regrouped(order, batches(100, 32), torch.Generator()), order)


# frozen prefixes


@pytest.mark.parametrize("cut", [1, 2])
def test_kept_activations_are_those_of_a_pass_at_that_moment(tmp_path, cut):
    made = learner(tmp_path, PartialFinetune(unfreeze=3 - cut), RECIPE, "toy_encoder", TEXTS)
    train = round_of(30, RECIPE, TEXTS).train
    kept = made.supply.feed(train, cut, made.views, "features")
    texts = made.cache.feed(train, made.views, made.network, "prepare")
    order = torch.randperm(30)
    view, parts = torch.zeros_like(order), [slice(0, 8), slice(8, 30)]
    for held, x in zip(kept.epoch(order, view, parts), texts.epoch(order, view, parts), strict=True):
        now = infer(made.network, x, 0, cut, "fp32")
        assert torch.equal(held.mask, now.mask)
        torch.testing.assert_close(held.states[held.mask], now.states[now.mask], rtol=1e-5, atol=1e-6)


def test_a_row_is_the_same_whatever_is_computed_with_it(tmp_path):
    train = round_of(40, RECIPE, TEXTS).train
    found = []
    for number, part in enumerate((slice(0, 40), slice(0, 3), slice(20, 23))):
        made = learner(tmp_path / str(number), PartialFinetune(unfreeze=1), RECIPE, "toy_encoder", TEXTS)
        few = Selection("train", train.index[part], train.labels[part])
        rows, keys = made.supply.rows(made.supply.prefix(2), few, made.views, "features", 1)
        found.append(dict(zip(keys.tolist(), rows.take(keys).split(rows.lengths(keys).tolist()), strict=True)))
    whole, *parts = found
    assert all(torch.equal(row, whole[key]) for part in parts for key, row in part.items())


def test_a_frozen_prefix_that_is_not_kept_trains_as_one_that_is(tmp_path, monkeypatch):
    one = round_of(24, RECIPE, TEXTS)
    kept = learner(tmp_path / "kept", GradualUnfreeze(), Recipe(epochs=4, batch_size=8, optimizer="sgd", lr=0.01),
                   "toy_encoder", TEXTS)  # fmt: skip
    kept.fit(one)
    monkeypatch.setattr("bench.training.supply.CACHE_LIMIT_BYTES", 0)
    again = learner(tmp_path / "again", GradualUnfreeze(), kept.recipe, "toy_encoder", TEXTS)
    again.fit(one)
    np.testing.assert_allclose(kept.logits(one.test), again.logits(one.test), rtol=1e-3, atol=1e-4)


def test_another_models_tokens_are_its_own(tmp_path):
    class Letters(Words):
        digest = "letters"

        def encode(self, texts, length):
            return [[ord(sign) for sign in text][:length] for text in texts]

    mine = Texts(TEXTS, TextInputs(16, Words()), tmp_path, Clock(CPU))
    theirs = mine.seen_by(TextInputs(8, Letters()))
    index = np.arange(5)
    read = TEXTS.examples("train").read
    assert theirs.prepared("train", index, "prepare").take(index[:1]).tolist() == [ord(s) for s in read(0)[:8]]
    assert mine.seen_by(TextInputs(16, Words())) is mine
    assert mine.prepared("train", index, "prepare").lengths(index).max() <= 16


# every strategy


@pytest.mark.parametrize("strategy", every_strategy(), ids=lambda s: s.name)
def test_every_strategy_learns_texts_or_says_that_it_is_for_pictures(strategy, tmp_path):
    if strategy.modality == "image":
        return
    parents = {role: network_of("toy_encoder", 2, seed=9) for role in strategy.parents()}
    made = learner(tmp_path, strategy, Recipe(epochs=4, batch_size=8, lr=3e-3), "toy_encoder", TEXTS, parents)
    before = {n: p.clone() for n, p in made.network.model.named_parameters()}
    one = round_of(24, made.recipe, TEXTS)
    made.fit(one)
    assert np.isfinite(made.logits(one.test)).all()
    after = dict(made.network.model.named_parameters())
    moved = {n for n in after if not torch.equal(before[n], after[n])}
    assert moved
    assert moved <= made.trained | made.adapted.keys()


# whole cells


TOY_TEXT = {
    "dataset": [{"name": "toy_text", "max_length": 24}],
    "backbone": ["toy_encoder"],
    "strategy": ["full_finetune"],
    "size": [20],
}


@pytest.mark.slow
def test_a_suite_of_texts_runs_to_whole_records(tmp_path):
    strategy = ["scratch", "full_finetune", "feature_extract", {"name": "lora", "rank": 2}]
    suites.write(tmp_path, {"matrix": {**TOY_TEXT, "strategy": strategy}})
    ran = runs.bench(tmp_path, "run", "toy.yaml")
    assert ran.returncode == 0, ran.stderr
    found = runs.records(tmp_path, "toy").values()
    assert len(found) == len(strategy)
    for record in found:
        assert record["status"] == "ok"
        assert record["details"]["inputs"] == {"length": 24}
        assert record["cost"]["flops_train"] > record["cost"]["flops_forward"] > 0
        assert {entry["batch"] for entry in record["latency"]} == {1, 32}
        assert not {reason for reason in record["reasons"] if reason.startswith(("cost.flops", "latency"))}


def skips(folder: Path, **changes: object) -> set[str | None]:
    """Return why the cells of a suite of texts with some changes are left out."""
    matrix = {**TOY_TEXT, **changes.pop("matrix", {})}
    planned = bench.plan(bench.load_suite(suites.write(folder, {"matrix": matrix, **changes})))
    return {entry.skip for entry in planned.entries}


def test_what_is_for_another_modality_is_left_out_with_the_reason(tmp_path):
    assert skips(tmp_path) == {None}
    assert skips(tmp_path, matrix={"backbone": ["toy_cnn"]}) == {
        "toy_cnn is for examples of modality image, and those of toy_text are of text"
    }
    assert skips(tmp_path, matrix={"dataset": ["toy"]}) == {
        "toy_encoder is for examples of modality text, and those of toy are of image"
    }
    assert skips(tmp_path, matrix={"strategy": ["advised"]}) == {
        "advised is for examples of modality image, and those of toy_text are of text"
    }
    assert skips(tmp_path, recipe={"augment": {"flip": True}}) == {
        "augment makes other pictures of pictures, and toy_text has none"
    }


def test_each_changes_every_tensor_of_what_flows():
    x = tokens_of([3, 4], 5)
    assert torch.equal(each(torch.neg, torch.ones(2)), -torch.ones(2))
    part = each(lambda t: t[:1], x)
    assert (part.states.shape, part.mask.shape) == ((1, 5), (1, 5))

"""Which words a model of texts goes by: the scores add up, and the page shows them as text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import network_of

from bench.backbones._inputs import TextInputs, Tokens
from bench.backbones._toy_encoder import Words
from bench.datasets.toy_text import ToyText
from bench.errors import Skip
from bench.measure.attributions import CLOSE, integrated_gradients, said_nothing, token_scores
from bench.quality.errors import by_length
from bench.report import html, markdown
from bench.report.page import Heading, Page, Shaded, Table
from bench.report.reading import reading
from bench.shelf import Explained
from bench.training.texts import tokens_of

INPUTS = TextInputs(32, Words())
READ = ToyText().examples("test").read


def scored(texts: list[str], seed: int = 0):
    """Return a network, texts as its tokens, and a class for each."""
    network = network_of("toy_encoder", classes=3, seed=seed)
    return network, tokens_of(texts, INPUTS), torch.arange(len(texts)) % 3


# integrated gradients


@settings(max_examples=15, deadline=None)
@given(numbers=st.lists(st.integers(0, 59), min_size=1, max_size=5), seed=st.integers(0, 20))
def test_the_scores_of_a_text_add_up_to_what_its_words_change(numbers: list[int], seed: int) -> None:
    network, x, classes = scored([READ(i) for i in numbers], seed)
    found = integrated_gradients(network, x, classes, 64)
    with torch.no_grad():
        full, nothing = (network(t) - network(t).mean(dim=1, keepdim=True) for t in (x, said_nothing(network, x)))
    of_class = (full - nothing).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(found.whole, of_class, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.scores.sum(dim=1), of_class, rtol=1e-3, atol=1e-4)
    assert (found.scores[~x.mask] == 0).all()


def test_a_word_that_changes_nothing_has_no_score_and_the_network_is_left_as_it_was() -> None:
    network, x, classes = scored(["the dull film", "a good and moving story"])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    scores = token_scores(network, x, classes).scores
    ends = (x.states == 0) | (x.states == 1)
    assert scores[~ends & x.mask].abs().max() > 1e-3
    assert (scores[ends] == 0).all()  # the ends stand in both texts
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_steps_are_doubled_until_the_sum_is_close() -> None:
    network, x, classes = scored([READ(i) for i in range(11)])
    few, found = integrated_gradients(network, x, classes, 1), token_scores(network, x, classes)
    assert few.gap.max() > CLOSE > found.gap.max()
    assert found.steps in (16, 32, 64, 128)


def test_padding_changes_no_score() -> None:
    network, x, classes = scored(["the dull film", "a good story"])
    longer = Tokens(torch.nn.functional.pad(x.states, (0, 8), value=7), torch.nn.functional.pad(x.mask, (0, 8)))
    one, other = (integrated_gradients(network, t, classes, 8).scores for t in (x, longer))
    torch.testing.assert_close(other[:, : one.shape[1]], one, rtol=1e-4, atol=1e-6)


def test_a_network_whose_embeddings_are_no_stage_is_skipped_with_the_reason() -> None:
    network, x, classes = scored(["the dull film"])
    network.stages = network.stages[-1:]
    network.stages = (type(network.stages[0])("trunk", lambda t: t.states.float().mean(1, keepdim=True), ()),)
    with pytest.raises(Skip, match="its embeddings are no stage of their own"):
        token_scores(network, x, classes)


def test_pieces_are_the_text_and_as_many_as_the_tokens() -> None:
    words = Words()
    for i in range(5):
        for length in (8, 64):
            pieces = words.pieces(READ(i), length)
            assert len(pieces) == len(words.encode([READ(i)], length)[0])
            assert READ(i).startswith("".join(pieces[1:-1]).strip())


# lengths


@given(lengths=st.lists(st.integers(3, 40), min_size=2, max_size=200), data=st.data())
def test_quarters_by_length_have_every_example_once_and_do_not_overlap(lengths: list[int], data) -> None:
    right = np.array(data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))
    found = by_length(right, np.array(lengths))
    if len(set(lengths)) == 1:
        assert found is None
        return
    assert found is not None
    assert 2 <= len(found) <= 4
    assert sum(one.count for one in found) == len(lengths)
    assert sum(one.wrong for one in found) == (~right).sum()
    ends = [int(n) for one in found for n in (one.name.split(" to ")[0], one.name.split(" to ")[-1])]
    assert ends == sorted(ends)
    assert (ends[0], ends[-1]) == (min(lengths), max(lengths))
    assert len({one.name for one in found}) == len(found)


def test_without_lengths_there_are_no_quarters() -> None:
    assert by_length(np.array([True, False]), None) is None


# the page


def explained(pieces: list[str], scores: list[float]) -> Explained:
    arrays = {
        "index": np.array([7]),
        "labels": np.array([0]),
        "predicted": np.array([1]),
        "confidence": np.array([0.75], np.float32),
        "lengths": np.array([len(scores)]),
        "scores": np.array(scores, np.float32),
        "gap": np.array([0.004], np.float32),
        "agreement": np.array([[0.5], [np.nan]], np.float32),
    }
    about = {"place": "embeddings", "steps": 16, "classes": ["bad", "good"], "levels": ["head", "everything"]}
    return Explained({**about, "modality": "text", "pieces": [pieces]}, arrays)


def test_hostile_text_is_shown_as_it_is_and_runs_nothing() -> None:
    pieces = ["[CLS]", "<script>alert(1)</script>", " *bold*", " \u202egnol", "\n# head", " [link](http://x)", " [SEP]"]
    how, blocks = reading(explained(pieces, [0.0, 0.5, -0.25, 0.01, 0.0, 0.1, 0.0]), "")
    page = Page("t", (), (), (Heading("Seeing"), *blocks))
    shown, plain = html.render(page), markdown.render(page)
    assert "<script>alert" not in shown + plain
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "\u202e" not in shown + plain
    assert 'style="--share: 0.50" title="-0.25">*bold*</span>' in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;(+0.50) \\*bold\\*(-0.25) \\\\u202egnol" in plain
    assert "\n# head" not in plain
    assert "\\[link\\](http:&#8203;//x)(+0.10)" in plain
    assert "true: bad, says: good 0.75 (test/7)" in shown
    assert "miss the whole by 0.4%" in how


def test_long_texts_are_cut_and_the_test_by_random_weights_is_a_table() -> None:
    _, blocks = reading(explained([" w"] * 500, [0.0] * 500), "1-")
    (shaded,) = (block for block in blocks if isinstance(block, Shaded))
    assert len(shaded.pieces) == 161
    assert shaded.pieces[-1].text == " …"
    assert all(piece.share == 0 for piece in shaded.pieces)
    (table,) = (block for block in blocks if isinstance(block, Table))
    assert table.name == "1-seeing_random"
    assert [[span.text for span in row] for row in table.rows] == [["head", "0.50", "1"], ["everything", "–", "0"]]

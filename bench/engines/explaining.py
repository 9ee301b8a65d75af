"""Where the network of a trained cell looks in some of its test examples. Device half."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.backbones._inputs import PictureInputs, TextInputs, Tokens
from bench.backbones._network import Network
from bench.cell import Cell
from bench.datasets import Dataset, datasets, extent
from bench.engines.trained import Kept, built, kept, trained
from bench.errors import DataError, Skip, StoreError
from bench.files import replacing
from bench.measure.attributions import token_scores
from bench.measure.clock import Clock
from bench.measure.gradcam import agreement, draw_anew, grad_cam, over_picture, place_of
from bench.quality.probabilities import softmax
from bench.shelf import EXPLAINED_VERSION, Predictions, read_predictions
from bench.training.feed import Normalise
from bench.training.material import opened
from bench.training.pictures import Pictures
from bench.training.texts import tokens_of

# Examples that the test by random weights is shown on.
TRIED = 4

Arrays = dict[str, NDArray[Any]]


def explain(job: Mapping[str, Any]) -> dict[str, Any]:
    """Write what `Shelf.explained` reads: `{cell, weights, predictions, artifacts, examples, out}` are the job.

    Of a network or data that this can't be done for the reason is written. Raises BenchError.
    """
    cell, device = Cell.from_json(job["cell"]), torch.device(job["device"])
    about = {"version": EXPLAINED_VERSION, "examples": job["examples"]}
    arrays: Arrays = {}
    try:
        said = read_predictions(Path(job["predictions"]))
        if said is None:
            raise StoreError(f"{job['predictions']}: the predictions of {cell.id} are gone; run the suite again")
        beside = kept(Path(job["weights"]))
        explained = EXPLAINERS.get(beside.inputs["modality"])
        if explained is None:
            raise Skip(f"there is no picture of where a model of {beside.inputs['modality']} looks")
        found, arrays = explained(job, cell, beside, said, device)
        about |= found
    except Skip as skip:
        about["reason"] = str(skip)
    out = Path(job["out"])
    with replacing(out) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
    return {"out": str(out)}


def chosen(said: Predictions, count: int) -> NDArray[np.int64]:
    """Return the rows of up to `count` examples that were right and as many that were wrong, right ones first.

    Each true class has its turn, and in it the most confident answers come first.
    """
    probabilities = softmax(said.logits)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    rows = []
    for right in (True, False):
        these = np.flatnonzero((predicted == said.labels) == right)
        these = these[np.lexsort((said.index[these], -confidence[these]))]
        turn = np.zeros(len(these), np.int64)
        for label in np.unique(said.labels[these]):
            mine = np.flatnonzero(said.labels[these] == label)
            turn[mine] = np.arange(len(mine))
        rows.append(these[np.argsort(turn, kind="stable")][:count])
    return np.concatenate(rows)


def _asked(job: Mapping[str, Any], cell: Cell, beside: Kept, device: torch.device) -> tuple[Dataset, Network]:
    """Return the data set of a cell, which must not have changed, and its network as trained."""
    dataset = datasets.create(cell.plugin("dataset"))
    if dataset.facts().digest != cell.dataset["digest"]:
        raise DataError(f"{dataset.name}: the data have changed since {cell.id} was run; run the suite again")
    return dataset, trained(cell, Path(job["weights"]), len(beside.classes), extent(dataset), device)


def _anew(cell: Cell, beside: Kept, dataset: Dataset, device: torch.device) -> Network:
    """Return the network with random weights, and not those that training began with: a head may hardly leave these."""
    return built(replace(cell, seed=cell.seed + 1), len(beside.classes), False, extent(dataset), device)


def _facts(said: Predictions, rows: NDArray[np.int64]) -> Arrays:
    """Return the arrays that examples of every kind have."""
    probabilities = softmax(said.logits[rows])
    return {
        "index": said.index[rows],
        "labels": said.labels[rows],
        "predicted": probabilities.argmax(axis=1),
        "confidence": probabilities.max(axis=1).astype(np.float32),
    }


def _images(
    job: Mapping[str, Any], cell: Cell, beside: Kept, said: Predictions, device: torch.device
) -> tuple[dict[str, Any], Arrays]:
    """Return what is told of the maps, and the arrays of `Explained`."""
    dataset, network = _asked(job, cell, beside, device)
    rows = chosen(said, job["examples"])
    inputs = network.inputs
    assert isinstance(inputs, PictureInputs)
    pictures = Pictures(dataset, inputs.resolution, inputs.interpolation, Path(job["artifacts"]), Clock(device))
    pixels = pictures.pixels("test", said.index[rows])
    x = network.arranged(Normalise(inputs, device)(pixels.to(device)))
    place = place_of(network, x)
    facts = _facts(said, rows)
    predicted, labels = facts["predicted"], facts["labels"]

    def maps(classes: NDArray[np.int64]) -> Tensor:
        return grad_cam(network, x, torch.from_numpy(classes).to(device), place)

    answers = maps(predicted)
    both = np.stack([over_picture(m, inputs.resolution) for m in (answers, maps(labels))], axis=1)
    fresh = _anew(cell, beside, dataset, device)
    levels, drawn, agreements = _tried(network, fresh, answers[:TRIED], inputs.resolution, lambda: maps(predicted))
    shown = pixels.numpy()
    arrays: Arrays = {
        **facts,
        "pictures": shown[:, 0] if shown.shape[1] == 1 else shown.transpose(0, 2, 3, 1),
        "maps": both,
        "drawn": drawn,
        "agreement": agreements,
    }
    classes = list(said.classes[0])
    return {"place": place.name, "grid": [place.rows, place.columns], "classes": classes, "levels": levels}, arrays


def _levels(network: Network) -> dict[int, str]:
    """Return from which stage on weights are drawn anew, the head alone first, and what that is called."""
    stages = network.stages
    half = len(stages) // 2
    return {len(stages): "head", **({half: f"from {stages[half].name} on"} if half else {}), 0: "everything"}


def _tried(
    network: Network, fresh: Network, maps: Tensor, edge: int, again: Callable[[], Tensor]
) -> tuple[list[str], NDArray[np.uint8], NDArray[np.float32]]:
    """Return the maps of networks that have less and less of what was learnt, from the head down to the first stage.

    These are the names of what was drawn anew, uint8 [levels, n, edge, edge], and how far each agrees, [levels, n].
    """
    levels = _levels(network)
    drawn, agreements = [], []
    for first in levels:
        draw_anew(network, fresh, first)
        other = again()[: len(maps)]
        drawn.append(over_picture(other, edge))
        agreements.append(agreement(maps, other))
    return list(levels.values()), np.stack(drawn), np.array(agreements, np.float32)


def _texts(
    job: Mapping[str, Any], cell: Cell, beside: Kept, said: Predictions, device: torch.device
) -> tuple[dict[str, Any], Arrays]:
    """Return what is told of the tokens of texts, and the arrays of `Explained`."""
    dataset, network = _asked(job, cell, beside, device)
    rows, inputs = chosen(said, job["examples"]), network.inputs
    assert isinstance(inputs, TextInputs)
    read = opened(dataset, cell.dataset["digest"], "test").read
    texts = [str(read(int(i))) for i in said.index[rows]]
    tokens, facts = tokens_of(texts, inputs), _facts(said, rows)
    classes = torch.from_numpy(facts["predicted"]).to(device)
    x = Tokens(tokens.states.to(device), tokens.mask.to(device))
    found = token_scores(network, x, classes)
    few = Tokens(x.states[:TRIED], x.mask[:TRIED])
    fresh, levels, agreements = _anew(cell, beside, dataset, device), _levels(network), []
    for first in levels:
        draw_anew(network, fresh, first)
        other = token_scores(network, few, classes[:TRIED]).scores
        pairs = [(a[m][None], b[m][None]) for a, b, m in zip(found.scores, other, few.mask, strict=False)]
        agreements.append([agreement(one, again)[0] for one, again in pairs])
    arrays: Arrays = {
        **facts,
        "lengths": tokens.mask.sum(dim=1).numpy(),
        "scores": found.scores[x.mask].cpu().numpy(),
        "gap": found.gap.cpu().numpy(),
        "agreement": np.array(agreements, np.float32),
    }
    about = {"modality": "text", "place": network.stages[0].name, "classes": list(said.classes[0])}
    pieces = [inputs.tokenizer.pieces(text, inputs.length) for text in texts]
    return about | {"levels": list(levels.values()), "pieces": pieces, "steps": found.steps}, arrays


Explainer = Callable[[Mapping[str, Any], Cell, Kept, Predictions, torch.device], tuple[dict[str, Any], Arrays]]
# How it is seen where a model looks, by what it looks at.
EXPLAINERS: dict[str, Explainer] = {"image": _images, "text": _texts}

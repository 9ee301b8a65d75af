"""Feature extraction with scikit-learn: features once from the plain loader, then LogisticRegression.

It sees each picture once and unflipped, and solves its convex problem to the end: another method for the same question,
measured for what it costs and what it reaches.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.task import Task, in_order, seed_everything
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.utils.data import DataLoader


def learn(task: Task) -> Callable[[Tensor], Tensor]:
    """Fit the head and return what maps pictures to scores."""
    seed_everything(task)
    network = task.network().eval()
    pictures = task.pictures("train", network)
    loader = DataLoader(pictures, batch_size=64, sampler=in_order(pictures), num_workers=4)
    with torch.inference_mode():
        batches = [(network.features(x.to(task.device)).cpu().numpy(), y.numpy()) for x, y in loader]
    features, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(features, labels)

    def predict(x: Tensor) -> Tensor:
        return torch.from_numpy(head.decision_function(network.features(x).cpu().numpy()))

    return predict

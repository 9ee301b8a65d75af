"""Transferability scores: how well a pretrained network suits labelled data, said of its features without training.

Each takes features, float [n, dim], or the pretrained classifier's own logits, float [n, source classes], and labels,
int64 [n]; higher is better. All are computed in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

# LogME's ratio of two precisions is searched over so many decades around the features' own size, by zooming in.
DECADES, POINTS, ZOOMS = 12, 25, 8
NEIGHBOURS = 5


def log_me(features: Tensor, labels: Tensor, classes: int) -> float:
    """Return the LogME score: the log evidence of a Bayesian linear model, per example, mean over one-vs-rest labels.

    For each class log N(y; 0, F F' / alpha + I / beta) is maximised over alpha and beta (You et al., 2021, arXiv
    2102.11005), in the basis of one singular value decomposition. There, for a given ratio t = alpha / beta, the best
    beta is n / Q(t), so that the ratio is all that has to be searched; the paper's fixed point goes to the same place.
    """
    f = features.double()
    u, s, _ = torch.linalg.svd(f, full_matrices=False)
    y = one_hot(labels, classes).double()
    inside = (u.T @ y).square()
    # What of each column of labels no combination of features reaches.
    outside = (y.square().sum(dim=0) - inside.sum(dim=0)).clamp_min(0.0)
    return sum(_evidence(s.square(), inside[:, k], outside[k], len(f)) for k in range(classes)) / classes


def _evidence(s2: Tensor, x2: Tensor, outside: Tensor, n: int) -> float:
    """Return the greatest log evidence per example.

    `s2` are the squared singular values [rank], `x2` the squared coordinates of the labels there, `outside` what is
    left of them.
    """
    middle = math.log(float(s2.mean().clamp_min(torch.finfo(s2.dtype).tiny)))
    low, high = middle - DECADES * math.log(10), middle + DECADES * math.log(10)
    for _ in range(ZOOMS):
        tried = torch.linspace(low, high, POINTS, dtype=s2.dtype, device=s2.device)
        t = tried.exp()[:, None]
        q = (t / (t + s2)) @ x2 + outside
        found = n * (n / q.clamp_min(torch.finfo(s2.dtype).tiny)).log() - (s2 / t).log1p().sum(dim=1)
        best = int(found.argmax())
        low, high = float(tried[max(best - 1, 0)]), float(tried[min(best + 1, POINTS - 1)])
    return 0.5 * (float(found[best]) / n - math.log(2 * math.pi) - 1)


def h_score(features: Tensor, labels: Tensor, classes: int) -> float:
    """Return the H-score tr(cov(F)^-1 cov(E[F | y])) (Bao et al., 2019), its inverse a pseudo-inverse.

    With no more examples than features it is the number of classes less one whatever they are: see `h_score_shrunk`.
    """
    whole, between = _covariances(features, labels, classes)
    return float(torch.trace(torch.linalg.pinv(whole, hermitian=True) @ between))


def h_score_shrunk(features: Tensor, labels: Tensor, classes: int) -> float:
    """Return the H-score with a shrunk covariance, for few examples of many features (Ibrahim et al., 2021).

    cov(F) becomes (1 - a) cov(F) + a tr(cov(F)) / dim * I, and cov(E[F | y]) is taken (1 - a) times, where a is that
    of Ledoit and Wolf (2004). Source: arXiv 2110.06893.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    whole, between = _covariances(features, labels, classes)
    shrinkage = float(ledoit_wolf_shrinkage(features.double().cpu().numpy()))
    dim = len(whole)
    even = torch.eye(dim, dtype=whole.dtype, device=whole.device) * (torch.trace(whole) / dim)
    shrunk = (1 - shrinkage) * whole + shrinkage * even
    return (1 - shrinkage) * float(torch.trace(torch.linalg.solve(shrunk, between)))


def _covariances(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the covariance of features and that of their class means, each [dim, dim] and by n."""
    f = features.double()
    f = f - f.mean(dim=0)
    member = one_hot(labels, classes).double()
    counts = member.sum(dim=0)
    means = (member.T @ f) / counts.clamp_min(1.0)[:, None]
    return f.T @ f / len(f), means.T @ (counts[:, None] * means) / len(f)


def leep(source: Tensor, labels: Tensor, classes: int) -> float:
    """Return LEEP (Nguyen et al., 2020, arXiv 2002.12462): how well the source classes alone say what a label is.

    The mean of log sum_z P(y | z) p(z | x), p the pretrained classifier's probabilities and P(y | z) their own average
    over the examples of each label.
    """
    p = source.double().softmax(dim=1)
    joint = one_hot(labels, classes).double().T @ p
    given = joint / joint.sum(dim=0).clamp_min(torch.finfo(p.dtype).tiny)
    return float((p @ given.T).gather(1, labels[:, None]).log().mean())


def nce(source: Tensor, labels: Tensor, classes: int) -> float:
    """Return the negative conditional entropy -H(Y | Z) in nats (Tran et al., 2019, arXiv 1908.08142).

    Z is the source class that the pretrained classifier finds likeliest.
    """
    z = source.argmax(dim=1)
    joint = torch.zeros(source.shape[1], classes, dtype=torch.float64, device=labels.device)
    joint.index_put_((z, labels), torch.ones(len(labels), dtype=torch.float64, device=labels.device), accumulate=True)
    joint /= len(labels)
    given = joint / joint.sum(dim=1, keepdim=True).clamp_min(torch.finfo(joint.dtype).tiny)
    return float(torch.special.xlogy(joint, given).sum())


def nearest_neighbours(features: Tensor, labels: Tensor, classes: int, k: int = NEIGHBOURS) -> float:
    """Return the accuracy of a vote of the `k` nearest others by cosine similarity, for each example in turn."""
    f = normalize(features.double(), dim=1)
    k = min(k, len(f) - 1)
    right = 0
    for begin in range(0, len(f), 1024):
        part = slice(begin, min(begin + 1024, len(f)))
        near = f[part] @ f.T
        rows = torch.arange(part.stop - begin, device=f.device)
        near[rows, rows + begin] = -torch.inf
        weight, which = near.topk(k, dim=1)
        votes = torch.zeros(len(rows), classes, dtype=f.dtype, device=f.device)
        # One more than the similarity, so that none votes against its own class.
        votes.scatter_add_(1, labels[which], 1 + weight)
        right += int((votes.argmax(dim=1) == labels[part]).sum())
    return right / len(f)

"""Principal component regression: how much of the variance the batches explain, before and after."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.statistic import Statistic, ratio

NO_SHARE = 1e-12
"""Below this, what the batches explain is rounding."""


def batch_variance_share(points: np.ndarray, batches: np.ndarray) -> float:
    """Share of the variance of an embedding (n, d) that lies between batches.

    Summed over all principal components, variance times R2 on the batches is the trace of the covariance between
    batches: rotation changes nothing, so no components are computed.
    """
    return weighted_share(points, batches)(np.ones(len(points)))


def weighted_share(points: np.ndarray, batches: np.ndarray) -> Callable[[np.ndarray], float]:
    """`batch_variance_share` as a function of how often each cell is drawn."""
    centred = points - points.mean(axis=0)  # once: it is the digits that matter, the mean of the drawn cells comes off
    squares = np.einsum("ij,ij->i", centred, centred)
    n_cells, n_batches = len(points), int(batches.max()) + 1
    starts = np.arange(n_cells + 1)

    def share(weights: np.ndarray) -> float:
        member = sparse.csr_matrix((weights, batches, starts), shape=(n_cells, n_batches))
        sizes, sums = np.bincount(batches, weights, n_batches), np.asarray(member.T @ centred)
        overall = np.square(sums.sum(axis=0)).sum() / max(sizes.sum(), 1)
        between = (np.square(sums).sum(axis=1) / np.maximum(sizes, 1)).sum() - overall
        return ratio(between, weights @ squares - overall)

    return share


def pcr_comparison(before: np.ndarray, after: np.ndarray, batches: np.ndarray) -> Statistic:
    """Relative decrease of the variance share of batches (Luecken et al. 2022); 0 where it did not decrease."""
    share_before, share_after = weighted_share(before, batches), weighted_share(after, batches)
    if not share_before(np.ones(len(batches))) >= NO_SHARE:
        raise NotApplicable("batches explain no variance of the reference embedding")

    def decrease(weights: np.ndarray) -> float:
        share = share_before(weights)
        return max(0.0, (share - share_after(weights)) / share) if share > 0 else float("nan")

    return Statistic(decrease, len(batches))

"""Principal component regression: how much of the variance the batches explain, before and after."""

from __future__ import annotations

import numpy as np

from sclamp.evaluate.measure import NotApplicable

NO_SHARE = 1e-12
"""Below this, what the batches explain is rounding."""


def batch_variance_share(points: np.ndarray, batches: np.ndarray) -> float:
    """Share of the variance of an embedding (n, d) that lies between batches.

    Summed over all principal components, variance times R2 on the batches is the trace of the covariance between
    batches: rotation changes nothing, so no components are computed.
    """
    centred = points - points.mean(axis=0)
    sizes = np.bincount(batches)
    sums = np.zeros((len(sizes), centred.shape[1]))
    np.add.at(sums, batches, centred)
    between = (np.square(sums).sum(axis=1) / np.maximum(sizes, 1)).sum()
    return float(between / np.square(centred).sum())


def pcr_comparison(before: np.ndarray, after: np.ndarray, batches: np.ndarray) -> float:
    """Relative decrease of the variance share of batches (Luecken et al. 2022); 0 where it did not decrease."""
    share = batch_variance_share(before, batches)
    if share < NO_SHARE:
        raise NotApplicable("batches explain no variance of the reference embedding")
    return max(0.0, (share - batch_variance_share(after, batches)) / share)

"""Local inverse Simpson's index: how many batches, or labels, a cell's neighbourhood holds."""

from __future__ import annotations

import numpy as np

from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.neighbors import find_neighbors

STEPS = 50
TOLERANCE = 1e-5
LEAST_CELLS = 10
"""Labels with fewer cells have no ciLISI."""


def perplexity_of(k: int) -> int:
    """Effective number of neighbours: a third of them, 30 of 90 (Korsunsky et al. 2019)."""
    return k // 3


def neighbor_weights(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Weights of the neighbours of each cell, (n, k), rows sum to 1: exp(-beta d), its entropy being log(perplexity).

    beta is found by bisection, from 1, doubled or halved until bracketed, until the entropy is within 1e-5.
    """
    shifted = distances.astype(np.float64)
    shifted -= shifted.min(axis=1, keepdims=True)  # weights stay the same, and no row underflows to zero
    beta = np.ones(len(shifted))
    low, high = np.zeros(len(shifted)), np.full(len(shifted), np.inf)
    weights = np.empty_like(shifted)
    open_ = np.arange(len(shifted))
    for step in range(STEPS + 1):
        d = shifted[open_]
        with np.errstate(under="ignore"):
            w = np.exp(-d * beta[open_, None])
            total = w.sum(axis=1)
            entropy = np.log(total) + beta[open_] * np.einsum("ij,ij->i", d, w) / total
            weights[open_] = w / total[:, None]
        too_wide = entropy > np.log(perplexity)
        unsolved = np.abs(entropy - np.log(perplexity)) >= TOLERANCE
        open_, too_wide = open_[unsolved], too_wide[unsolved]
        if not len(open_) or step == STEPS:
            break
        low[open_[too_wide]] = beta[open_[too_wide]]
        high[open_[~too_wide]] = beta[open_[~too_wide]]
        bounded = np.isfinite(high[open_])
        beta[open_] = np.where(bounded, (low[open_] + np.where(bounded, high[open_], 0)) / 2, beta[open_] * 2)
    return weights


def lisi(weights: np.ndarray, indices: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Effective number of groups in each cell's neighbourhood, (n,), from 1 to the number of groups.

    weights, indices (n, k): of the neighbours. groups (n,): codes of batches or labels.
    """
    near = groups[indices]
    simpson = np.zeros(len(near))
    for group in range(int(groups.max()) + 1):
        simpson += np.where(near == group, weights, 0).sum(axis=1) ** 2
    return 1 / simpson


def scaled_ilisi(median: float, n_batches: int) -> float:
    """Median LISI of batches, scaled to 0 (each batch apart) .. 1 (all mixed evenly)."""
    return (median - 1) / (n_batches - 1)


def scaled_clisi(median: float, n_labels: int) -> float:
    """Median LISI of labels, scaled to 0 (all labels mixed) .. 1 (each label apart)."""
    return (n_labels - median) / (n_labels - 1)


def cilisi(points: np.ndarray, labels: np.ndarray, batches: np.ndarray, k: int) -> np.ndarray:
    """LISI of batches among the neighbours of the same label (Andreatta et al. 2024), scaled per label: (n,).

    Mixing labels cannot raise it. NaN for cells of labels with one batch or fewer than 10 cells; k: neighbours, fewer
    in smaller labels.
    """
    values = np.full(len(points), np.nan)
    for label in np.unique(labels):
        cells = np.flatnonzero(labels == label)
        found, codes = np.unique(batches[cells], return_inverse=True)
        if len(found) > 1 and len(cells) >= LEAST_CELLS:
            near = find_neighbors(points[cells], k)
            weights = neighbor_weights(near.distances, perplexity_of(near.k))
            values[cells] = (lisi(weights, near.indices, codes) - 1) / (len(found) - 1)
    if np.isnan(values).all():
        raise NotApplicable(f"no label has two batches and {LEAST_CELLS} cells")
    return values

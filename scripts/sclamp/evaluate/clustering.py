"""Clusters: k-means."""

from __future__ import annotations

import numpy as np
from scipy import sparse

MAX_ROUNDS = 300
BLOCK = 4096
"""Cells whose distances to the centres are computed at a time."""
ROUNDING = 1e-7
"""Of the largest distance: how far a distance from products in float64 may be off."""


def kmeans(points: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """One run of Lloyd's algorithm from a greedy k-means++ start; (n,) cluster numbers.

    points (n, d): centre them beforehand. A cluster that runs empty restarts at the cell farthest from its centre.
    A round looks only at cells whose nearest centre may have changed: Hamerly's (2010) bounds, kept for each cell on
    the distance to its own and to the second nearest centre, say so without error.
    """
    norms = np.einsum("ij,ij->i", points, points)
    centres = _spread_start(points, norms, k, rng)
    slack = ROUNDING * np.sqrt(norms.max(initial=0))
    clusters, own, second = _two_nearest(points, norms, centres)
    sums, sizes = _sums(points, clusters, k), np.bincount(clusters, minlength=k)
    for _ in range(MAX_ROUNDS - 1):
        moved = sums / np.maximum(sizes, 1)[:, None]
        if (empty := np.flatnonzero(sizes == 0)).size:
            farthest = np.argsort(-np.square(points - centres[clusters]).sum(axis=1), kind="stable")
            moved[empty] = points[farthest[: empty.size]]
        shifts = np.linalg.norm(moved - centres, axis=1)
        centres = moved
        own += shifts[clusters]
        second -= shifts.max()
        open_ = np.flatnonzero(own + slack >= second)
        found, own[open_], second[open_] = _two_nearest(points[open_], norms[open_], centres)
        changed = found != clusters[open_]
        if not changed.any():
            break
        rows, after = open_[changed], found[changed]
        sums += _sums(points[rows], after, k) - _sums(points[rows], clusters[rows], k)
        clusters[rows] = after
        sizes = np.bincount(clusters, minlength=k)
    return clusters


def _sums(points: np.ndarray, clusters: np.ndarray, k: int) -> np.ndarray:
    """Sum of the points of each cluster, (k, d)."""
    shape = (len(points), k)
    return sparse.csr_matrix((np.ones(len(points)), clusters, np.arange(len(points) + 1)), shape=shape).T @ points


def _two_nearest(
    points: np.ndarray, norms: np.ndarray, centres: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest centre of each point, the distance to it, and that to the second nearest (infinite for one centre).

    norms (n,): squared lengths of the points.
    """
    clusters, own, second = np.empty(len(points), np.int64), np.empty(len(points)), np.full(len(points), np.inf)
    of_centres = np.einsum("ij,ij->i", centres, centres)
    for start in range(0, len(points), BLOCK):
        rows = slice(start, start + BLOCK)
        squared = points[rows] @ (-2 * centres.T)
        squared += norms[rows, None]
        squared += of_centres
        np.maximum(squared, 0, out=squared)
        cells = np.arange(len(squared))
        nearest = clusters[rows] = squared.argmin(axis=1)
        own[rows] = np.sqrt(squared[cells, nearest])
        squared[cells, nearest] = np.inf
        second[rows] = np.sqrt(squared.min(axis=1))
    return clusters, own, second


def _spread_start(points: np.ndarray, norms: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Greedy k-means++ (Arthur & Vassilvitskii 2007): of a few draws by squared distance, keep the best, k times."""
    trials = 2 + int(np.log(k))
    chosen = [int(rng.integers(len(points)))]
    nearest = np.maximum(norms - 2 * points @ points[chosen[0]] + norms[chosen[0]], 0)
    for _ in range(1, k):
        potential = nearest.cumsum()
        draws = np.searchsorted(potential, rng.random(trials) * potential[-1], side="right").clip(0, len(points) - 1)
        squared = np.maximum(norms - 2 * points[draws] @ points.T + norms[draws][:, None], 0)
        squared = np.minimum(squared, nearest)
        best = int(squared.sum(axis=1).argmin())
        chosen.append(int(draws[best]))
        nearest = squared[best]
    return points[chosen]

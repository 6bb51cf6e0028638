"""Clusters and cell types: k-means, normalised mutual information, adjusted Rand index, F1."""

from __future__ import annotations

import numpy as np
from scipy import sparse

MAX_ROUNDS = 300


def contingency(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Counts of cells for each pair of codes: (codes of first, codes of second), float64."""
    shape = (int(first.max()) + 1, int(second.max()) + 1)
    return np.bincount(first * shape[1] + second, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def nmi(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Mutual information over the arithmetic mean of the entropies; 0 for a single group, 1 for equal partitions."""
    table = contingency(labels, clusters)
    by_label, by_cluster = _entropy(table.sum(axis=1)), _entropy(table.sum(axis=0))
    mutual = by_label + by_cluster - _entropy(table)
    if by_label + by_cluster == 0:
        return 1.0
    return max(0.0, 2 * mutual / (by_label + by_cluster))


def ari(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Adjusted Rand index (Hubert & Arabie 1985): agreement of pairs of cells beyond chance."""
    table = contingency(labels, clusters)
    pairs = {
        name: (n * (n - 1) / 2).sum()
        for name, n in {"both": table, "label": table.sum(axis=1), "cluster": table.sum(axis=0)}.items()
    }
    n_cells = table.sum()
    expected = pairs["label"] * pairs["cluster"] / (n_cells * (n_cells - 1) / 2)
    largest = (pairs["label"] + pairs["cluster"]) / 2
    if largest == expected:  # one group, or as many groups as cells, on both sides
        return 1.0
    return float((pairs["both"] - expected) / (largest - expected))


def best_f1(members: np.ndarray, clusters: np.ndarray) -> float:
    """Largest F1 of any cluster as a prediction of the members (n,) bool."""
    hits = np.bincount(clusters, weights=members)
    return float((2 * hits / (np.bincount(clusters) + members.sum())).max())


def kmeans(points: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """One run of Lloyd's algorithm from a greedy k-means++ start; (n,) cluster numbers.

    points (n, d): centre them beforehand. A cluster that runs empty restarts at the cell farthest from its centre.
    """
    norms = np.einsum("ij,ij->i", points, points)
    centres = _spread_start(points, norms, k, rng)
    clusters = np.full(len(points), -1)
    for _ in range(MAX_ROUNDS):
        squared = norms[:, None] - 2 * points @ centres.T + np.einsum("ij,ij->i", centres, centres)
        found = squared.argmin(axis=1)
        if np.array_equal(found, clusters):
            break
        clusters = found
        member = sparse.csr_matrix((np.ones(len(points)), clusters, np.arange(len(points) + 1)), shape=(len(points), k))
        sizes = np.bincount(clusters, minlength=k)
        centres = (member.T @ points) / np.maximum(sizes, 1)[:, None]
        if (empty := np.flatnonzero(sizes == 0)).size:
            farthest = np.argsort(-squared[np.arange(len(points)), clusters], kind="stable")
            centres[empty] = points[farthest[: empty.size]]
    return clusters


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

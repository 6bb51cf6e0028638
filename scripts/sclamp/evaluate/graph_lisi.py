"""Graph LISI as scib defines it: neighbours by shortest paths on the graph of nearest neighbours."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from sclamp.evaluate.lisi import lisi, neighbor_weights, perplexity_of

NEIGHBORS = 90
MOST_CELLS = 2000
"""Beyond so many cells, those of a stratified sample are looked at; their neighbours may be any cells."""
PILOTS = 48
CHUNK = 2**22
"""Distances held at a time: sources times cells."""


def path_neighbors(graph: sparse.csr_matrix, sources: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k cells nearest to each source by shortest paths: indices, distances (s, k).

    graph (n, n): the weight of an edge is taken as its length, which scib does with connectivities. Rows of -1 and NaN
    where fewer than k cells can be reached. The search goes as far as most cells need, then farther for the others.
    """
    indices = np.full((len(sources), k), -1)
    distances = np.full((len(sources), k), np.nan)
    lengths = graph.astype(np.float64)
    pilots = np.linspace(0, len(sources) - 1, min(PILOTS, len(sources))).astype(int)
    _search(lengths, sources, pilots, k, np.inf, indices, distances)
    reached = distances[pilots, -1]
    limit = np.nanquantile(reached, 0.9) * 1.02 if np.isfinite(reached).any() else np.inf
    left = np.setdiff1d(np.arange(len(sources)), pilots)
    while len(left):
        _search(lengths, sources, left, k, limit, indices, distances)
        left = left[indices[left, 0] < 0] if np.isfinite(limit) else left[:0]
        limit = limit * 2 if limit < lengths.sum() else np.inf
    return indices, distances


def _search(
    lengths: sparse.csr_matrix, sources: np.ndarray, rows: np.ndarray, k: int, limit: float, indices: np.ndarray,
    distances: np.ndarray,
) -> None:  # fmt: skip
    """Fill the given rows of indices and distances, as far as k cells are within the limit."""
    step = max(1, CHUNK // lengths.shape[0])
    for first in range(0, len(rows), step):
        chunk = rows[first : first + step]
        paths = dijkstra(lengths, directed=True, indices=sources[chunk], limit=limit)
        paths[np.arange(len(chunk)), sources[chunk]] = np.inf
        near = np.sort(np.argpartition(paths, k - 1, axis=1)[:, :k], axis=1)
        at = np.take_along_axis(paths, near, axis=1)
        order = np.argsort(at, axis=1, kind="stable")
        at = np.take_along_axis(at, order, axis=1)
        full = np.isfinite(at[:, -1])
        indices[chunk[full]] = np.take_along_axis(near, order, axis=1)[full]
        distances[chunk[full]] = at[full]


def graph_lisi(indices: np.ndarray, distances: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """LISI (s,) of the groups (n,) among the neighbours of each source; 1 where too few cells can be reached."""
    values = np.ones(len(indices))
    full = indices[:, 0] >= 0
    if full.any():
        weights = neighbor_weights(distances[full], perplexity_of(indices.shape[1]))
        values[full] = lisi(weights, indices[full], groups)
    return values

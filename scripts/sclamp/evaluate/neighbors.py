"""Exact nearest neighbours: one search per embedding, shared by LISI, the graph, Leiden and UMAP."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sclamp.core.progress import progress

MARGIN = 16
"""Candidates beyond k: the search runs in float32, the final order is that of float64 distances."""
BLOCK = 8192
"""Cells searched at a time."""
RANKED = 32
"""Cells whose candidates are measured again at a time."""


class Neighbors(NamedTuple):
    """Neighbours of n cells, nearest first, the cell itself excluded.

    indices (n, k) int32: row positions. distances (n, k) float32: euclidean.
    """

    indices: np.ndarray
    distances: np.ndarray

    @property
    def k(self) -> int:
        """Neighbours per cell."""
        return self.indices.shape[1]


def find_neighbors(embedding: np.ndarray, k: int) -> Neighbors:
    """Find the k nearest other cells of each cell by euclidean distance (fewer where there are not k others).

    embedding (n, d): finite. Exact: faiss compares all pairs in float32, then the best k + MARGIN are measured again in
    float64 and ordered by distance and position, so that the result does not depend on threads. A cell is never its
    own neighbour, also among identical cells.
    """
    import faiss

    points = np.asarray(embedding, dtype=np.float64)
    n_cells = len(points)
    k = min(k, n_cells - 1)
    if k < 1:
        return Neighbors(np.empty((n_cells, 0), np.int32), np.empty((n_cells, 0), np.float32))
    # Distances are differences: centred and scaled values lose the least in float32.
    centred = points - points.mean(axis=0)
    scale = np.abs(centred).max()
    single = np.ascontiguousarray(centred / (scale if scale > 0 else 1.0), dtype=np.float32)
    # Matrix products also for few queries, where faiss would take four times as long pair by pair.
    faiss.cvar.distance_compute_blas_threshold = 0
    index = faiss.IndexFlatL2(single.shape[1])
    index.add(single)
    wanted = min(k + 1 + MARGIN, n_cells)
    indices = np.empty((n_cells, k), np.int32)
    distances = np.empty((n_cells, k), np.float32)
    starts = range(0, n_cells, BLOCK)
    for start in progress(starts, len(starts), "neighbours", "blocks"):
        rows = slice(start, min(start + BLOCK, n_cells))
        _, candidates = index.search(single[rows], wanted)
        indices[rows], distances[rows] = _nearest(points, np.arange(rows.start, rows.stop), candidates, k)
    return Neighbors(indices, distances)


def _nearest(points: np.ndarray, cells: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each cell's candidates (m, c), the k nearest other than itself, by float64 distance, then by position."""
    squared = np.empty(candidates.shape)
    for start in range(0, len(cells), RANKED):  # (RANKED, c, d) differences stay in the processor's cache
        rows = slice(start, start + RANKED)
        apart = points.take(candidates[rows], axis=0)
        apart -= points[cells[rows], None]
        np.einsum("ijk,ijk->ij", apart, apart, out=squared[rows])
    squared[candidates == cells[:, None]] = np.inf
    # The candidates come nearly in order, which a stable sort takes little time for; only equals need their positions.
    order = np.argsort(squared, axis=1, kind="stable")
    ordered = np.take_along_axis(squared, order, axis=1)
    for row in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1)):
        order[row] = np.lexsort((candidates[row], squared[row]))
    found = np.take_along_axis(candidates, order[:, :k], axis=1)
    return found.astype(np.int32), np.sqrt(ordered[:, :k]).astype(np.float32)

"""Principal components of the cells of one batch, from counts on disk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sclamp.data.h5ad import CountMap
from sclamp.data.moments import Transform

COMPONENTS = 50
LEAST_CELLS = 10
DENSE_VALUES = 2**24
"""Expression values held as a dense array at a time: 128 MB."""


def dense_chunks(counts: CountMap, rows: np.ndarray, transform: Transform) -> Iterator[tuple[slice, np.ndarray]]:
    """Transformed counts of the given cells in pieces: (place among the rows, (m, genes) float64)."""
    step = max(1, DENSE_VALUES // max(counts.n_genes, 1))
    for first in range(0, len(rows), step):
        cells = rows[first : first + step]
        starts, sizes = counts.indptr[cells].astype(np.int64), np.diff(counts.indptr)[cells].astype(np.int64)
        within = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
        places = np.repeat(starts, sizes) + within
        local, genes = np.repeat(np.arange(len(cells)), sizes), counts.indices[places].astype(np.int64)
        dense = np.zeros((len(cells), counts.n_genes))
        dense[local, genes] = transform(counts.data[places].astype(np.float64), cells[local], genes)
        yield slice(first, first + len(cells)), dense


def component_scores(counts: CountMap, rows: np.ndarray, transform: Transform) -> np.ndarray | None:
    """The cells' coordinates (n, k) on their first 50 principal components; None for fewer than 10 cells.

    k is less where cells or genes are fewer. The components are those of the given cells alone, centred, not scaled.
    """
    n_cells, n_genes = len(rows), counts.n_genes
    if n_cells < LEAST_CELLS or n_genes < 1:
        return None
    if n_cells <= n_genes and n_cells * n_genes <= DENSE_VALUES:
        (_, dense), *_ = dense_chunks(counts, rows, transform)
        dense -= dense.mean(axis=0)
        values, vectors = _leading(dense @ dense.T)
        return vectors * np.sqrt(values)
    total, gram = np.zeros(n_genes), np.zeros((n_genes, n_genes))
    for _, dense in dense_chunks(counts, rows, transform):
        total += dense.sum(axis=0)
        gram += dense.T @ dense
    mean = total / n_cells
    vectors = _leading(gram - n_cells * np.outer(mean, mean))[1]
    scores = np.empty((n_cells, vectors.shape[1]))
    for place, dense in dense_chunks(counts, rows, transform):
        scores[place] = (dense - mean) @ vectors
    return scores


def _leading(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues, descending and not below 0, and their eigenvectors."""
    from scipy.linalg import eigh

    size = len(matrix)
    values, vectors = eigh(matrix, subset_by_index=[max(0, size - COMPONENTS), size - 1])
    return np.maximum(values[::-1], 0), vectors[:, ::-1]

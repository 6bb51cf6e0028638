"""Diffusion maps of neighbour graphs (Coifman et al. 2005; Haghverdi et al. 2016)."""

from __future__ import annotations

import numpy as np
from scipy import sparse

DENSE_CELLS = 300
"""Up to so many cells all eigenvectors are computed at once."""


def diffusion_map(graph: sparse.csr_matrix, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (c,) of largest magnitude, descending, and eigenvectors (n, c) of the graph's transitions.

    graph (n, n): symmetric, every cell with an edge. The kernel is divided by the density at both ends, and then made
    symmetric, as scanpy does. c = min(n_components, n - 1).
    """
    kernel = graph.astype(np.float64)
    for power in (1.0, 0.5):  # density, then normalisation
        sides = sparse.diags_array(np.asarray(kernel.sum(axis=0)).ravel() ** -power)
        kernel = (sides @ kernel @ sides).tocsr()
    n_cells = kernel.shape[0]
    count = min(n_components, n_cells - 1)
    if n_cells <= DENSE_CELLS:
        values, vectors = np.linalg.eigh(kernel.toarray())
        chosen = np.argsort(-np.abs(values), kind="stable")[:count]
        values, vectors = values[chosen], vectors[:, chosen]
    else:
        from scipy.sparse.linalg import eigsh

        start = np.random.default_rng(0).standard_normal(n_cells)
        values, vectors = eigsh(kernel, k=count, v0=start)
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[:, order]

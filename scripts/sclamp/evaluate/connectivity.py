"""Graph connectivity: whether each label hangs together in the neighbour graph."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sclamp.evaluate.neighbors import Neighbors


def graph_connectivity(graph: sparse.csr_matrix, labels: np.ndarray) -> float:
    """Mean over labels of the share of its cells in its largest component (Luecken et al. 2022).

    graph (n, n): symmetric, as in scib; or directed, where a component is strong, as in scib-metrics.
    """
    shares = []
    for label in np.unique(labels):
        cells = np.flatnonzero(labels == label)
        _, component = connected_components(graph[cells][:, cells], directed=True, connection="strong")
        shares.append(np.bincount(component).max() / len(cells))
    return float(np.mean(shares))


def directed_graph(neighbors: Neighbors, n_neighbors: int) -> sparse.csr_matrix:
    """Edges from each cell to its n_neighbors - 1 nearest others, (n, n) of ones."""
    nearest = neighbors.indices[:, : n_neighbors - 1]
    starts = np.arange(len(nearest) + 1) * nearest.shape[1]
    return sparse.csr_matrix((np.ones(nearest.size, np.float32), nearest.ravel(), starts), shape=(len(nearest),) * 2)

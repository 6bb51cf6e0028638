"""Graph connectivity: whether each label hangs together in the neighbour graph."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sclamp.evaluate.neighbors import Neighbors
from sclamp.evaluate.statistic import Statistic


def graph_connectivity(graph: sparse.csr_matrix, labels: np.ndarray) -> Statistic:
    """Mean over labels of the share of its cells in its largest component (Luecken et al. 2022).

    graph (n, n): symmetric, as in scib; or directed, where a component is strong, as in scib-metrics. Resamples keep
    the components.
    """
    components, label_of = label_components(graph, labels)
    order = np.argsort(label_of, kind="stable")  # components of one label beside each other
    starts = np.searchsorted(label_of[order], np.arange(int(labels.max()) + 1))

    def mean_share(weights: np.ndarray) -> float:
        sizes = np.bincount(components, weights, len(label_of))[order]
        totals = np.add.reduceat(sizes, starts)
        drawn = totals > 0
        shares = np.maximum.reduceat(sizes, starts)[drawn] / totals[drawn]
        return float(shares.mean()) if drawn.any() else float("nan")

    return Statistic(mean_share, len(labels))


def label_components(graph: sparse.csr_matrix, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The component (n,) of each cell among the cells of its label, and the label of each component.

    labels (n,): codes 0.., each present.
    """
    components, label_of, known = np.empty(len(labels), np.int64), [], 0
    for label in range(int(labels.max()) + 1):
        cells = np.flatnonzero(labels == label)
        number, component = connected_components(graph[cells][:, cells], directed=True, connection="strong")
        components[cells] = known + component
        known += number
        label_of += [label] * number
    return components, np.array(label_of)


def directed_graph(neighbors: Neighbors, n_neighbors: int) -> sparse.csr_matrix:
    """Edges from each cell to its n_neighbors - 1 nearest others, (n, n) of ones."""
    nearest = neighbors.indices[:, : n_neighbors - 1]
    starts = np.arange(len(nearest) + 1) * nearest.shape[1]
    return sparse.csr_matrix((np.ones(nearest.size, np.float32), nearest.ravel(), starts), shape=(len(nearest),) * 2)

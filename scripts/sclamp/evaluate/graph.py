"""The graph of neighbours: UMAP's fuzzy union of neighbourhoods, as in `scanpy.pp.neighbors`, and Leiden on it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from sclamp.evaluate.neighbors import Neighbors

if TYPE_CHECKING:
    import igraph

STEPS = 64
TOLERANCE = 1e-5
LEAST_SCALE = 1e-3


def fuzzy_graph(neighbors: Neighbors, n_neighbors: int) -> sparse.csr_matrix:
    """Weigh the edges of the neighbour graph as UMAP does (McInnes et al. 2018); scanpy's "connectivities".

    n_neighbors: size of a neighbourhood, the cell itself counted, as scanpy counts; the nearest n_neighbors - 1 other
    cells are used. Returns a symmetric (n, n) float32 matrix with weights in (0, 1].
    """
    others = min(n_neighbors - 1, neighbors.k)
    indices, distances = neighbors.indices[:, :others], neighbors.distances[:, :others]
    nearest, scale = local_scales(distances, np.log2(others + 1))
    beyond = distances - nearest[:, None]
    with np.errstate(under="ignore"):
        strength = np.exp(-np.maximum(beyond, 0) / scale[:, None])
    n_cells = len(indices)
    starts = np.arange(n_cells + 1) * others
    directed = sparse.csr_matrix((strength.ravel(), indices.ravel(), starts), shape=(n_cells, n_cells))
    directed.eliminate_zeros()
    directed.sort_indices()
    reverse = directed.T.tocsr()
    union = (directed + reverse - directed.multiply(reverse)).tocsr()  # probability that either edge exists
    union.eliminate_zeros()
    union.sort_indices()
    return union


def local_scales(distances: np.ndarray, target: float) -> tuple[np.ndarray, np.ndarray]:
    """For each cell, the distance to its nearest distinct neighbour and the scale of its neighbourhood.

    distances (n, k), ascending, without the cell itself; infinite where there is no neighbour. The
    scale s solves sum_j exp(-max(0, d_j - d_1) / s) = target by bisection, and is kept above a thousandth of the mean
    distance. Returns two (n,) float32 arrays.
    """
    n_cells = len(distances)
    distinct = np.where(distances > 0, distances, np.inf)
    nearest = distinct.min(axis=1, initial=np.inf).astype(np.float32)
    nearest[np.isinf(nearest)] = 0
    beyond = np.maximum(distances - nearest[:, None], 0).astype(np.float64)
    low, high, middle = np.zeros(n_cells), np.full(n_cells, np.inf), np.ones(n_cells)
    open_ = np.arange(n_cells)
    for _ in range(STEPS):
        with np.errstate(under="ignore"):
            total = np.exp(-beyond[open_] / middle[open_, None]).sum(axis=1)
        unsolved = np.abs(total - target) >= TOLERANCE
        open_, total = open_[unsolved], total[unsolved]
        if not len(open_):
            break
        above = total > target
        high[open_[above]] = middle[open_[above]]
        low[open_[~above]] = middle[open_[~above]]
        bounded = np.isfinite(high[open_])
        middle[open_] = np.where(bounded, (low[open_] + np.where(bounded, high[open_], 0)) / 2, middle[open_] * 2)
    # Means count the cell itself, at distance 0, as UMAP does.
    sums, counts = np.where(np.isfinite(distances), distances, 0).sum(axis=1), np.isfinite(distances).sum(axis=1) + 1
    own_mean, overall = sums / counts, sums.sum() / max(counts.sum(), 1)
    least = LEAST_SCALE * np.where(nearest > 0, own_mean, overall)
    # Where all cells coincide any scale gives the same weights; it only must not be zero.
    scale = np.maximum(middle, np.where(least > 0, least, 1.0)).astype(np.float32)
    return nearest, scale


def network_of(graph: sparse.csr_matrix) -> igraph.Graph:
    """The symmetric graph (n, n) for igraph, with weights, without loops.

    scanpy and scib-metrics give igraph each edge twice, once in either direction. Here it is given once with twice the
    weight: the sums of float32 weights, and with them the clusters, are the same, in two thirds of the time.
    """
    import igraph

    edges = sparse.triu(graph, k=1).tocoo()
    network = igraph.Graph(n=graph.shape[0], edges=np.column_stack([edges.row, edges.col]))
    network.es["weight"] = 2 * edges.data
    return network


def leiden(network: igraph.Graph, resolution: float, seed: int) -> np.ndarray:
    """Cluster by modularity (Traag et al. 2019), two iterations; (n,) cluster numbers.

    Same objective, edges and random numbers as scib-metrics' Leiden, so that equal seeds give equal clusters; scanpy's
    flavor "igraph" differs in its random numbers only.
    """
    import igraph

    igraph.set_random_number_generator(random.Random(seed))
    try:
        found = network.community_leiden("modularity", weights="weight", resolution=resolution, n_iterations=2)
    finally:
        igraph.set_random_number_generator(random)
    return np.asarray(found.membership)

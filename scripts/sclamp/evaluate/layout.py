"""UMAP's layout (McInnes et al. 2018) of a neighbour graph in two dimensions, in vectorised steps."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

from sclamp.core.progress import doing, progress
from sclamp.evaluate.graph import fuzzy_graph
from sclamp.evaluate.neighbors import Neighbors

N_NEIGHBORS = 15
"""Size of a neighbourhood, the cell itself counted: scanpy's default."""
SEED = 0
A, B = np.float32(0.583), np.float32(1.334)
"""Shape of the similarity 1 / (1 + a d^2b) in the layout: minimal distance 0.5, spread 1, as scanpy's default."""
EPOCHS_OF_SMALL, EPOCHS_OF_LARGE, SMALL = 300, 200, 10_000
NEGATIVES = 5
LARGEST_STEP = 4.0
PARTS = 4
"""Each epoch moves the cells in this many rounds: steps that are all taken from the same positions overshoot."""
EXTENT = 10.0


def lay_out(neighbors: Neighbors, max_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Place the cells that have neighbours, or a random sample of max_cells of them: rows (m,), places (m, 2).

    The graph of a sample comes from shared neighbours: known neighbours are too rarely part of the sample themselves.
    """
    rows = np.flatnonzero((neighbors.indices >= 0).all(axis=1)) if neighbors.k else np.empty(0, np.int64)
    with doing("graph of the cells"):
        if len(rows) > max_cells:
            rows = np.sort(np.random.default_rng(SEED).choice(rows, max_cells, replace=False))
            known = shared_neighbors(neighbors, rows, N_NEIGHBORS - 1)
        else:
            position = np.full(len(neighbors.indices), -1, np.int32)
            position[rows] = np.arange(len(rows))
            known = Neighbors(position[neighbors.indices[rows]], neighbors.distances[rows])
        graph = fuzzy_graph(known, N_NEIGHBORS)
    return rows, umap_layout(graph, SEED)


def shared_neighbors(neighbors: Neighbors, rows: np.ndarray, count: int) -> Neighbors:
    """For some cells, those among them with whom they share the most neighbours (itself counted as one's own).

    Distance: 1 - shared / (k + 1). Where fewer than `count` cells share any, the rest are infinitely far.
    """
    n_rows, size = len(rows), neighbors.k + 1
    members = np.column_stack([rows, neighbors.indices[rows]]).ravel()
    shape = (n_rows, len(neighbors.indices))
    belongs = sparse.csr_matrix((np.ones(members.size, np.float32), members, np.arange(n_rows + 1) * size), shape=shape)
    shared = (belongs @ belongs.T).tocoo()
    others = shared.row != shared.col
    row, col, share = shared.row[others], shared.col[others], shared.data[others]
    order = np.lexsort((col, -share, row))
    row, col, share = row[order], col[order], share[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    near = rank < count
    found = Neighbors(
        np.repeat(np.arange(n_rows, dtype=np.int32)[:, None], count, axis=1),
        np.full((n_rows, count), np.inf, np.float32),
    )
    found.indices[row[near], rank[near]] = col[near]
    found.distances[row[near], rank[near]] = 1 - share[near] / size
    return found


def umap_layout(graph: sparse.csr_matrix, seed: int) -> np.ndarray:
    """Place the nodes of a symmetric, weighted graph (n, n): (n, 2) float32. Deterministic for a given seed.

    Edges pull in proportion to their weight (strong ones in every epoch, weak ones now and then), random other nodes
    push; the step shrinks linearly. Starts from the eigenvectors of the graph.
    """
    if graph.shape[0] == 0:
        return np.empty((0, 2), np.float32)
    rng = np.random.default_rng(seed)
    with doing("start of the layout"):
        places = spectral_start(graph, rng)
    edges = graph.tocoo()
    epochs = EPOCHS_OF_SMALL if len(places) <= SMALL else EPOCHS_OF_LARGE
    keep = edges.data >= edges.data.max(initial=0) / epochs
    heads, tails = edges.row[keep], edges.col[keep]
    share = edges.data[keep] / edges.data.max(initial=1e-9)  # of the epochs, in which the edge pulls
    phase = rng.random(len(share), dtype=np.float32)
    for epoch in progress(range(epochs), epochs, "layout", "epochs"):
        due = np.flatnonzero(np.floor(phase + share * (epoch + 1)) > np.floor(phase + share * epoch))
        rng.shuffle(due)
        for part in np.array_split(due, PARTS):
            _move(places, heads[part], tails[part], rng, step=1 - epoch / epochs)
    return places - places.mean(axis=0)


def _move(places: np.ndarray, heads: np.ndarray, tails: np.ndarray, rng: np.random.Generator, step: float) -> None:
    """Pull both ends of the edges together, push their heads from random nodes; changes `places` (n, 2)."""
    n_nodes = len(places)
    pushed = np.repeat(heads, NEGATIVES)
    others = rng.integers(n_nodes, size=len(pushed), dtype=np.int32)
    pull_by, push_by = _pull(places[heads] - places[tails]), _push(places[pushed] - places[others])
    for axis in range(2):
        change = np.bincount(heads, pull_by[:, axis], n_nodes) - np.bincount(tails, pull_by[:, axis], n_nodes)
        change += np.bincount(pushed, push_by[:, axis], n_nodes)
        places[:, axis] += step * change


def _pull(apart: np.ndarray) -> np.ndarray:
    """Step of each head towards its tail; apart (m, 2): head minus tail."""
    squared = np.maximum(np.einsum("ij,ij->i", apart, apart), 1e-12)
    power = squared**B
    strength = 2 * A * B * power / (squared * (1 + A * power))
    return np.clip(-strength[:, None] * apart, -LARGEST_STEP, LARGEST_STEP)


def _push(apart: np.ndarray) -> np.ndarray:
    """Step of each node away from another; apart (m, 2): node minus other."""
    squared = np.einsum("ij,ij->i", apart, apart)
    strength = 2 * B / ((0.001 + squared) * (1 + A * squared**B))
    return np.clip(strength[:, None] * apart, -LARGEST_STEP, LARGEST_STEP)


def spectral_start(graph: sparse.csr_matrix, rng: np.random.Generator) -> np.ndarray:
    """Start of a layout: two eigenvectors of each connected piece, pieces side by side on a spiral, largest first."""
    n_nodes = graph.shape[0]
    n_pieces, piece_of = connected_components(graph, directed=False)
    sizes = np.bincount(piece_of)
    places = np.empty((n_nodes, 2))
    for rank, piece in enumerate(np.argsort(-sizes, kind="stable")):
        nodes = np.flatnonzero(piece_of == piece)
        radius = EXTENT * np.sqrt(len(nodes) / n_nodes)
        angle = rank * np.pi * (3 - np.sqrt(5))
        centre = 1.5 * EXTENT * np.sqrt(rank / max(n_pieces, 1)) * np.array([np.cos(angle), np.sin(angle)])
        places[nodes] = centre + radius * _eigenvectors(graph[nodes][:, nodes], rng)
    return (places + rng.normal(scale=1e-3, size=places.shape)).astype(np.float32)


def _eigenvectors(graph: sparse.csr_matrix, rng: np.random.Generator) -> np.ndarray:
    """The two smoothest non-constant functions on a connected graph, scaled to [-1, 1]: (n, 2)."""
    n_nodes = graph.shape[0]
    if n_nodes < 8:
        return rng.uniform(-1, 1, (n_nodes, 2))
    root = np.sqrt(np.asarray(graph.sum(axis=1), dtype=np.float64).ravel())
    scaled = sparse.diags(1 / root) @ graph.astype(np.float64) @ sparse.diags(1 / root)
    width = min(n_nodes - 1, max(8, int(np.sqrt(n_nodes))))
    # A start that shares a symmetry of the graph would never reach the eigenvectors without it.
    start = rng.normal(size=n_nodes)
    values, vectors = eigsh(scaled, k=3, which="LA", ncv=width, tol=1e-4, v0=start, maxiter=n_nodes * 5)
    smooth = vectors[:, np.argsort(-values)[1:3]] / root[:, None]
    smooth *= np.where(smooth[np.abs(smooth).argmax(axis=0), [0, 1]] < 0, -1, 1)  # signs are arbitrary: fix them
    return smooth / np.abs(smooth).max(axis=0)

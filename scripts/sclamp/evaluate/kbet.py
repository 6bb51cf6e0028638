"""kBET: whether the batches in a cell's neighbourhood are those that its label has (Büttner et al. 2019)."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sclamp.evaluate.diffusion import diffusion_map
from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.neighbors import find_neighbors
from sclamp.evaluate.queries import nearest_among

ALPHA = 0.05
COMPONENTS = 100
GRAPH_NEIGHBORS = 50
"""Cells of a neighbourhood in the graph, the cell itself counted: as in scib-metrics' Benchmarker."""
LEAST_CELLS = 10
USABLE_SHARE = 0.75
"""Less than this share of a label in components of three neighbourhoods counts as rejection everywhere."""


def accepted(
    graph: sparse.csr_matrix, labels: np.ndarray, batches: np.ndarray, sample: np.ndarray | None = None
) -> np.ndarray:
    """Whether each cell's neighbourhood within its label has the label's shares of batches: (n,) of 1 and 0.

    graph (n, n): fuzzy and symmetric. Neighbours are nearest in a diffusion map of the label's part of the graph, as
    scib-metrics has it (searched exactly). NaN for labels with fewer than 10 cells or one batch, and for cells in
    small components of a label. sample: rows of the cells that are tested, all others get NaN too; None tests all.
    """
    values = np.full(len(labels), np.nan)
    tested = np.full(len(labels), sample is None)
    if sample is not None:
        tested[sample] = True
    for label in np.unique(labels):
        cells = np.flatnonzero(labels == label)
        found, codes = np.unique(batches[cells], return_inverse=True)
        if len(cells) >= LEAST_CELLS and len(found) > 1:
            values[cells] = _accepted_of_label(graph[cells][:, cells], codes, tested[cells])
    if np.isnan(values).all():
        raise NotApplicable(f"no label has two batches and {LEAST_CELLS} cells")
    return values


def neighborhood_size(batches: np.ndarray) -> int:
    """A quarter of the mean batch size, between 10 and 70; batches (n,): codes 0.., each present."""
    return min(70, max(10, int(len(batches) / (int(batches.max()) + 1) / 4)))


def _accepted_of_label(graph: sparse.csr_matrix, batches: np.ndarray, tested: np.ndarray) -> np.ndarray:
    k = neighborhood_size(batches)
    n_parts, part = connected_components(graph, connection="strong")
    usable = np.full(len(batches), True) if n_parts == 1 else np.bincount(part)[part] >= 3 * k
    if usable.mean() < USABLE_SHARE:
        return np.where(tested, 0.0, np.nan)
    rows = np.flatnonzero(usable)
    codes = np.unique(batches[rows], return_inverse=True)[1]
    space = diffusion_space(graph[rows][:, rows])
    asked = np.flatnonzero(tested[rows])
    if len(asked) == len(rows):
        near = np.hstack([asked[:, None], find_neighbors(space, k).indices])
    else:
        near = nearest_among(space, space[asked], min(k + 1, len(rows)))
    values = np.full(len(batches), np.nan)
    values[rows[asked]] = p_values(codes[near], codes) >= ALPHA
    return values


def diffusion_space(graph: sparse.csr_matrix) -> np.ndarray:
    """Coordinates (n, c) whose euclidean distances are diffusion distances over all numbers of steps."""
    values, vectors = diffusion_map(graph, COMPONENTS)
    single = values.astype(np.float32)  # what rounds to 1 is stationary: one per component
    return vectors * np.where(single >= 1, 1.0, values / np.where(single >= 1, 1.0, 1 - values))


def p_values(near: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Pearson's chi-squared test of each neighbourhood against the overall shares of batches, (n,).

    near (n, k): batches of the neighbours. batches: codes 0.., each present.
    """
    from scipy.special import gammaincc

    sizes = np.bincount(batches)
    expected = sizes / sizes.sum() * near.shape[1]
    statistic = np.zeros(len(near))
    for batch, count in enumerate(expected):
        statistic += np.square((near == batch).sum(axis=1) - count) / count
    if len(sizes) == 1:  # the usable part has one batch
        return np.ones(len(near))
    return gammaincc((len(sizes) - 1) / 2, statistic / 2)

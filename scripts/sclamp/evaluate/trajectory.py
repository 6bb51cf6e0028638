"""Trajectory conservation: whether the pseudotime of the uncorrected data survives in the embedding's graph."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sclamp.evaluate.diffusion import diffusion_map
from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.statistic import Statistic, fixed, on_rows

COMPONENTS = 15
OF_DISTANCE = 10
"""Components that enter the diffusion distance, as in scanpy."""
OF_ROOT = 3
STATIONARY = 0.9994
"""An eigenvalue from here on is that of the stationary state in single precision."""
LEAST_CELLS = 20


def trajectory_conservation(graph: sparse.csr_matrix, labels: np.ndarray, pseudotime: np.ndarray) -> Statistic:
    """(Spearman of the pseudotimes + 1) / 2 (Luecken et al. 2022); pseudotime (n,) of the uncorrected data, or NaN.

    The pseudotime of the embedding is the diffusion distance on the graph from a root: of the label whose mean given
    pseudotime is least, the cell that most often is the extreme one of the first diffusion components. Cells outside
    the largest component of the graph get 0. 0 where that component has no cell of the first label.
    """
    rows = np.flatnonzero(np.isfinite(pseudotime))
    if len(rows) < LEAST_CELLS:
        raise NotApplicable(f"{len(rows)} cells have a pseudotime; {LEAST_CELLS} are needed")
    given = pseudotime[rows]
    if (given == given[0]).all():
        raise NotApplicable(f"the pseudotime of all {len(rows)} cells is {given[0]:g}")
    inner, codes = graph[rows][:, rows], np.unique(labels[rows], return_inverse=True)[1]
    first = int((np.bincount(codes, given) / np.bincount(codes)).argmin())
    part = connected_components(inner, directed=False)[1]
    largest = np.flatnonzero(part == np.bincount(part).argmax())
    starts = np.flatnonzero(codes[largest] == first)
    if not len(starts) or len(largest) < LEAST_CELLS:
        return fixed(0.0, len(labels))
    values, vectors = diffusion_map(inner[largest][:, largest], COMPONENTS)
    found = np.zeros(len(rows))
    found[largest] = diffusion_pseudotime(values, vectors, root_of(vectors, starts))
    spearman = weighted_spearman(given, found)
    return on_rows(Statistic(lambda w: (spearman.of(w) + 1) / 2, len(rows)), rows, len(labels))


def root_of(vectors: np.ndarray, candidates: np.ndarray) -> int:
    """The candidate that most often is the extreme one of a component, on the side where candidates are."""
    votes = np.zeros(len(candidates), np.int64)
    for component in vectors.T[:OF_ROOT]:
        own = component[candidates]
        votes[own.argmin() if own.mean() < component.mean() else own.argmax()] += 1
    return int(candidates[votes.argmax()])


def diffusion_pseudotime(values: np.ndarray, vectors: np.ndarray, root: int) -> np.ndarray:
    """Diffusion distance (Haghverdi et al. 2016) of each cell to the root, (n,), the largest being 1."""
    values, vectors = values[:OF_DISTANCE], vectors[:, :OF_DISTANCE]
    moving = values < STATIONARY
    scale = np.where(moving, values / np.where(moving, 1 - values, 1), 1.0)
    distances = np.sqrt(np.square((vectors - vectors[root]) * scale).sum(axis=1))
    return distances / distances.max()


def weighted_spearman(first: np.ndarray, second: np.ndarray) -> Statistic:
    """Spearman's correlation of two (n,) among the drawn cells; NaN where one of them is constant."""
    groups = [np.unique(values, return_inverse=True)[1] for values in (first, second)]

    def correlation(weights: np.ndarray) -> float:
        total = weights.sum()
        ranks = []
        for codes in groups:
            sizes = np.bincount(codes, weights)
            ranks.append(((sizes.cumsum() - sizes) + (sizes - 1) / 2 - (total - 1) / 2)[codes])  # mean rank, centred
        x, y = ranks
        spread = np.sqrt((weights @ (x * x)) * (weights @ (y * y)))
        return float(weights @ (x * y) / spread) if spread > 0 else float("nan")

    return Statistic(correlation, len(first))

"""Moran's I: whether cells that are close in the embedding express the variable genes alike."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.statistic import Statistic


def morans_i(graph: sparse.csr_matrix, values: np.ndarray) -> Statistic:
    """(Mean Moran's I over genes + 1) / 2, the form of scib 1.2.

    graph (n, n): weights of the edges. values (n, g): expression; genes that do not vary are left out. Resamples keep
    the graph and the genes' means: only which cells are summed over changes.
    """
    centred = values - values.mean(axis=0, dtype=np.float64)
    squares = np.square(centred)
    varies = squares.mean(axis=0) > 1e-12
    if not varies.any():
        raise NotApplicable("none of the variable genes varies among these cells")
    centred, squares = centred[:, varies], squares[:, varies]
    together = centred * np.asarray(graph.astype(np.float64) @ centred)
    degrees = np.asarray(graph.sum(axis=1), dtype=np.float64).ravel()

    def mean(weights: np.ndarray) -> float:
        spread, edges = weights @ squares, float(weights @ degrees)
        drawn = spread > 0
        if not drawn.any() or edges <= 0:
            return float("nan")
        return float(((weights @ together)[drawn] / spread[drawn]).mean() * weights.sum() / edges + 1) / 2

    return Statistic(mean, len(values))

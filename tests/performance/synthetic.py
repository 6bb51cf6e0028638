"""Counts like real ones: few genes hold most of them, cells differ in depth."""

from __future__ import annotations

import numpy as np
from scipy import sparse


class Tissue:
    """Cells of which a share `density` of all gene counts is not zero, as unique molecules drawn from one profile."""

    def __init__(self, n_genes: int, density: float, seed: int = 0) -> None:
        self.n_genes, self.seed = n_genes, seed
        rng = np.random.default_rng([seed, 0])
        share = np.sort(rng.lognormal(sigma=2.5, size=n_genes))[::-1]
        rng.shuffle(share)
        self._share = share / share.sum()
        # Gene of each of a million equally likely molecules: drawing becomes a look-up.
        self._molecules = np.repeat(np.arange(n_genes), _apportioned(self._share, 1 << 20))
        self._depth = self._depth_for(density)

    def _depth_for(self, density: float) -> float:
        """Mean molecules per cell, by bisection on the expected share of genes that are seen."""
        low, high = 1.0, 1e7
        while high / low > 1.001:
            middle = (low * high) ** 0.5
            seen = -np.expm1(-self._share * middle).mean()
            low, high = (middle, high) if seen < density else (low, middle)
        return low

    def block(self, number: int, n_cells: int) -> sparse.csr_matrix:
        """Counts of some cells, float32 with sorted int32 indices: a function of (seed, number, n_cells)."""
        rng = np.random.default_rng([self.seed, 1, number])
        depth = rng.lognormal(np.log(self._depth), 0.4, n_cells).astype(np.int64) + 1
        genes = self._molecules[rng.integers(0, len(self._molecules), depth.sum())]
        keys = np.repeat(np.arange(n_cells) * self.n_genes, depth) + genes
        keys, counts = np.unique(keys, return_counts=True)
        cells, genes = np.divmod(keys, self.n_genes)
        starts = np.searchsorted(cells, np.arange(n_cells + 1))
        arrays = (counts.astype(np.float32), genes.astype(np.int32), starts)
        return sparse.csr_matrix(arrays, shape=(n_cells, self.n_genes))


def _apportioned(share: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers in proportion to `share`, at least 1, that sum to about `total`."""
    return np.maximum(1, np.rint(share * total)).astype(np.int64)

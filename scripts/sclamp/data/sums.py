"""Sums over the cells of a sparse matrix, compiled: the inner loops of statistics over many cells.

Each adds, for the rows first to last - 1 of a CSR matrix, to table (groups, genes, 2 or 3): the sum of its values, the
sum of their squares. groups (cells,): group of each row, -1 to leave it out. Rows are added in their order, so that
the sums do not depend on where a stream is cut.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_KEPT = 32  # most counts are small: their logarithms are taken once per cell


@numba.njit(nogil=True, cache=True)
def add_counts(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, first: int, last: int,
    groups: np.ndarray, table: np.ndarray, largest: np.ndarray,
) -> None:  # fmt: skip
    """Sums of the counts; their number as a third column; largest (genes,): the largest if above 255."""
    for row in range(first, last):
        if groups[row] >= 0:
            target = table[groups[row]]
            for k in range(indptr[row], indptr[row + 1]):
                gene, count = indices[k], float(data[k])
                target[gene, 0] += count
                target[gene, 1] += count * count
                target[gene, 2] += 1.0
                if count > 255.0:
                    largest[gene] = max(largest[gene], count)


@numba.njit(nogil=True, cache=True)
def add_clipped(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, first: int, last: int,
    groups: np.ndarray, limits: np.ndarray, table: np.ndarray,
) -> None:  # fmt: skip
    """Sums of counts no larger than limits (groups, genes)."""
    for row in range(first, last):
        if groups[row] >= 0:
            target, most = table[groups[row]], limits[groups[row]]
            for k in range(indptr[row], indptr[row + 1]):
                gene = indices[k]
                value = min(float(data[k]), most[gene])
                target[gene, 0] += value
                target[gene, 1] += value * value


@numba.njit(nogil=True, cache=True)
def add_normalised(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, first: int, last: int,
    groups: np.ndarray, factors: np.ndarray, log1p: bool, table: np.ndarray,
) -> None:  # fmt: skip
    """Sums of count x factor of the cell (cells,), or of log(1 + that); counts are whole numbers."""
    kept = np.empty(_KEPT)
    for row in range(first, last):
        if groups[row] >= 0:
            target, factor, n_kept = table[groups[row]], factors[row], 0
            for k in range(indptr[row], indptr[row + 1]):
                gene, count = indices[k], int(data[k])
                if count < _KEPT:
                    while n_kept <= count:
                        kept[n_kept] = math.log1p(n_kept * factor) if log1p else n_kept * factor
                        n_kept += 1
                    value = kept[count]
                else:
                    value = math.log1p(count * factor) if log1p else count * factor
                target[gene, 0] += value
                target[gene, 1] += value * value

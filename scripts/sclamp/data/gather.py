"""Sparse rows to a dense block, compiled: the inner loop of streamed training."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def gather_rows(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, rows: np.ndarray, columns: np.ndarray, out: np.ndarray
) -> None:
    """Fill out (len(rows), genes) with CSR rows, in any order, without holding the interpreter lock.

    indptr, indices, data: the CSR arrays, mapped or in memory. columns: position in `out` of each column of the matrix,
    negative for one that is left out.
    """
    for i in range(rows.shape[0]):
        target = out[i]
        target[:] = 0
        for k in range(indptr[rows[i]], indptr[rows[i] + 1]):
            column = columns[indices[k]]
            if column >= 0:
                target[column] = data[k]

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


@numba.njit(nogil=True, cache=True)
def gather_entries(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    log1p: np.ndarray,
    out: np.ndarray,
    position: np.ndarray,
    count: np.ndarray,
) -> tuple[int, bool]:
    """Fill out (len(rows), genes) with log(1 + count), and list the counts that are not zero.

    Arguments as for `gather_rows`. log1p: table of log(1 + count), as far as it goes. position, count: the flat
    positions in `out` and the counts, long enough. Returns how many there are, and whether they came in order.
    """
    n, in_order = 0, True
    for i in range(rows.shape[0]):
        target, first, last = out[i], i * out.shape[1], -1
        target[:] = 0
        for k in range(indptr[rows[i]], indptr[rows[i] + 1]):
            column, value = columns[indices[k]], data[k]
            if column < 0 or value == 0:
                continue
            whole = int(value)
            known = whole < log1p.shape[0] and whole == value
            target[column] = log1p[whole] if known else np.log1p(np.float32(value))
            position[n], count[n] = first + column, value
            in_order &= column > last
            last = column
            n += 1
    return n, in_order

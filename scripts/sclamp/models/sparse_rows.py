"""Products of sparse rows, compiled."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def add_products(rows: np.ndarray, n_values: int, products: np.ndarray) -> None:
    """Add rows.T @ rows to the upper triangle of products (g, g) float64.

    rows (n, g) float64, of which n_values are not zero. One row of `products` after the other is finished, so that it
    stays in the fastest cache; the sums are taken in the order of the rows.
    """
    n_rows, n_columns = rows.shape
    columns, values = np.empty(n_values, dtype=np.int32), np.empty(n_values, dtype=np.float64)
    ends, starts = np.empty(n_values, dtype=np.int32), np.zeros(n_columns + 1, dtype=np.int64)
    n = 0
    for row in range(n_rows):
        first = n
        for column in range(n_columns):
            if rows[row, column] != 0.0:
                columns[n], values[n] = column, rows[row, column]
                starts[column + 1] += 1
                n += 1
        ends[first:n] = n
    for column in range(n_columns):
        starts[column + 1] += starts[column]
    by_column, filled = np.empty(n_values, dtype=np.int32), starts[:-1].copy()
    for k in range(n_values):
        by_column[filled[columns[k]]] = k
        filled[columns[k]] += 1
    for column in range(n_columns):
        target = products[column]
        for place in range(starts[column], starts[column + 1]):
            k = by_column[place]
            value = values[k]
            for other in range(k, ends[k]):
                target[columns[other]] += value * values[other]

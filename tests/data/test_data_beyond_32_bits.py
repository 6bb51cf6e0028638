"""Counts of which more than 2^31 are not zero."""

from __future__ import annotations

import numpy as np
import pytest

from sclamp.data.entries import LOG1P, Rows, gathered
from sclamp.data.gather import gather_rows

N_GENES, BEFORE = 50, 2**31 + 11
ROWS = (((3, 4), (0, 7)), ((1, 1), (4, 2), (200, 49)))
"""The last rows: (count, gene) each; all counts before belong to the first row."""


@pytest.fixture
def arrays() -> Rows:
    """indptr, indices and data; memory that nobody touches is not taken."""
    ends = BEFORE + np.cumsum([0, *(len(row) for row in ROWS)])
    counts, genes = zip(*(entry for row in ROWS for entry in row), strict=True)
    large = []
    for kind, values in ((np.uint16, genes), (np.uint8, counts)):
        array = np.zeros(int(ends[-1]), dtype=kind)
        array[BEFORE:] = values
        large.append(array)
    return Rows(np.concatenate([[0], ends]).astype(np.int64), *large)


def test_rows_beyond_32_bits_are_read(arrays: Rows):
    expected = np.zeros((len(ROWS), N_GENES), np.uint8)
    for i, row in enumerate(ROWS):
        for count, gene in row:
            expected[i, gene] = count
    rows, columns = np.array([1, 2]), np.arange(N_GENES)
    out = np.empty_like(expected)
    gather_rows(arrays.indptr, arrays.genes, arrays.counts, rows, columns, out)
    assert np.array_equal(out, expected)
    dense, position, count = gathered(*arrays, rows, columns, N_GENES)
    assert np.array_equal(dense.numpy(), LOG1P.numpy()[expected])
    assert np.array_equal(position.numpy(), np.flatnonzero(expected))
    assert np.array_equal(count.numpy(), expected[expected > 0])

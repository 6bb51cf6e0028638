"""Progress of passes over the counts, told in cells although they come in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from scipy import sparse

from sclamp.core.progress import progress

T = TypeVar("T", slice, sparse.csr_matrix, tuple[slice, sparse.csr_matrix])


def by_cells(blocks: Iterable[T], n_cells: int, what: str) -> Iterator[T]:
    """Pass blocks (or rows, or pairs of both) through; what: shown with the number of cells that are done."""
    steps = progress(range(n_cells), n_cells, what, "cells")
    for item in blocks:
        yield item
        rows = item[0] if isinstance(item, tuple) else item
        for _ in range(rows.stop - rows.start if isinstance(rows, slice) else rows.shape[0]):
            next(steps, None)
    next(steps, None)

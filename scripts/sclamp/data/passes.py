"""Progress of passes over the counts, told in cells although they come in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from scipy import sparse

from sclamp.core.progress import Progress

T = TypeVar("T", slice, sparse.csr_matrix, tuple[slice, sparse.csr_matrix])


def by_cells(blocks: Iterable[T], n_cells: int, what: str) -> Iterator[T]:
    """Pass blocks (or rows, or pairs of both) through; what: shown with the number of cells that are done."""
    told = Progress(n_cells, what, "cells")
    try:
        for item in blocks:
            yield item
            rows = item[0] if isinstance(item, tuple) else item
            told.add(rows.stop - rows.start if isinstance(rows, slice) else rows.shape[0])
    finally:
        told.end()

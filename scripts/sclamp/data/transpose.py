"""Counts in any order -> counts by cell, on disk: for matrices stored by gene and for text files.

Two passes over the input: the first counts the values of each cell, the second puts every value in its place. Memory
grows with the number of cells (8 bytes each), not with the number of counts; the temporary folder (TMPDIR) must hold
the matrix once.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse

from sclamp.core.errors import UserError
from sclamp.core.files import take_space
from sclamp.data.h5ad import row_blocks
from sclamp.data.sources import canonical


class Triples(NamedTuple):
    """Some counts: the positions of their cells and genes, and the values; three arrays of one length."""

    cells: np.ndarray
    genes: np.ndarray
    values: np.ndarray


class CellsOnDisk:
    """A temporary CSR matrix on disk, built once."""

    def __init__(
        self, chunks: Callable[[], Iterable[Triples]], shape: tuple[int, int], stack: contextlib.ExitStack
    ) -> None:
        """chunks: starts a pass over all counts. shape: cells, genes. stack: closing it removes the files."""
        self._shape = shape
        sizes, kind = np.zeros(shape[0], dtype=np.int64), np.dtype(np.uint8)
        for chunk in chunks():
            sizes += np.bincount(chunk.cells, minlength=shape[0])
            kind = np.promote_types(kind, chunk.values.dtype)
        self._indptr = np.concatenate([[0], np.cumsum(sizes)])
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sclamp-")))
        n = max(int(self._indptr[-1]), 1)  # an empty file cannot be mapped
        _take_space(folder, {"data": n * kind.itemsize, "indices": n * 4})
        self._data = np.memmap(folder / "data", dtype=kind, mode="r+", shape=(n,))
        self._indices = np.memmap(folder / "indices", dtype=np.int32, mode="r+", shape=(n,))
        self._fill(chunks())

    def _fill(self, chunks: Iterable[Triples]) -> None:
        free = self._indptr[:-1].copy()  # where the next value of each cell goes
        for chunk in chunks:
            order = np.argsort(chunk.cells, kind="stable")
            cells = np.asarray(chunk.cells)[order]
            first = np.searchsorted(cells, cells, side="left")
            places = free[cells] + np.arange(len(cells)) - first
            self._data[places], self._indices[places] = chunk.values[order], chunk.genes[order]
            free += np.bincount(cells, minlength=len(free))

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """All cells in order, see `Source.blocks`."""
        for cells in row_blocks(self._indptr):
            first, last = int(self._indptr[cells.start]), int(self._indptr[cells.stop])
            pointers = self._indptr[cells.start : cells.stop + 1] - first
            arrays = np.array(self._data[first:last]), np.array(self._indices[first:last]), pointers
            yield canonical(sparse.csr_matrix(arrays, shape=(cells.stop - cells.start, self._shape[1])))


def _take_space(folder: Path, sizes: dict[str, int]) -> None:
    """Make files of these sizes in bytes, with their place on the disk: a mapped file that outgrows it is deadly."""
    try:
        for name, size in sizes.items():
            take_space(folder / name, size)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        needed = sum(sizes.values()) / 1e9
        raise UserError(
            f"{folder.parent}: the disk is full; about {needed:.3g} GB are needed for temporary files. Free some "
            "space, or let TMPDIR name a folder on another disk."
        ) from error

"""Counts of an .h5ad file: X, raw or a layer; stored by cell (CSR), by gene (CSC) or dense."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse

from sclamp.core.errors import UserError, nearest
from sclamp.data import h5ad
from sclamp.data.h5ad import read_frame, read_obsm, row_blocks
from sclamp.data.hdf5 import check_indices, check_sparse, opened
from sclamp.data.sources import Source, canonical
from sclamp.data.transpose import CellsOnDisk, Triples


class H5adSource(Source):
    """An AnnData file; `counts` names the matrix: X, raw, or layers/NAME."""

    def __init__(self, path: Path, counts: str, stack: contextlib.ExitStack) -> None:
        """stack: closes the temporary files that a matrix stored by gene needs."""
        self.name, self.path, self._counts, self._stack = str(path), path, counts, stack
        self._by_cell: CellsOnDisk | None = None
        with opened(path) as file:
            key = self._key = "raw/X" if counts == "raw" else counts
            if key not in file:
                raise UserError(_missing(path, counts, _matrices(file)))
            self._encoding = _encoding(file[key])
            shape = file[key].shape if self._encoding == "array" else tuple(file[key].attrs["shape"])
            self.obs = read_frame(file, "obs")
            self.var = read_frame(file, "raw/var" if counts == "raw" else "var")
        if tuple(shape) != self.shape:
            raise UserError(f"{path}: {counts} is {shape[0]} x {shape[1]}, but obs x var is {self.shape}.")

    def files(self) -> list[Path]:
        """The file."""
        return [self.path]

    def obsm(self) -> dict[str, np.ndarray]:
        """Dense arrays of obsm."""
        return read_obsm(self.path)

    def some_values(self) -> np.ndarray:
        """The values of the first block, by cell or by gene, as they are stored."""
        if self._encoding != "csc_matrix":
            return super().some_values()
        return next((part.values for part in self._columns()), np.empty(0))

    def elsewhere(self) -> dict[str, Source]:
        """The file's other matrices."""
        with opened(self.path) as file:
            others = [name for name in _matrices(file) if name != self._counts]
        return {name: H5adSource(self.path, name, self._stack) for name in others}

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """See `Source.blocks`."""
        if self._encoding == "csc_matrix":
            if self._by_cell is None:
                self._by_cell = CellsOnDisk(self._columns, self.shape, self._stack)
            yield from self._by_cell.blocks()
            return
        with opened(self.path) as file:
            stored = file[self._key]
            for block in _dense_blocks(stored) if self._encoding == "array" else _csr_blocks(stored, self.shape):
                yield canonical(block)

    def _columns(self) -> Iterator[Triples]:
        """Counts stored by gene, in file order."""
        with opened(self.path) as file:
            group = file[self._key]
            indptr = check_sparse(group, self.shape[1])
            for genes in row_blocks(indptr):
                part = slice(int(indptr[genes.start]), int(indptr[genes.stop]))
                columns = np.repeat(np.arange(genes.start, genes.stop), np.diff(indptr[genes.start : genes.stop + 1]))
                cells = group["indices"][part]
                check_indices(cells, self.shape[0], f"{self.path}: '{self._key}' is no valid CSC matrix")
                yield Triples(cells, columns, group["data"][part])


def _csr_blocks(group: h5py.Group, shape: tuple[int, int]) -> Iterator[sparse.csr_matrix]:
    n_cells, n_genes = shape
    indptr = check_sparse(group, n_cells)
    for cells in row_blocks(indptr):
        first, last = int(indptr[cells.start]), int(indptr[cells.stop])
        data, indices = group["data"][first:last], group["indices"][first:last]
        check_indices(indices, n_genes, f"{group.file.filename}: '{group.name}' is no valid CSR matrix")
        pointers = indptr[cells.start : cells.stop + 1] - first
        yield sparse.csr_matrix((data, indices, pointers), shape=(cells.stop - cells.start, n_genes))


def _dense_blocks(dataset: h5py.Dataset) -> Iterator[sparse.csr_matrix]:
    n_cells, n_genes = dataset.shape
    chunk = dataset.chunks[0] if dataset.chunks else 1
    step = max(1, h5ad.BLOCK_NONZEROS // max(n_genes, 1))
    step = max(chunk, step - step % chunk)  # whole chunks: none is decompressed twice
    for start in range(0, n_cells, step):
        yield sparse.csr_matrix(dataset[start : start + step])


def _matrices(file: h5py.File) -> list[str]:
    """Names of everything in the file that may be read as counts."""
    names = ["X"] if "X" in file else []
    names += ["raw"] if "raw" in file and "X" in file["raw"] else []
    return names + [f"layers/{name}" for name in file.get("layers", {})]


def _encoding(stored: h5py.Group | h5py.Dataset) -> str:
    if isinstance(stored, h5py.Dataset):
        return "array"
    encoding = str(stored.attrs.get("encoding-type", "unknown"))
    if encoding not in {"csr_matrix", "csc_matrix"}:
        raise UserError(f"{stored.file.filename}: '{stored.name}' is stored as {encoding}; expected CSR, CSC or dense.")
    return encoding


def _missing(path: Path, counts: str, names: list[str]) -> str:
    close = nearest(counts, names)
    hint = f"; did you mean '{close}'?" if close else "."
    return f"counts: '{counts}' is not in {path}{hint} It has: {', '.join(names) or 'no matrix'}."

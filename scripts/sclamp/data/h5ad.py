"""AnnData files with uncompressed, contiguous counts: written as a stream, read back piece by piece.

The files open in anndata and scanpy like any other .h5ad. Because the three arrays of X lie in one piece each, they can
also be memory-mapped straight from the file: `CountMap` reads any cell at the cost of a page fault, in every process,
without loading the matrix.

    with counts_writer(path, obs, var, nonzeros, data_type, obsm, uns) as writer:   # aside, renamed at the end
        writer.append(block)                                                       # CSR blocks in cell order
    obs, var, spec, covariates = read_cells(path)
    counts = CountMap(path)                                                        # .data .indices .indptr
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import SPARE, take_space, written_aside
from sclamp.data import seal
from sclamp.data.hdf5 import check_indices, check_sparse, opened

BLOCK_NONZEROS = 4_000_000
"""Non-zero counts handled at a time by everything that streams: 48 MB as float64 and int32."""

# Arrays start at multiples of 64 bytes, so that mapped arrays of any type are aligned.
_ALIGNED: dict[str, int] = {"alignment_threshold": 64, "alignment_interval": 64}


class Cells(NamedTuple):
    """What an .h5ad of ours says about its cells, without the counts.

    obs (n rows: batch, label, split, library_size, ...), var (g rows), spec (dict with batches, labels, covariates,
    recipe), covariates (n, c) float32, c = 0 where there are none.
    """

    obs: pd.DataFrame
    var: pd.DataFrame
    spec: dict[str, Any]
    covariates: np.ndarray


def read_frame(file: h5py.File, name: str) -> pd.DataFrame:
    """Read obs or var of an open AnnData file; the index becomes a plain index of strings."""
    from anndata.io import read_elem

    if name not in file:
        raise UserError(f"{file.filename}: not an AnnData file: " + unknown("group", name, file))
    if not isinstance(file[name], h5py.Group):
        raise UserError(f"{file.filename}: '{name}' has the layout of anndata < 0.7; write the file anew with anndata.")
    frame: pd.DataFrame = read_elem(file[name])
    frame.index = pd.Index(frame.index.astype(str).to_numpy(dtype=object), dtype=object)
    return frame


def read_uns(path: str | Path) -> dict[str, Any]:
    """What this package stored in uns["sclamp"]: {"spec": {...}, "provenance": {...}}."""
    with opened(path) as file:
        if "uns" not in file or "sclamp" not in file["uns"]:
            raise UserError(f"{path}: uns['sclamp'] is missing; expected a file written by prepare_cells.py.")
        uns = json.loads(file["uns/sclamp"].asstr()[()])
        if not isinstance(uns, dict) or not isinstance(uns.get("spec"), dict):
            raise UserError(f"{path}: uns['sclamp'] lacks what prepare_cells.py writes there; make the file anew.")
        return uns


def read_cells(path: str | Path) -> Cells:
    """Read obs, var, spec and covariates of a file written by `counts_writer`."""
    spec = read_uns(path)["spec"]
    with opened(path) as file:
        obs, var = read_frame(file, "obs"), read_frame(file, "var")
        has_covariates = "covariates" in file["obsm"]
        covariates = file["obsm/covariates"][:] if has_covariates else np.empty((len(obs), 0), np.float32)
        if covariates.ndim != 2 or len(covariates) != len(obs) or covariates.dtype.kind != "f":
            raise UserError(f"{path}: obsm['covariates'] does not go with {len(obs)} cells; make the file anew.")
    return Cells(obs, var, spec, covariates)


def read_obsm(path: str | Path) -> dict[str, np.ndarray]:
    """All dense numeric arrays of obsm, by name."""
    with opened(path) as file:
        return {name: item[:] for name, item in file.get("obsm", {}).items() if isinstance(item, h5py.Dataset)}


class CountMap:
    """The counts of an .h5ad with CSR X, memory-mapped.

    data (nnz,), indices (nnz,), indptr (n_cells + 1,): numpy memmaps, copy-on-write, so nothing reaches the file.
    mapped: False where the file is compressed, chunked or unaligned and the arrays had to be read into memory.
    """

    def __init__(self, path: str | Path) -> None:
        """path: an .h5ad written by `counts_writer` (others work too, read into memory where need be)."""
        self.path = Path(path)
        with opened(path) as file:
            group = file.get("X")
            if not isinstance(group, h5py.Group) or group.attrs.get("encoding-type") != "csr_matrix":
                raise UserError(f"{path}: X is no CSR matrix; expected a file written by prepare_cells.py.")
            self.shape: tuple[int, int] = (int(group.attrs["shape"][0]), int(group.attrs["shape"][1]))
            check_sparse(group, self.shape[0])
            arrays = {name: _mapped(self.path, group[name]) for name in ("data", "indices", "indptr")}
            _check_arrays(self.path, arrays, self.n_genes)
        self.data, self.indices, self.indptr = arrays["data"], arrays["indices"], arrays["indptr"]
        self.mapped = all(isinstance(a, np.memmap) or a.size == 0 for a in arrays.values())

    @property
    def n_cells(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @property
    def n_genes(self) -> int:
        """Number of columns."""
        return self.shape[1]

    def rows(self, cells: slice) -> sparse.csr_matrix:
        """Contiguous cells as a CSR matrix; the counts stay mapped, the indices become int32."""
        start, stop, step = cells.indices(self.n_cells)
        if step != 1:
            raise ValueError("rows are read in steps of 1")
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        pointers = np.asarray(self.indptr[start : stop + 1], dtype=np.int64) - first
        data, indices = np.asarray(self.data[first:last]), self.indices[first:last].astype(np.int32)
        return sparse.csr_matrix((data, indices, pointers), shape=(stop - start, self.n_genes))

    def blocks(self) -> Iterator[tuple[slice, sparse.csr_matrix]]:
        """All cells in order, in blocks of at most `BLOCK_NONZEROS` counts: (rows, CSR matrix)."""
        for cells in row_blocks(self.indptr):
            yield cells, self.rows(cells)


def _check_arrays(path: Path, arrays: Mapping[str, np.ndarray], n_genes: int) -> None:
    """Compare the arrays with their checksums, if the file has them, and look at all column numbers.

    Compiled loops follow these numbers into memory: a wrong one must not get there.
    """
    known = seal.sealed_parts(path)
    for name, array in arrays.items():
        crc, step = 0, seal.PIECE // array.dtype.itemsize
        for start in range(0, len(array), step):
            piece = np.ascontiguousarray(array[start : start + step])
            if name in known:
                crc = zlib.crc32(piece.view(np.uint8).data, crc)
            if name == "indices":
                check_indices(piece, n_genes, f"{path}: X is no valid CSR matrix")
        if name in known and crc != known[name].crc:
            raise seal.damaged(path, f"'X/{name}' does not fit its checksum")


def row_blocks(indptr: np.ndarray) -> Iterator[slice]:
    """Cut rows into slices of at most `BLOCK_NONZEROS` stored values (a longer row stands alone)."""
    start, n_rows = 0, len(indptr) - 1
    while start < n_rows:
        stop = int(np.searchsorted(indptr, int(indptr[start]) + BLOCK_NONZEROS, side="right")) - 1
        stop = min(max(stop, start + 1), n_rows)
        yield slice(start, stop)
        start = stop


def _mapped(path: Path, dataset: h5py.Dataset) -> np.ndarray:
    """Map a contiguous dataset; anything else is read."""
    offset = dataset.id.get_offset()  # None for chunked, compressed and empty datasets
    if offset is None or offset % dataset.dtype.itemsize:
        return dataset[:]
    return np.memmap(path, dtype=dataset.dtype, mode="c", offset=offset, shape=dataset.shape)


class CountWriter:
    """Appends CSR blocks to the X of a file laid out by `counts_writer`.

    The counts go into the reserved places by plain writes: where the disk fills up on the way, HDF5 would take the
    interpreter down with it.
    """

    def __init__(self, path: Path, arrays: Mapping[str, _Array]) -> None:
        """path: the file. arrays: where data, indices and indptr lie in it."""
        self._file = open(path, "r+b")  # noqa: SIM115 - closed by counts_writer
        self._arrays = arrays
        self._indptr = np.zeros(arrays["indptr"].size, dtype=np.int64)
        self._sums = dict.fromkeys(arrays, 0)
        self._row = 0

    def append(self, block: sparse.csr_matrix) -> None:
        """Write the next cells; every count must fit the file's data type, every stored count is kept."""
        self.append_arrays(block.data, block.indices, block.indptr)

    def append_arrays(self, data: np.ndarray, indices: np.ndarray, indptr: np.ndarray) -> None:
        """Write the next cells from the three arrays of a CSR matrix."""
        first, stop = int(self._indptr[self._row]), self._row + len(indptr) - 1
        self._indptr[self._row + 1 : stop + 1] = first + indptr[1:].astype(np.int64)
        self._write("data", first, data)
        self._write("indices", first, indices)
        self._row = stop

    def _write(self, name: str, first: int, values: np.ndarray) -> None:
        place = self._arrays[name]
        if first + len(values) > place.size:
            raise RuntimeError(f"{first + len(values)} counts came, {place.size} were announced")
        raw = np.ascontiguousarray(values, dtype=place.type).view(np.uint8).data
        self._sums[name] = zlib.crc32(raw, self._sums[name])
        self._file.seek(place.offset + first * place.type.itemsize)
        self._file.write(raw)

    def finish(self) -> None:
        """Write the row pointers, after a check that all announced cells and counts have come."""
        announced = self._arrays["data"].size
        if self._row != len(self._indptr) - 1 or self._indptr[-1] != announced:
            raise RuntimeError(f"{self._row} cells with {self._indptr[-1]} counts came, {announced} were announced")
        self._write("indptr", 0, self._indptr)

    def parts(self) -> dict[str, seal.Part]:
        """Where the arrays are, with the checksums of what was written."""
        places = self._arrays.items()
        return {name: seal.Part(at.offset, at.size * at.type.itemsize, self._sums[name]) for name, at in places}

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextlib.contextmanager
def counts_writer(
    path: str | Path,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    nonzeros: int,
    data_type: Any,
    index_type: Any,
    obsm: Mapping[str, np.ndarray],
    uns: Mapping[str, Any],
) -> Iterator[CountWriter]:
    """Write an .h5ad aside and rename it when the block succeeds; equal inputs give equal bytes.

    nonzeros: stored counts in all, known in advance because arrays in one piece cannot grow. data_type, index_type:
    numpy types of X. obsm: arrays of n rows. uns: JSON-serialisable, stored as text under uns["sclamp"].
    """
    shapes = {"data": (nonzeros, data_type), "indices": (nonzeros, index_type), "indptr": (len(obs) + 1, np.int64)}
    with written_aside(path) as aside:
        frames = sum(int(frame.memory_usage(deep=True).sum()) for frame in (obs, var))
        arrays = sum(size * np.dtype(kind).itemsize for size, kind in shapes.values())
        needed = arrays + frames + sum(values.nbytes for values in obsm.values())
        _need_space(Path(path), needed)
        h5py.File(aside, "w", **_ALIGNED).close()
        take_space(aside, needed + SPARE)
        with h5py.File(aside, "r+", **_ALIGNED) as file:
            _lay_out(file, obs, var, shapes, obsm, uns)
            places = {name: _Array.of(file["X"][name]) for name in shapes}
        with contextlib.closing(CountWriter(aside, places)) as writer:
            yield writer
            writer.finish()
        seal.seal(aside, writer.parts())


class _Array(NamedTuple):
    """Where an array lies in a file."""

    offset: int
    size: int
    type: np.dtype

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> _Array:
        return cls(dataset.id.get_offset() or 0, dataset.shape[0], dataset.dtype)


def _need_space(path: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < n_bytes:
        sizes = f"about {n_bytes / 1e9:.3g} GB are needed, the disk has {free / 1e9:.3g} GB left"
        raise UserError(f"{path}: {sizes}: the disk is full. Free some space and run again.")


def _lay_out(file: h5py.File, obs: Any, var: Any, shapes: Mapping[str, Any], obsm: Any, uns: Any) -> None:
    """Write all but the counts, and reserve the counts' places."""
    from anndata.io import write_elem

    file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = np.array([len(obs), len(var)])
    reserve = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    reserve.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    reserve.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    for name, (size, kind) in shapes.items():
        group.create_dataset(name, shape=(size,), dtype=kind, dcpl=reserve.copy())
    for name, value in {"obs": obs, "var": var, "obsm": dict(obsm), "uns": {"sclamp": json.dumps(uns)}}.items():
        write_elem(file, name, value)
    for name in ("layers", "obsp", "varm", "varp"):
        write_elem(file, name, {})

"""HDF5 files as others send them: opened so that damage is told, nothing outside is read and no size is believed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from sclamp.core.errors import UserError
from sclamp.data.seal import sealed_parts

LARGE = 1 << 28
"""Bytes (256 MB) of a dataset from which on it is asked whether the file holds what it announces."""
LARGEST_CHUNK = 1 << 30
"""Bytes of a chunk, which HDF5 unpacks as a whole."""
_UNREAD = ("uns/", "obsp/", "varp/", "varm/")  # whatever else a file holds there is of no concern


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Errors (`UserError`, naming the file): missing, foreign, truncated or damaged; parts that lie in other files; sizes
    that the file cannot hold; whatever else goes wrong while the block reads from it.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file." if not Path(path).exists() else f"{path}: a folder, not a file.")
    sealed_parts(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        cut = "it is truncated: was its copy or download interrupted?"
        why = cut if "truncated" in str(error) else f"it is another kind of file ({error})."
        raise UserError(f"{path}: cannot be opened as HDF5; {why}") from error
    except Exception as error:  # damage in the first bytes; h5py has no error of its own for it
        raise UserError(f"{path}: cannot be opened as HDF5; it is damaged ({_words(error)}).") from error
    with file:
        try:
            _look_around(file)
            yield file
        except UserError:
            raise
        except MemoryError as error:
            raise UserError(
                f"{path}: takes more memory than there is ({_words(error)}): a damaged size, or a file for a larger "
                "machine."
            ) from error
        except Exception as error:  # a damaged file can fail in any way
            if isinstance(error, OSError):
                if error.errno is not None:  # a full disk or the like: not about this file
                    raise
                raise UserError(f"{path}: damaged, part of it cannot be read ({error}).") from error
            raise UserError(f"{path}: damaged, or not laid out as expected: {_words(error)}.") from error


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _look_around(file: h5py.File) -> None:
    """Refuse what lies in other files and sizes that cannot be; nothing is read for it."""

    def link(name: bytes, info: h5py.h5l.LinkInfo) -> None:
        if info.type == h5py.h5l.TYPE_EXTERNAL:
            raise UserError(_elsewhere(file, name.decode(errors="replace")))

    def item(name: str, found: h5py.Group | h5py.Dataset) -> None:
        if isinstance(found, h5py.Dataset) and not name.startswith(_UNREAD):
            _look_at(found)

    file.id.links.visit(link, info=True)
    file.visititems(item)


def _elsewhere(file: h5py.File, name: str) -> str:
    return f"{file.filename}: '{name}' points into another file; write it anew with the data in it."


def _look_at(dataset: h5py.Dataset) -> None:
    layout = dataset.id.get_create_plist()
    if dataset.is_virtual or layout.get_external_count():
        raise UserError(_elsewhere(dataset.file, dataset.name))
    chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0
    if chunk > LARGEST_CHUNK:
        found = f"'{dataset.name}' has chunks of {chunk / 1e9:.3g} GB"
        raise UserError(f"{dataset.file.filename}: {found}; write it anew in smaller ones.")
    n_bytes = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    if n_bytes < LARGE:
        return
    held = dataset.id.get_num_chunks() * chunk if dataset.chunks else dataset.id.get_storage_size()
    if held < n_bytes:
        raise UserError(
            f"{dataset.file.filename}: '{dataset.name}' is announced with {n_bytes / 1e9:.3g} GB, of which the file "
            f"holds {held / 1e9:.3g} GB; damaged, or never finished."
        )


def check_sparse(group: h5py.Group, n_rows: int) -> np.ndarray:
    """Row pointers (int64) of a CSR or CSC group, after a look at the sizes of its three arrays and at the pointers.

    n_rows: rows that it must have, columns for CSC. Errors (`UserError`): arrays of other sizes or kinds; pointers
    that do not rise from 0 to the number of stored values.
    """
    data, indices, indptr = (group[name] for name in ("data", "indices", "indptr"))
    where = f"{group.file.filename}: '{group.name}' is no valid sparse matrix"
    if indptr.shape != (n_rows + 1,) or data.shape != indices.shape or data.ndim != 1:
        shapes = ", ".join(f"{a.name.rpartition('/')[2]} {a.shape}" for a in (data, indices, indptr))
        raise UserError(f"{where}: {shapes} do not go with {n_rows} rows (or columns); write the file anew.")
    if data.dtype.kind not in "fiub" or indices.dtype.kind not in "iu" or indptr.dtype.kind not in "iu":
        raise UserError(f"{where}: its arrays are {data.dtype}, {indices.dtype}, {indptr.dtype}; numbers are expected.")
    pointers = indptr[:].astype(np.int64)
    check_pointers(pointers, len(data), where)
    return pointers


def check_pointers(pointers: np.ndarray, n_stored: int, where: str) -> None:
    """Row pointers must rise from 0 to the number of stored values. where: the start of the message."""
    falling = np.flatnonzero(np.diff(pointers) < 0)
    if len(falling):
        raise UserError(f"{where}: its pointers fall after row {falling[0] + 1}; damaged, write the file anew.")
    if pointers[0] != 0 or pointers[-1] != n_stored:
        raise UserError(
            f"{where}: its pointers go from {pointers[0]} to {pointers[-1]}, there are {n_stored} stored values; "
            "damaged, write the file anew."
        )


def check_indices(indices: np.ndarray, n_columns: int, where: str) -> None:
    """Column numbers must lie in 0..n_columns - 1. where: the start of the message."""
    if len(indices) and (indices.max() >= n_columns or (indices.dtype.kind == "i" and indices.min() < 0)):
        wrong = indices[(indices >= n_columns) | (indices < 0)][0]
        raise UserError(f"{where}: it has a value in column {wrong} of {n_columns}; damaged, write the file anew.")

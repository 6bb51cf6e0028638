"""Counts as Cell Ranger writes them: .h5 files and MTX folders, versions 2 and 3."""

from __future__ import annotations

import contextlib
import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from sclamp.core.errors import UserError
from sclamp.data.h5ad import row_blocks
from sclamp.data.hdf5 import check_indices, check_sparse, opened
from sclamp.data.sources import Source, canonical
from sclamp.data.transpose import CellsOnDisk, Triples

_EXPRESSION = "Gene Expression"
_LINES = 2_000_000  # lines of a text matrix read at a time


def _annotation(ids: np.ndarray, symbols: np.ndarray, types: np.ndarray | None) -> tuple[pd.DataFrame, np.ndarray]:
    """Annotation of the genes, and where each feature goes (-1: antibodies and the like, which are left out)."""
    kept = np.ones(len(ids), dtype=bool) if types is None else np.asarray(types) == _EXPRESSION
    places = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
    index = pd.Index(np.asarray(ids, dtype=object)[kept], dtype=object)
    return pd.DataFrame({"symbol": np.asarray(symbols, dtype=object)[kept]}, index=index), places


def _frame(barcodes: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(index=pd.Index(np.asarray(barcodes, dtype=object), dtype=object))


class TenxFile(Source):
    """A 10x .h5 file. var: index = gene ids, column `symbol`; only features of type Gene Expression."""

    def __init__(self, path: Path) -> None:
        """path: the file."""
        self.name, self.path = str(path), path
        with opened(path) as file:
            group = self._group(file)
            self.obs = _frame(group["barcodes"].asstr()[:])
            if "features" in group:
                features = group["features"]
                columns = [features[name].asstr()[:] for name in ("id", "name", "feature_type")]
            else:
                columns = [group["genes"].asstr()[:], group["gene_names"].asstr()[:], None]
            self.var, self._places = _annotation(*columns)

    def files(self) -> list[Path]:
        """The file."""
        return [self.path]

    def _group(self, file: h5py.File) -> h5py.Group:
        groups = [g for g in file.values() if isinstance(g, h5py.Group) and {"barcodes", "indptr"} <= set(g)]
        if len(groups) != 1:
            held = ", ".join(file) or "nothing"
            raise UserError(f"{self.path}: one 10x matrix is expected, found {len(groups)}; the file holds {held}.")
        return groups[0]

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """See `Source.blocks`."""
        kept = self._places >= 0
        with opened(self.path) as file:
            group = self._group(file)
            indptr = check_sparse(group, len(self.obs))
            for cells in row_blocks(indptr):
                part = slice(int(indptr[cells.start]), int(indptr[cells.stop]))
                arrays = group["data"][part], group["indices"][part], indptr[cells.start : cells.stop + 1] - part.start
                check_indices(arrays[1], len(kept), f"{self.path}: '{group.name}' is no valid 10x matrix")
                block = sparse.csr_matrix(arrays, shape=(cells.stop - cells.start, len(kept)))
                yield canonical(block if kept.all() else block[:, kept].tocsr())


class TenxFolder(Source):
    """A folder with matrix.mtx, barcodes.tsv and features.tsv (v3) or genes.tsv (v2), gzipped or not."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        """stack: closes the temporary files that hold the matrix by cell."""
        self.name, self.path, self._stack = str(path), path, stack
        self._by_cell: CellsOnDisk | None = None
        names = {"matrix": ("matrix.mtx",), "barcodes": ("barcodes.tsv",), "features": ("features.tsv", "genes.tsv")}
        found = {part: _existing(path, options) for part, options in names.items()}
        if missing := [" or ".join(names[part]) for part, file in found.items() if file is None]:
            raise UserError(*(f"{path}: {name} (or gzipped) is missing; a 10x MTX folder has it." for name in missing))
        self._files = [file for file in found.values() if file is not None]
        self._matrix = self._files[0]
        self.obs = _frame(_table(self._files[1])[0].to_numpy())
        features = _table(self._files[2])
        types = features[2].to_numpy() if features.shape[1] > 2 else None
        symbols = features[1] if features.shape[1] > 1 else features[0]
        self.var, self._places = _annotation(features[0].to_numpy(), symbols.to_numpy(), types)
        self._skip = self._header(len(features))

    def files(self) -> list[Path]:
        """Matrix, barcodes and features."""
        return self._files

    def _header(self, n_features: int) -> int:
        """Lines before the counts; the sizes must be those of the barcodes and features."""
        with _told(self._matrix), _text(self._matrix) as lines:
            skipped = 0
            for line in lines:
                skipped += 1
                if not line.startswith("%"):
                    break
            else:
                raise UserError(f"{self._matrix}: no counts; the file is empty or truncated.")
        sizes = line.split()
        if len(sizes) != 3 or not all(size.isdigit() for size in sizes):
            raise UserError(f"{self._matrix}: three sizes are expected in line {skipped}, found '{line.strip()[:60]}'.")
        if sizes[:2] != [str(n_features), str(len(self.obs))]:
            raise UserError(
                f"{self._matrix}: the matrix is {' x '.join(sizes[:2])}, "
                f"but there are {n_features} features in {self._files[2].name} and {len(self.obs)} barcodes in "
                f"{self._files[1].name}."
            )
        self._announced = int(sizes[2])
        return skipped

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """See `Source.blocks`."""
        if self._by_cell is None:
            self._by_cell = CellsOnDisk(self._chunks, self.shape, self._stack)
        yield from self._by_cell.blocks()

    def _chunks(self) -> Iterator[Triples]:
        came = 0
        try:
            with _text(self._matrix) as lines:
                names = ["gene", "cell", "count"]
                table = pd.read_csv(lines, sep=r"\s+", header=None, skiprows=self._skip, names=names, chunksize=_LINES)
                for chunk in table:
                    came += len(chunk)
                    yield self._triples(*(chunk[name].to_numpy() for name in names))
        except (EOFError, ValueError, OSError, OverflowError, zlib.error) as error:
            raise UserError(f"{self._matrix}: cannot be read after {came} counts ({error}).") from error
        if came != self._announced:
            raise UserError(f"{self._matrix}: {self._announced} counts are announced, {came} came; is it truncated?")

    def _triples(self, genes: np.ndarray, cells: np.ndarray, values: np.ndarray) -> Triples:
        """Positions count from 1 in the file, from 0 here."""
        if not len(genes):
            return Triples(*(np.empty(0, dtype=np.int32) for _ in range(3)))
        if not all(array.dtype.kind in "iuf" for array in (genes, cells, values)):
            raise ValueError("lines of three numbers are expected")
        if genes.dtype.kind == "f" or cells.dtype.kind == "f":
            raise ValueError("a line has too few numbers, or a position that is no whole number")
        for what, places, most in (("gene", genes, len(self._places)), ("cell", cells, len(self.obs))):
            if places.min() < 1 or places.max() > most:
                raise ValueError(f"a {what} number is outside 1..{most}")
        own = self._places[genes - 1]
        kept = own >= 0
        return Triples(cells[kept] - 1, own[kept], values[kept])


def _existing(folder: Path, names: tuple[str, ...]) -> Path | None:
    options = [folder / f"{name}{end}" for name in names for end in ("", ".gz")]
    return next((option for option in options if option.is_file()), None)


def _text(path: Path) -> IO[str]:
    return gzip.open(path, "rt") if path.suffix == ".gz" else open(path)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever a damaged or foreign text file can raise becomes a `UserError` that names it."""
    try:
        yield
    except (EOFError, ValueError, OSError, zlib.error) as error:
        raise UserError(f"{path}: damaged, truncated or no text ({' '.join(str(error).split())[:200]}).") from error


def _table(path: Path) -> pd.DataFrame:
    with _told(path):
        quoting = csv.QUOTE_NONE  # a quote in a name is part of it
        return pd.read_csv(path, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=quoting)

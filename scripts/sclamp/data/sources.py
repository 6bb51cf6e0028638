"""Where counts come from: one interface over .h5ad, 10x .h5, 10x MTX folders and lists of these.

with open_source(dataset) as source:
    source.obs, source.var, source.obsm()
    for block in source.blocks(): ...        # CSR, cells in order, the matrix is never held as a whole
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from sclamp.config.datasets import Dataset
from sclamp.core.download import download, is_address
from sclamp.core.errors import UserError
from sclamp.core.files import sha256
from sclamp.data.panels import Panels

_FOREIGN = {
    ".gz": " It is compressed: unpack it first (gunzip).",
    **dict.fromkeys((".rds", ".rda", ".rdata", ".h5seurat"), " Write it as .h5ad from R (sceasy, zellkonverter)."),
    **dict.fromkeys((".loom", ".csv", ".tsv", ".txt", ".zarr"), " Read it with scanpy and write it as .h5ad."),
}

FORMATS = "an .h5ad file, a 10x .h5 file, a 10x MTX folder"


class Source(ABC):
    """One matrix of counts with its annotation.

    name: for messages. obs, var: annotation as stored, indexed by unique or not so unique strings.
    """

    name: str
    obs: pd.DataFrame
    var: pd.DataFrame
    n_rounded: int = 0  # values made whole in the last pass over the counts

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return len(self.obs), len(self.var)

    @abstractmethod
    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """All cells in order, in CSR blocks of limited size: indices sorted, no stored zeros, the file's own type."""

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that the counts and annotation come from."""

    def obsm(self) -> dict[str, np.ndarray]:
        """Further arrays of one row per cell."""
        return {}

    def panels(self) -> Panels | None:
        """Which genes each cell was measured for; None where that is all genes."""
        return None

    def some_values(self) -> np.ndarray:
        """Some of the stored values, at little cost; empty when there are none."""
        return next((block.data for block in self.blocks()), np.empty(0))

    def elsewhere(self) -> dict[str, Source]:
        """Other places of the same file that may hold counts, by their name in the configuration."""
        return {}


def canonical(block: sparse.csr_matrix) -> sparse.csr_matrix:
    """Sort indices, add up duplicates and drop stored zeros, in place."""
    block.sum_duplicates()
    block.eliminate_zeros()
    return block


@contextlib.contextmanager
def open_source(dataset: Dataset) -> Iterator[Source]:
    """Open a dataset's file or files; temporary files live as long as the context.

    Errors (`UserError`): missing, truncated or foreign files, a missing key, a wrong digest, no shared genes.
    """
    with contextlib.ExitStack() as stack:
        paths = [_local(path, dataset.sha256) for path in dataset.paths]
        sources = [_open(path, dataset.counts, stack) for path in paths]
        if dataset.fractions == "round":
            from sclamp.data.rounded import Rounded

            sources = [Rounded(source) for source in sources]
        if len(sources) == 1:
            yield sources[0]
        else:
            from sclamp.data.joined import Joined

            yield Joined(sources, paths, dataset.gene_ids, dataset.join, dataset.absent_genes)


def _local(path: str, digest: str | None) -> Path:
    """The local file behind a path or address, verified where a digest is given."""
    if is_address(path):
        return download(path, digest or "")
    local = Path(path).expanduser()
    if not local.exists():
        raise UserError(f"path: '{path}' does not exist (looked in {Path.cwd()}).")
    if digest and local.is_file() and (found := sha256(local)) != digest:
        raise UserError(f"path: '{path}' has the sha256 {found}, the configuration says {digest}.")
    return local


def _open(path: Path, counts: str, stack: contextlib.ExitStack) -> Source:
    """Choose the reader by the file's kind; imports only that one."""
    if path.suffix == ".h5ad":
        from sclamp.data.source_h5ad import H5adSource

        return H5adSource(path, counts, stack)
    if counts != "X":
        raise UserError(f"counts: '{counts}' applies to .h5ad files, and '{path}' is none; leave it at X.")
    if path.is_dir():
        from sclamp.data.source_tenx import TenxFolder

        return TenxFolder(path, stack)
    if path.suffix in {".h5", ".hdf5"}:
        from sclamp.data.source_tenx import TenxFile

        return TenxFile(path)
    hint = _FOREIGN.get(path.suffix.lower(), "")
    raise UserError(f"path: '{path}' has an unknown format; expected {FORMATS}.{hint}")

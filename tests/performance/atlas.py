"""A synthetic cells.h5ad of several kinds of cells and batches: what statistics and PCA find in real ones."""

from __future__ import annotations

from pathlib import Path

import measure  # noqa: F401 - puts the package on the path
import numpy as np
import pandas as pd
from scipy import sparse
from synthetic import Tissue, _apportioned

N_GENES, DENSITY, BLOCK_CELLS, KINDS, BATCHES = 20_000, 0.05, 1000, 20, 4


class Atlas:
    """Kinds of cells that share a profile, in which a tenth of the genes differ."""

    def __init__(self) -> None:
        tissue, rng = Tissue(N_GENES, DENSITY), np.random.default_rng(1)
        self._depth = tissue._depth
        own = np.where(rng.random((KINDS, N_GENES)) < 0.1, rng.lognormal(0, 1.5, (KINDS, N_GENES)), 1.0)
        tables = [
            np.repeat(np.arange(N_GENES, dtype=np.int32), _apportioned(share / share.sum(), 1 << 20))
            for share in tissue._share * own
        ]
        self._molecules = np.stack([t[np.linspace(0, len(t) - 1, 1 << 20).astype(int)] for t in tables])

    def block(self, number: int, n_cells: int) -> sparse.csr_matrix:
        """Counts of some cells, float32 with sorted int32 indices: a function of (number, n_cells)."""
        rng = np.random.default_rng([1, number])
        depth = rng.lognormal(np.log(self._depth), 0.4, n_cells).astype(np.int64) + 1
        kinds = np.repeat(rng.integers(0, KINDS, n_cells), depth)
        genes = self._molecules[kinds, rng.integers(0, 1 << 20, len(kinds))]
        keys, counts = np.unique(np.repeat(np.arange(n_cells) * N_GENES, depth) + genes, return_counts=True)
        cells, genes = np.divmod(keys, N_GENES)
        starts = np.searchsorted(cells, np.arange(n_cells + 1))
        return sparse.csr_matrix((counts.astype(np.float32), genes.astype(np.int32), starts), (n_cells, N_GENES))


def write_cells(path: Path, n_cells: int) -> None:
    """Draw the cells twice: once for how many counts there are, once to write them."""
    from sclamp.data.h5ad import counts_writer

    atlas, library, stored = Atlas(), [], 0
    sizes = [min(BLOCK_CELLS, n_cells - first) for first in range(0, n_cells, BLOCK_CELLS)]
    for number, size in enumerate(sizes):
        block = atlas.block(number, size)
        library.append(np.asarray(block.sum(1)).ravel())
        stored += block.nnz
    split = pd.Categorical(["train"] * (n_cells - 2) + ["val", "test"], categories=["train", "val", "test"])
    batch = np.random.default_rng(2).integers(0, BATCHES, n_cells).astype(str)
    columns = {"batch": pd.Categorical(batch), "split": split, "library_size": np.concatenate(library)}
    obs = pd.DataFrame(columns, index=[f"cell{i}" for i in range(n_cells)])
    ids = [f"gene{i}" for i in range(N_GENES)]
    recipe = {"target_sum": 1e4, "log1p": True, "clip": 10.0}
    spec = {"batches": [], "labels": [], "covariates": {"categorical": {}, "continuous": {}}, "recipe": recipe}
    var, uns = pd.DataFrame({"symbol": ids}, index=ids), {"spec": spec, "provenance": {}}
    with counts_writer(path, obs, var, stored, np.float32, np.int32, {}, uns) as writer:
        for number, size in enumerate(sizes):
            writer.append(atlas.block(number, size))
    print(f"made {n_cells} cells with {stored / n_cells:.0f} genes each", flush=True)

"""Embedded cells drawn from a seed, for the speed claims about scores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

WIDTH, N_LABELS, N_BATCHES = 30, 10, 5
IN_FEW_BATCHES = 2
"""Labels that occur in two of the batches: the isolated ones."""

ONE_THREAD = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
"""Environment of a process that computes on one thread, JAX's products included."""


class Embedded(NamedTuple):
    """embedding, before (n, 30) float32: with batches nearly mixed, and not corrected. labels, batches (n,): codes."""

    embedding: np.ndarray
    before: np.ndarray
    labels: np.ndarray
    batches: np.ndarray


def draw(n_cells: int, seed: int = 0) -> Embedded:
    """Ten labels of unequal size that overlap a little, in five batches."""
    rng = np.random.default_rng(seed)
    sizes = np.arange(2, N_LABELS + 2)
    labels = rng.choice(N_LABELS, size=n_cells, p=sizes / sizes.sum())
    batches = rng.integers(N_BATCHES, size=n_cells)
    batches = np.where(labels < IN_FEW_BATCHES, batches % 2, batches)
    centres, shifts = rng.normal(size=(N_LABELS, WIDTH)), 0.8 * rng.normal(size=(N_BATCHES, WIDTH))
    biology = rng.normal(size=(n_cells, WIDTH)) * np.linspace(1.5, 0.5, WIDTH) + centres[labels]
    embedding, before = biology + 0.15 * shifts[batches], biology + shifts[batches]
    return Embedded(embedding.astype(np.float32), before.astype(np.float32), labels, batches)


def write_inputs(folder: Path, cells: Embedded) -> list[str]:
    """Write what the scripts read; their arguments --cells, --embedding and --reference."""
    import anndata
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    ids = [f"cell{i}" for i in range(len(cells.labels))]
    obs = pd.DataFrame({"batch": cells.batches.astype(str), "label": cells.labels.astype(str)}, index=ids)
    arguments = ["--cells", str(folder / "cells.h5ad")]
    anndata.AnnData(obs=obs.astype("category")).write_h5ad(arguments[-1])
    for name, values in {"embedding": cells.embedding, "reference": cells.before}.items():
        arguments += [f"--{name}", str(folder / f"{name}.parquet")]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]).cast(
            pa.list_(pa.float32())
        )
        parquet.write_table(pa.table({"cell_id": ids, "embedding": vectors}), arguments[-1])
    return arguments

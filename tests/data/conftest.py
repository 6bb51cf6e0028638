"""Small raw files as users have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

CELL_TYPES = ("acinar", "beta", "ductal")


def simulated(n_cells: int = 90, n_genes: int = 70, seed: int = 0) -> anndata.AnnData:
    """Counts with structure, a mitochondrial gene, a gene of zeros, and annotation; X is CSR float32."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, n_cells)
    rates = rng.gamma(0.4, 2.0, (3, n_genes))[kinds] * rng.lognormal(0, 0.3, (n_cells, 1))
    counts = rng.poisson(rates).astype(np.float32)
    counts[:, 3] = 0
    counts[:, 0] += 1  # no empty cell
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.array(CELL_TYPES)[kinds]),
            "donor": pd.Categorical(rng.choice(["d1", "d2", "d3"], n_cells)),
            "age": rng.normal(40, 10, n_cells),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    names = ["MT-CO1", *(f"GENE{i}" for i in range(1, n_genes))]
    var = pd.DataFrame({"ensembl": [f"ENSG{i:011d}.2" for i in range(n_genes)]}, index=names)
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=var)


@pytest.fixture
def raw() -> anndata.AnnData:
    """A small data set in memory."""
    return simulated()


@pytest.fixture
def raw_file(tmp_path: Path, raw: anndata.AnnData) -> Callable[..., Path]:
    """Factory: writes `raw`, after an optional change, as .h5ad and returns the path."""

    def write(change: Callable[[anndata.AnnData], Any] | None = None, name: str = "raw.h5ad") -> Path:
        data = raw.copy()
        if change is not None:
            data = change(data) or data
        data.write_h5ad(tmp_path / name)
        return tmp_path / name

    return write


def messages(error: pytest.ExceptionInfo[Any]) -> str:
    """All problems of a UserError as one text."""
    return "\n".join(error.value.problems)

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

from sclamp.config.datasets import Dataset
from sclamp.data.check import Report, check_dataset
from sclamp.data.settings import UsedWith
from sclamp.data.sources import Source

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


@pytest.fixture
def check() -> Callable[..., Report]:
    """Check a file with settings of the dataset, gene selections and gene priors, all as plain mappings."""

    def run(path: Path, selections: dict | None = None, priors: dict | None = None, **settings: Any) -> Report:
        dataset = Dataset.model_validate({"path": str(path), "quality": {"min_cells": 0}, **settings})
        used = UsedWith.model_validate({"gene_selections": selections or {}, "gene_priors": priors or {}})
        return check_dataset(dataset, used.gene_selections, used.gene_priors)

    return run


@pytest.fixture
def said() -> Callable[[Report, str], list[str]]:
    """The messages of a report at one level."""
    return lambda report, level: [finding.message for finding in report.findings if finding.level == level]


@pytest.fixture
def dense_of() -> Callable[[Source], np.ndarray]:
    """All blocks of a source as one dense matrix, after a check of what `Source.blocks` promises."""

    def read(source: Source) -> np.ndarray:
        blocks = list(source.blocks())
        for block in blocks:
            assert block.format == "csr" and block.has_canonical_format and (block.data != 0).all()
        assert len(blocks) > 5, "the test is about several blocks"
        return sparse.vstack(blocks).toarray()

    return read

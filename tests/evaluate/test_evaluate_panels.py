"""Statistics of expression where cells were not all measured for the same genes; oracles: numpy on dense arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

from sclamp.data.h5ad import CountMap, counts_writer, read_cells
from sclamp.evaluate.coexpression import correlations
from sclamp.evaluate.gene_markers import differences
from sclamp.priors.expression import expression_vectors

LACKS = [f"G{i:04d}" for i in range(45, 60)]


@pytest.fixture
def case(tiny_counts: Callable[..., Path], tmp_path: Path) -> tuple[Path, Any, np.ndarray, np.ndarray]:
    """A packed file whose second batch lacks 15 genes; its cells, log-normalised expression and mask of what counts."""
    path, output = tiny_counts(), tmp_path / "panels.h5ad"
    cells, counts = read_cells(path), CountMap(path)
    second = (cells.obs["batch"] == "two").to_numpy()
    obs, spec = cells.obs.assign(panel=np.where(second, "b", "a")), cells.spec | {"panels": {"a": [], "b": LACKS}}
    matrix = counts.rows(slice(0, counts.n_cells))
    measured = np.ones(matrix.shape, dtype=bool)
    measured[np.ix_(second, range(45, 60))] = False
    kept = matrix.multiply(measured).tocsr()
    kept.eliminate_zeros()
    with counts_writer(output, obs, cells.var, kept.nnz, np.uint16, np.uint16, {}, {"spec": spec}) as writer:
        writer.append(kept)
    library = obs["library_size"].to_numpy(np.float64)
    return output, read_cells(output), np.log1p(kept.toarray() / library[:, None] * 1e4), measured


def test_markers_compare_the_cells_that_were_measured(case: Any):
    path, cells, x, measured = case
    codes = anndata.read_h5ad(path).obs["label"].astype("category").cat.codes.to_numpy().astype(np.int64)
    found, seen = differences(path, cells, codes), np.ma.array(x, mask=~measured)
    for row, code in enumerate(found.types):
        inside, outside = seen[codes == code], seen[codes != code]
        np.testing.assert_allclose(found.difference[row], inside.mean(0) - outside.mean(0), atol=1e-6)
        np.testing.assert_allclose(found.share[row], (inside > 0).mean(0), atol=1e-6)


def test_coexpression_is_of_genes_that_all_cells_were_measured_for(case: Any):
    path, cells, x, _ = case
    first = (cells.obs["batch"] == "one").to_numpy()
    _, varies = correlations(path, cells, np.ones(len(x), dtype=bool), np.arange(60))
    assert varies[:45].all() and not varies[45:].any()
    found, varies = correlations(path, cells, first, np.arange(60))
    assert varies.all()
    np.testing.assert_allclose(found, np.corrcoef(x[first].T), atol=1e-6)


def test_vectors_from_expression_read_the_mean_where_nothing_was_measured(case: Any):
    path, cells, x, measured = case
    train = (cells.obs["split"] == "train").to_numpy()
    z = (x - cells.var["lognorm_mean"].to_numpy()) / cells.var["lognorm_std"].to_numpy()
    z = np.where(measured, np.clip(z, -10, 10), 0)[train]
    _, vectors = expression_vectors(path, 60)
    np.testing.assert_allclose(vectors @ vectors.T, z.T @ z / train.sum(), atol=1e-4)

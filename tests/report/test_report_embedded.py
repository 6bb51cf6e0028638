"""embedded.h5ad opens in scanpy and holds every embedding, cell by cell and gene by gene."""

import json
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from sclamp.core.errors import UserError
from sclamp.core.files import read_embedding, write_embedding, write_table
from sclamp.report.embedded import assemble, parse_runs
from sclamp.report.plan import Plan


def test_every_embedding_lands_on_its_cells_and_genes(results: Plan, tmp_path: Path) -> None:
    cells = results.folder("pancreas") / "cells.h5ad"
    one = results.run("pancreas", "direct", 1).folder
    ids, vectors = read_embedding(one / "cell_embedding.parquet", "cell_id")
    order = np.random.default_rng(0).permutation(len(ids))
    write_embedding(one / "cell_embedding.parquet", "cell_id", ids[order], vectors[order], {"seed": 1})
    genes, of_genes = read_embedding(one / "gene_embedding.parquet", "gene_id")
    write_embedding(one / "gene_embedding.parquet", "gene_id", genes[::-2], of_genes[::-2], {})
    write_table(one / "umap.parquet", {"cell_id": ["cell3"], "umap_1": [1.0], "umap_2": [2.0]})
    texts = [f"direct={one}/", *(f"pca={run.folder}" for run in results.runs("pca"))]
    assemble(cells, parse_runs(texts), tmp_path / "out.h5ad")

    data = ad.read_h5ad(tmp_path / "out.h5ad")
    before = ad.read_h5ad(cells)
    np.testing.assert_array_equal(data.X.toarray(), before.X.toarray())
    assert data.obs.equals(before.obs)
    keys = {
        "X_direct",
        "X_umap_direct",
        "X_pca_seed1",
        "X_umap_pca_seed1",
        "X_pca_seed2",
        "X_umap_pca_seed2",
        "covariates",
    }
    assert set(data.obsm) == keys
    np.testing.assert_array_equal(data.obsm["X_direct"], vectors)
    at = data.obsm["X_umap_direct"]
    assert at[3].tolist() == [1, 2] and np.isnan(np.delete(at, 3, axis=0)).all()
    assert set(data.varm) == {"direct"}
    np.testing.assert_array_equal(data.varm["direct"][1::2], of_genes[1::2])
    assert np.isnan(data.varm["direct"][::2]).all()
    stored = json.loads(data.uns["sclamp"])
    assert stored["spec"]["batches"] == ["one", "two"]
    assert stored["embeddings"]["direct"] == {"model": "direct", "seed": 1, "provenance": {"seed": 1}}


def test_equal_runs_give_equal_bytes(results: Plan, tmp_path: Path) -> None:
    runs = parse_runs([f"direct={results.run('pancreas', 'direct', 1).folder}"])
    for name in ("a", "b"):
        assemble(results.folder("pancreas") / "cells.h5ad", runs, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_foreign_cells_and_genes_are_errors_and_nothing_is_written(results: Plan, tmp_path: Path) -> None:
    folder = results.run("pancreas", "direct", 1).folder
    write_embedding(folder / "cell_embedding.parquet", "cell_id", ["cell0", "stranger"], np.ones((2, 2)), {})
    write_embedding(folder / "gene_embedding.parquet", "gene_id", ["G0000", "XYZ"], np.ones((2, 2)), {})
    with pytest.raises(UserError) as caught:
        assemble(results.folder("pancreas") / "cells.h5ad", parse_runs([f"direct={folder}"]), tmp_path / "out.h5ad")
    lost, extra, genes = caught.value.problems
    assert "119 cells" in lost and "have no embedding; the first is 'cell1'" in lost
    assert "1 cells are not in" in extra and "'stranger'" in extra
    assert "1 genes are not in" in genes and "'XYZ'" in genes
    assert not (tmp_path / "out.h5ad").exists()


def test_bad_run_arguments_are_all_named(tmp_path: Path, results: Plan) -> None:
    folder = results.run("pancreas", "pca", 1).folder
    with pytest.raises(UserError) as caught:
        parse_runs(["pca", "pca=nowhere", f"a={folder}", f"a={folder}"])
    first, second, third = caught.value.problems
    assert "'pca' is not of the form NAME=FOLDER" in first
    assert "the folder 'nowhere' does not exist" in second
    assert "two runs would both be named 'a_seed1'" in third


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")  # scanpy's, with new matplotlib
def test_scanpy_draws_it(results: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    scanpy = pytest.importorskip("scanpy")
    runs = parse_runs([f"direct={results.run('pancreas', 'direct', 1).folder}"])
    assemble(results.folder("pancreas") / "cells.h5ad", runs, tmp_path / "out.h5ad")
    data = scanpy.read_h5ad(tmp_path / "out.h5ad")
    axes = scanpy.pl.embedding(data, "X_umap_direct", color="label", show=False)
    assert axes.get_title() == "label"


def test_a_missing_embedding_is_named(tiny_counts: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "seed_1").mkdir()
    with pytest.raises(UserError, match=r"cell_embedding\.parquet: no such file"):
        assemble(tiny_counts(), parse_runs([f"pca={tmp_path / 'seed_1'}"]), tmp_path / "out.h5ad")

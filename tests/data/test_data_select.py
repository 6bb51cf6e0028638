"""Gene tables and packed counts; oracles: numpy on the dense matrix, anndata."""

import json
import warnings
from pathlib import Path

import anndata
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from sclamp.config.datasets import Dataset
from sclamp.config.gene_selections import GeneSelection
from sclamp.core.errors import UserError
from sclamp.data import h5ad
from sclamp.data.h5ad import CountMap, read_cells, read_uns
from sclamp.data.prepare import prepare_cells
from sclamp.data.select import Selection, select_genes, summary, write_selection
from sclamp.data.sources import open_source


@pytest.fixture
def cells_file(raw_file) -> Path:
    path = raw_file(lambda data: data.obsm.update({"spatial": np.ones((90, 2))}))
    dataset = Dataset(path=str(path), label="cell_type", batch="donor", quality={"min_cells": 1})
    with open_source(dataset) as source:
        prepare_cells(source, dataset, path.with_name("cells.h5ad"), {"script": "prepare"})
    return path.with_name("cells.h5ad")


def select(path: Path, **settings) -> Selection:
    return select_genes(CountMap(path), read_cells(path), GeneSelection.model_validate(settings))


def write(path: Path, **settings) -> tuple[Path, Path]:
    counts, cells = CountMap(path), read_cells(path)
    selection = select_genes(counts, cells, GeneSelection.model_validate(settings))
    table, packed = path.with_name("hvg.parquet"), path.with_name("hvg.h5ad")
    write_selection(selection, counts, cells, table, packed, {"script": "select"})
    return table, packed


@pytest.mark.parametrize("target_sum", [1e4, 500.0])
@pytest.mark.parametrize("log1p", [True, False])
def test_statistics_of_training_cells(cells_file, monkeypatch, target_sum, log1p):
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 300)
    cells, counts = read_cells(cells_file), CountMap(cells_file)
    cells.spec["recipe"].update(target_sum=target_sum, log1p=log1p)
    table = select_genes(counts, cells, GeneSelection(flavor="all")).table
    dense = anndata.read_h5ad(cells_file).X.toarray().astype(np.float64)
    train = (cells.obs["split"] == "train").to_numpy()
    normal = dense[train] / dense[train].sum(1, keepdims=True) * target_sum
    normal = np.log1p(normal) if log1p else normal
    np.testing.assert_allclose(table["lognorm_mean"], normal.mean(0), rtol=1e-10)
    np.testing.assert_allclose(table["lognorm_std"], normal.std(0), rtol=1e-9)
    np.testing.assert_allclose(table["umi_share"], dense.sum(0) / dense.sum(), rtol=1e-12)
    np.testing.assert_array_equal(table["n_cells"], (dense > 0).sum(0))
    np.testing.assert_allclose(table["variances"], dense[train].var(0, ddof=1), rtol=1e-10)
    assert list(table["gene_id"]) == list(cells.var.index) and table["selected"].all()


def test_library_size_counts_genes_that_were_left_out(cells_file):
    cells = read_cells(cells_file)
    cells.obs["library_size"] *= 4
    half = select_genes(CountMap(cells_file), cells, GeneSelection(flavor="all")).table["lognorm_mean"]
    assert (half < select(cells_file, flavor="all").table["lognorm_mean"]).all()


def test_genes_constant_in_training_have_std_one(cells_file):
    cells, counts = read_cells(cells_file), CountMap(cells_file)
    train = np.repeat((cells.obs["split"] == "train").to_numpy(), np.diff(counts.indptr))
    counts.data[(counts.indices == 4) & train] = 0  # in memory only: the map is copy-on-write
    std = select_genes(counts, cells, GeneSelection(flavor="all")).table["lognorm_std"]
    assert std[4] == 1 and (std.drop(4) != 1).all()


def test_packed_counts_open_everywhere(cells_file):
    table, packed = write(cells_file, flavor="seurat", n_genes=55, batch_aware=False)
    genes = pq.read_table(table).to_pandas()
    chosen = genes[genes["selected"]]
    full, small = anndata.read_h5ad(cells_file), anndata.read_h5ad(packed)
    assert small.X.dtype == np.uint8 and small.X.indices.dtype == np.uint16
    assert list(small.var_names) == list(chosen["gene_id"]) and list(small.var.columns) == [
        "symbol",
        "lognorm_mean",
        "lognorm_std",
    ]
    np.testing.assert_array_equal(small.X.toarray(), full[:, small.var_names].X.toarray())
    np.testing.assert_array_equal(small.var["lognorm_std"], chosen["lognorm_std"])
    assert small.obs.equals(full.obs) and set(small.obsm) == {"covariates", "spatial"}
    np.testing.assert_array_equal(small.obsm["covariates"], full.obsm["covariates"])
    uns = read_uns(packed)
    assert uns["spec"] == read_uns(cells_file)["spec"] and uns["provenance"] == {"script": "select"}
    assert CountMap(packed).mapped
    assert json.loads(pq.read_schema(table).metadata[b"sclamp"]) == {"script": "select"}


def test_scanpy_works_on_packed_counts(cells_file):
    _, packed = write(cells_file, flavor="all")
    data = anndata.read_h5ad(packed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanpy's own
        import scanpy

        scanpy.pp.normalize_total(data, target_sum=1e4)
        scanpy.pp.log1p(data)
    train = (data.obs["split"] == "train").to_numpy()
    np.testing.assert_allclose(data.X[train].toarray().mean(0), data.var["lognorm_mean"], rtol=1e-5)


def test_columns_and_order_of_the_table(cells_file):
    shared = ["gene_id", "symbol", "selected", "rank", "means", "variances"]
    rest = ["n_batches", "lognorm_mean", "lognorm_std", "umi_share", "n_cells"]
    for flavor, score in {
        "all": "variances_norm",
        "seurat_v3": "variances_norm",
        "cell_ranger": "dispersions_norm",
    }.items():
        settings = {"span": 1.0, "batch_aware": False} if flavor == "seurat_v3" else {}
        assert list(select(cells_file, flavor=flavor, n_genes=60, **settings).table) == [*shared, score, *rest]


@pytest.mark.parametrize(("largest", "kind"), [(255, "uint8"), (256, "uint16"), (65535, "uint16"), (65536, "uint32")])
def test_the_smallest_type_that_holds_the_counts(tmp_path, raw, raw_file, largest, kind):
    def change(data):
        counts = data.X.tolil()
        counts[5, 7] = largest
        counts[6, 9] = 10**6  # of a gene that is not selected
        data.X = sparse.csr_matrix(counts)

    path = raw_file(change)
    dataset = Dataset(path=str(path), quality={"min_cells": 0})
    with open_source(dataset) as source:
        prepare_cells(source, dataset, tmp_path / "cells.h5ad", {})
    genes = [name for name in raw.var_names if name != raw.var_names[9]]
    _, packed = write(tmp_path / "cells.h5ad", flavor="list", genes=genes)
    small = anndata.read_h5ad(packed)
    assert small.X.dtype == kind and small[:, raw.var_names[7]].X[5, 0] == largest


def test_blocks_do_not_change_a_byte(cells_file, monkeypatch):
    monkeypatch.setattr("sclamp.data.moments.COMPILED_ABOVE", 0)

    def files() -> list[bytes]:
        return [path.read_bytes() for path in write(cells_file, flavor="all")]

    whole = files()
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 300)
    assert files() == whole


def test_a_list_finds_ids_symbols_and_versions(tmp_path, raw, raw_file):
    dataset = Dataset(path=str(raw_file()), gene_ids="ensembl", gene_symbols="name", quality={"min_cells": 0})
    path = raw_file(lambda data: data.var.insert(0, "name", data.var_names.astype(object)))
    with open_source(dataset) as source:
        prepare_cells(source, dataset, path.with_name("cells.h5ad"), {})
    ids, listed = list(raw.var["ensembl"]), tmp_path / "genes.txt"
    wanted = [ids[0], ids[1].removesuffix(".2"), *raw.var_names[2:60], "GENE7", "GENE710"]
    listed.write_text("# my genes\n\n" + "\n".join(wanted) + "\n")
    found = select(path.with_name("cells.h5ad"), flavor="list", file=str(listed))
    assert found.selected.tolist() == [True] * 60 + [False] * 10
    assert len(found.notes) == 1 and found.notes[0].startswith("gene list: not in the data (1 of 61): 'GENE710'")
    assert summary(found, GeneSelection(flavor="list", file="x")).startswith("selected 60 of 70 genes by 'list' with ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flavor": "list", "genes": ["GENE1", "GEEN2"]}, r"1 of \d+ genes are selected, at least 50 are needed"),
        ({"flavor": "seurat", "n_genes": 20}, r"2\d of \d+ genes are selected, at least 50 are needed"),
        ({"flavor": "list", "file": "nowhere.txt"}, r"file: the gene list 'nowhere\.txt' does not exist"),
    ],
)
def test_too_few_genes(cells_file, settings, message):
    with pytest.raises(UserError, match=message) as error:
        select(cells_file, batch_aware=False, **settings)
    if "GEEN2" in settings.get("genes", ()):
        assert "not in the data (1 of 2): 'GEEN2' (nearest: GENE2)" in str(error.value)

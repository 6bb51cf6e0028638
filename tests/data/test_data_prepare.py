"""cells.h5ad: what stays, what it is called, what is encoded; oracles: numpy on the dense matrix."""

import json
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclamp.config.datasets import Dataset
from sclamp.core.errors import UserError
from sclamp.data import h5ad
from sclamp.data.h5ad import CountMap, read_cells
from sclamp.data.prepare import prepare_cells
from sclamp.data.sources import open_source


def prepare(path: Path, **settings) -> Path:
    dataset = Dataset.model_validate({"path": str(path), **settings})
    output = path.with_name("cells.h5ad")
    with open_source(dataset) as source:
        prepare_cells(source, dataset, output, {"script": "test"})
    return output


def test_thresholds_equal_a_dense_computation(raw, raw_file, monkeypatch, capsys):
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 200)
    quality = {"min_counts": 30, "min_genes": 15, "max_genes": 28, "max_mito_share": 0.05, "min_cells": 5}
    data = anndata.read_h5ad(prepare(raw_file(), quality=quality))
    counts = raw.X.toarray().astype(np.float64)
    library, seen, mito = counts.sum(1), (counts > 0).sum(1), counts[:, 0] / counts.sum(1)
    keep = (library >= 30) & (seen >= 15) & (seen <= 28) & (mito <= 0.05)
    genes = (counts[keep] > 0).sum(0) >= 5
    assert 20 < keep.sum() < 80 and 50 <= genes.sum() < 70
    assert list(data.obs_names) == list(raw.obs_names[keep]) and list(data.var_names) == list(raw.var_names[genes])
    np.testing.assert_array_equal(data.X.toarray(), counts[keep][:, genes])
    np.testing.assert_allclose(data.obs["library_size"], library[keep])
    np.testing.assert_array_equal(data.obs["n_genes"], seen[keep])
    np.testing.assert_allclose(data.obs["mito_share"], mito[keep], rtol=1e-6)
    np.testing.assert_array_equal(data.var["n_cells"], (counts[keep] > 0).sum(0)[genes])
    np.testing.assert_array_equal(data.var["total_counts"], counts[keep].sum(0)[genes])
    assert f"kept {keep.sum()} of 90 cells and {genes.sum()} of 70 genes (left out by" in capsys.readouterr().err


def test_canonical_columns_and_spec(raw, raw_file):
    path = prepare(raw_file(), label="cell_type", batch="donor", covariates={"continuous": ["age"]})
    obs, var, spec, covariates = read_cells(path)
    assert list(obs.columns[:6]) == ["batch", "label", "split", "library_size", "n_genes", "mito_share"]
    assert list(obs["batch"]) == list(raw.obs["donor"]) and list(obs["label"]) == list(raw.obs["cell_type"])
    assert set(obs["split"].cat.categories) == {"train", "val", "test"}
    assert list(obs.columns[6:]) == ["cell_type", "donor", "age"] and list(var.columns) == [
        "symbol",
        "n_cells",
        "total_counts",
        "ensembl",
    ]
    train = (obs["split"] == "train").to_numpy()
    assert spec["batches"] == ["d1", "d2", "d3"] and spec["labels"] == ["acinar", "beta", "ductal"]
    assert spec["recipe"] == {"target_sum": 1e4, "log1p": True, "clip": 10.0}
    assert spec["covariates"]["categorical"] == {"donor": ["d1", "d2", "d3"]}
    np.testing.assert_allclose(
        spec["covariates"]["continuous"]["age"], [obs["age"][train].mean(), obs["age"][train].std(ddof=0)]
    )
    assert covariates.shape == (90, 4) and covariates.dtype == np.float32
    np.testing.assert_array_equal(covariates[:, :3].argmax(1), raw.obs["donor"].cat.codes)
    assert CountMap(path).mapped


def test_no_batch_no_label_no_covariates(raw_file):
    obs, _, spec, covariates = read_cells(prepare(raw_file()))
    assert set(obs["batch"]) == {"all"} and "label" not in obs and covariates.shape == (90, 0)
    assert spec["batches"] == ["all"] and spec["labels"] == []


def test_batches_of_the_spec_are_those_of_the_training_cells(raw_file):
    settings = {"batch": "donor", "split": {"strategy": "hold_out", "hold_out": ["d2"]}}
    _, _, spec, covariates = read_cells(prepare(raw_file(), **settings))
    assert spec["batches"] == ["d1", "d3"] == spec["covariates"]["categorical"]["donor"] and covariates.shape == (90, 2)


def test_own_columns_that_collide_are_kept_under_another_name(raw, raw_file):
    def change(data):
        data.obs["batch"] = data.obs["donor"]
        data.obs["label"] = "mine"
        data.obs["n_genes"] = (data.X > 0).sum(1)
        data.obs["library_size"] = 1.0
        data.var["symbol"] = "s"
        data.var["n_cells"] = 7

    obs, var, *_ = read_cells(prepare(raw_file(change), batch="batch"))
    assert "label" not in obs and set(obs["label_original"]) == {"mine"} and set(obs["library_size_original"]) == {1.0}
    assert "batch_original" not in obs and "n_genes_original" not in obs
    assert set(var["symbol"]) == {"s"} and "symbol_original" not in var and set(var["n_cells_original"]) == {7}


def test_missing_labels_stay_missing(raw_file):
    def change(data):
        data.obs["cell_type"] = data.obs["cell_type"].astype(object)
        data.obs.iloc[:10, 0] = np.nan

    obs, _, spec, _ = read_cells(prepare(raw_file(change), label="cell_type"))
    assert obs["label"].isna().sum() == 10 and "nan" not in spec["labels"]


def test_a_named_pseudotime_becomes_the_column_of_that_name(raw, raw_file):
    times = np.linspace(0, 1, raw.n_obs)
    times[3] = np.nan

    def change(data):
        data.obs["dpt"], data.obs["pseudotime"] = times, "of another method"

    kept = anndata.read_h5ad(prepare(raw_file(change), pseudotime="dpt")).obs
    expected = pd.Series(times, raw.obs_names)[kept.index]
    np.testing.assert_allclose(kept["pseudotime"], expected, rtol=1e-6)
    assert set(kept["pseudotime_original"]) == {"of another method"}


def test_other_arrays_are_kept(raw_file):
    def change(data):
        data.obsm["spatial"] = np.arange(180.0).reshape(90, 2)
        data.obsm["covariates"] = np.zeros((90, 1))

    data = anndata.read_h5ad(prepare(raw_file(change), batch="donor", quality={"max_genes": 28}))
    rows = [int(name.removeprefix("cell")) for name in data.obs_names]
    np.testing.assert_array_equal(data.obsm["spatial"][:, 0], np.array(rows) * 2)
    assert data.obsm["covariates"].shape[1] == 3 and data.obsm["covariates_original"].shape[1] == 1


def test_ids_and_symbols_from_columns(raw, raw_file):
    settings = {"gene_ids": "ensembl", "gene_symbols": "name", "quality": {"min_cells": 0}}

    def change(data):
        data.var["name"] = data.var_names.astype(object)
        data.var.iloc[5, 1] = np.nan

    _, var, *_ = read_cells(prepare(raw_file(change), **settings))
    assert list(var.index) == list(raw.var["ensembl"])
    assert var["symbol"].iloc[5] == raw.var["ensembl"].iloc[5] and var["symbol"].iloc[0] == "MT-CO1"


def test_mixed_and_odd_columns_can_be_written(raw_file):
    def change(data):
        data.obs["flag"] = np.arange(90) % 2 == 0
        data.obs["whole"] = pd.array([None, *range(89)], "Int64")

    path = prepare(raw_file(change))
    data = anndata.read_h5ad(path)
    assert data.obs["flag"].sum() == 45 and data.obs["whole"].isna().sum() == 1


def test_files_joined_with_different_columns(raw_file, tmp_path):
    first = raw_file(None, "one.h5ad")
    second = raw_file(lambda data: data.obs.drop(columns="age", inplace=True), "two.h5ad")
    dataset = Dataset(path=(str(first), str(second)), batch="file", label="cell_type")
    with open_source(dataset) as source:
        prepare_cells(source, dataset, tmp_path / "cells.h5ad", {})
    obs, *_ = read_cells(tmp_path / "cells.h5ad")
    assert obs["age"].isna().sum() == 90 and set(obs["batch"]) == {"one", "two"} and obs.index.is_unique


def test_same_settings_same_bytes(raw_file):
    path = raw_file()
    first = prepare(path, batch="donor", label="cell_type").read_bytes()
    assert prepare(path, batch="donor", label="cell_type").read_bytes() == first
    assert prepare(path, batch="donor", label="cell_type", split={"seed": 1}).read_bytes() != first


def test_layouts_of_one_matrix_give_one_result(raw_file):
    files = [
        raw_file(lambda data, kind=kind: setattr(data, "X", kind(data.X)), f"{i}.h5ad")
        for i, kind in enumerate(
            [sparse.csr_matrix, sparse.csc_matrix, lambda x: x.toarray(), lambda x: x.astype(np.int32)]
        )
    ]
    assert len({prepare(path, label="cell_type").read_bytes() for path in files}) == 1


def lognormalised(data):
    data.X = np.log1p(data.X)


def duplicated(data):
    data.obs_names = ["c", "c", *data.obs_names[2:]]


@pytest.mark.parametrize(
    ("change", "settings", "parts"),
    [
        (lognormalised, {}, ["counts: X does not hold counts", "fractional"]),
        (None, {"batch": "doner", "label": "celltype"}, ["did you mean 'donor'", "did you mean 'cell_type'"]),
        (duplicated, {}, ["1 ids occur more than once ('c'); make them unique"]),
        (None, {"quality": {"min_counts": 10**6}}, ["quality: no cell is left of 90; left out by min_counts 90"]),
        (None, {"quality": {"min_cells": 85}}, ["genes are left of 70, at least 50 are needed; left out by min_cells"]),
    ],
)  # fmt: skip
def test_what_cannot_be_prepared_is_said_at_once_and_leaves_nothing(raw_file, change, settings, parts):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # anndata's own, about repeated names
        path = raw_file(change)
    with pytest.raises(UserError) as error:
        prepare(path, **settings)
    for part in parts:
        assert part in "\n".join(error.value.problems)
    assert not path.with_name("cells.h5ad").exists()


def test_provenance_is_stored(raw_file):
    uns = anndata.read_h5ad(prepare(raw_file())).uns["sclamp"]
    assert json.loads(uns)["provenance"] == {"script": "test"}

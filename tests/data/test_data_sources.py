"""Every format gives the same counts by cell, in small blocks; oracles: the matrix in memory, anndata."""

import warnings
from itertools import pairwise
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
from scipy import sparse

from sclamp.config.datasets import Dataset
from sclamp.core.errors import UserError
from sclamp.data import h5ad
from sclamp.data.sources import open_source


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 100)


def dataset(path: Path | list[Path], **settings) -> Dataset:
    paths = [str(p) for p in path] if isinstance(path, list) else str(path)
    return Dataset.model_validate({"path": paths, **settings})


def as_csc(data):
    data.X = sparse.csc_matrix(data.X)


def as_dense(data):
    data.X = data.X.toarray()


def as_integers(data):
    data.X = data.X.astype(np.int64)


def as_layer(data):
    data.layers["counts"] = data.X.copy()
    data.X = np.log1p(data.X)


def as_csc_layer(data):
    as_layer(data)
    data.layers["counts"] = sparse.csc_matrix(data.layers["counts"])


def as_raw(data):
    data.raw = data.copy()
    small = data[:, :5].copy()
    small.X = np.log1p(small.X)
    return small


def with_stored_zeros(data):
    data.X.data[:7] = 0


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (None, "X"),
        (as_csc, "X"),
        (as_dense, "X"),
        (as_integers, "X"),
        (as_layer, "layers/counts"),
        (as_csc_layer, "layers/counts"),
        (as_raw, "raw"),
        (with_stored_zeros, "X"),
    ],
)
def test_all_layouts_of_h5ad(raw, raw_file, change, counts, dense_of):
    expected = raw.copy()
    if change is with_stored_zeros:
        change(expected)
    path = raw_file(change)
    with open_source(dataset(path, counts=counts)) as source:
        np.testing.assert_array_equal(dense_of(source), expected.X.toarray())
        assert list(source.obs.index) == list(raw.obs_names) and list(source.var.index) == list(raw.var_names)
        assert source.shape == raw.shape and source.files() == [path]


def test_unsorted_and_repeated_entries_are_put_in_order(tmp_path, raw, raw_file, dense_of):
    path = raw_file()
    with h5py.File(path, "r+") as file:
        data, indices, indptr = (file["X"][name][:] for name in ("data", "indices", "indptr"))
        for start, stop in pairwise(indptr):
            data[start:stop], indices[start:stop] = data[start:stop][::-1].copy(), indices[start:stop][::-1].copy()
        data = np.concatenate([data, [5.0]]).astype("f4")
        indices = np.concatenate([indices, indices[-1:]])
        indptr[-1] += 1
        for name, values in (("data", data), ("indices", indices), ("indptr", indptr)):
            del file["X"][name]
            file["X"][name] = values
    expected = raw.X.toarray()
    expected[-1, indices[-1]] += 5
    with open_source(dataset(path)) as source:
        np.testing.assert_array_equal(dense_of(source), expected)


def test_indices_outside_the_matrix_are_refused(raw_file):
    path = raw_file()
    with h5py.File(path, "r+") as file:
        file["X"]["indices"][10] = 70
    with pytest.raises(UserError, match="'/X' is no valid CSR matrix"), open_source(dataset(path)) as source:
        list(source.blocks())


def test_temporary_files_of_a_matrix_by_gene_are_removed(raw_file, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_source(dataset(raw_file(as_csc))) as source:
        list(source.blocks())
        assert len(list(tmp_path.glob("sclamp-*"))) == 1
    assert not list(tmp_path.glob("sclamp-*"))


# --- several files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_joined_files_equal_anndata(tmp_path, raw, raw_file, join, dense_of):
    def part(cells, genes):
        return lambda data: data[cells][:, genes].copy()

    first = raw_file(part(slice(0, 40), slice(0, 60)), "one.h5ad")
    second = raw_file(part(slice(40, 90), list(range(69, 9, -1))), "two.h5ad")
    parts = [anndata.read_h5ad(first), anndata.read_h5ad(second)]
    expected = anndata.concat(parts, join=join, fill_value=0)
    with open_source(dataset([first, second], join=join)) as source:
        assert list(source.obs.index) == [f"cell{i}-{'one' if i < 40 else 'two'}" for i in range(90)]
        assert list(source.obs["file"]) == ["one"] * 40 + ["two"] * 50
        assert list(source.obs["donor"]) == list(raw.obs["donor"])
        assert set(source.var.index) == set(expected.var_names)
        assert list(source.var["ensembl"]) == list(raw.var.loc[source.var.index, "ensembl"])
        np.testing.assert_array_equal(dense_of(source), expected[:, source.var.index].X.toarray())


def test_joined_on_a_var_column(raw, raw_file, dense_of):
    first = raw_file(None, "one.h5ad")
    second = raw_file(lambda data: data[:, ::-1].copy(), "two.h5ad")
    with open_source(dataset([first, second], gene_ids="ensembl")) as source:
        assert list(source.var.index) == list(raw.var["ensembl"]) == list(source.var["ensembl"])
        np.testing.assert_array_equal(dense_of(source), np.vstack([raw.X.toarray()] * 2))


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path, raw_file):
    paths = []
    for sample in ("s1", "s2"):
        (tmp_path / sample).mkdir()
        paths.append(raw_file(None, f"{sample}/counts.h5ad"))
    with open_source(dataset(paths)) as source:
        assert source.obs.index.is_unique and set(source.obs["file"]) == {"s1_counts", "s2_counts"}


def test_arrays_and_places_of_joined_files(raw_file):
    def change(width):
        def inner(data):
            data.obsm["spatial"] = np.full((90, 2), width)
            data.obsm["pca"] = np.ones((90, width))
            data.layers["umis"] = data.X.copy()

        return inner

    paths = [raw_file(change(3), "one.h5ad"), raw_file(change(4), "two.h5ad")]
    with open_source(dataset(paths)) as source:
        arrays = source.obsm()
        assert list(arrays) == ["spatial"] and arrays["spatial"][:, 0].tolist() == [3.0] * 90 + [4.0] * 90
        assert source.files() == paths and list(source.elsewhere()) == ["layers/umis"]


def rename(data):
    data.var_names = [f"mouse{i}" for i in range(data.n_vars)]


def repeat(data):
    data.var_names = ["A", "A", *data.var_names[2:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, r"the 2 files share no gene; first genes: .*MT-CO1, GENE1, GENE2; .*mouse0, mouse1, mouse2"),
        (repeat, "gene 'A' occurs more than once; files are joined on unique ids"),
    ],
)
def test_files_that_cannot_be_joined(raw_file, change, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = [raw_file(None, "one.h5ad"), raw_file(change, "two.h5ad")]
    with pytest.raises(UserError, match=message), open_source(dataset(paths)):
        pass


def test_one_file_listed_twice(raw_file):
    path = raw_file()
    with pytest.raises(UserError, match="is listed more than once"), open_source(dataset([path, path])):
        pass


# --- what cannot be opened --------------------------------------------------------------------------------------------


def test_missing_matrix_names_the_nearest(raw_file):
    path = raw_file(as_layer)
    message = "counts: 'layers/count' is not in .*; did you mean 'layers/counts'.* It has: X, layers/counts"
    with pytest.raises(UserError, match=message), open_source(dataset(path, counts="layers/count")):
        pass


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("none.h5ad", {}, r"path: '.*none\.h5ad' does not exist \(looked in "),
        ("x.csv", {}, "has an unknown format; expected an .h5ad file, a 10x .h5 file, a 10x MTX folder"),
        ("x.h5", {"counts": "raw"}, "counts: 'raw' applies to .h5ad files"),
        ("x.csv", {"sha256": "0" * 64}, "has the sha256 [0-9a-f]{64}, the configuration says 0{64}"),
    ],
)
def test_paths_that_cannot_be_opened(tmp_path, name, settings, message):
    for existing in ("x.csv", "x.h5"):
        (tmp_path / existing).write_text("a,b\n")
    with pytest.raises(UserError, match=message), open_source(dataset(tmp_path / name, **settings)):
        pass

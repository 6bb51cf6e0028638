"""Every format gives the same counts by cell, in small blocks; oracles: the matrix in memory, anndata, scanpy."""

import gzip
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import scipy.io
from scipy import sparse

from sclamp.config.datasets import Dataset
from sclamp.core.errors import UserError
from sclamp.data import h5ad
from sclamp.data.sources import Source, open_source

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import scanpy


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 100)


def read(source: Source) -> np.ndarray:
    """All blocks as one dense matrix, after a check of what `Source.blocks` promises."""
    blocks = list(source.blocks())
    for block in blocks:
        assert block.format == "csr" and block.has_canonical_format and (block.data != 0).all()
    assert len(blocks) > 5, "the test is about several blocks"
    return sparse.vstack(blocks).toarray()


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
def test_all_layouts_of_h5ad(raw, raw_file, change, counts):
    expected = raw.copy()
    if change is with_stored_zeros:
        change(expected)
    path = raw_file(change)
    with open_source(dataset(path, counts=counts)) as source:
        np.testing.assert_array_equal(read(source), expected.X.toarray())
        assert list(source.obs.index) == list(raw.obs_names) and list(source.var.index) == list(raw.var_names)
        assert source.shape == raw.shape and source.files() == [path]


def test_unsorted_and_repeated_entries_are_put_in_order(tmp_path, raw, raw_file):
    path = raw_file()
    with h5py.File(path, "r+") as file:
        data, indices, indptr = (file["X"][name][:] for name in ("data", "indices", "indptr"))
        for start, stop in zip(indptr, indptr[1:], strict=False):
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
        np.testing.assert_array_equal(read(source), expected)


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


# --- 10x ---------------------------------------------------------------------------------------------------------------


def write_tenx_file(path: Path, counts: sparse.csr_matrix, version: int, antibodies: int = 0) -> None:
    n_cells, n_genes = counts.shape
    strings = {
        "ids": [f"ENSG{i:011d}" for i in range(n_genes)],
        "names": [f"GENE{i}" for i in range(n_genes)],
    }
    by_gene = sparse.csc_matrix(counts.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        group["barcodes"] = np.array([f"AAAC{i}-1" for i in range(n_cells)], dtype="S")
        group["data"], group["indices"] = by_gene.data.astype(np.int32), by_gene.indices.astype(np.int64)
        group["indptr"], group["shape"] = by_gene.indptr.astype(np.int64), np.array(by_gene.shape)
        if version == 3:
            features = group.create_group("features")
            kinds = ["Gene Expression"] * (n_genes - antibodies) + ["Antibody Capture"] * antibodies
            features["id"] = np.array(strings["ids"], dtype="S")
            features["name"] = np.array(strings["names"], dtype="S")
            features["feature_type"] = np.array(kinds, dtype="S")
            features["genome"] = np.array(["GRCh38"] * n_genes, dtype="S")
        else:
            group["genes"] = np.array(strings["ids"], dtype="S")
            group["gene_names"] = np.array(strings["names"], dtype="S")


def write_tenx_folder(folder: Path, counts: sparse.csr_matrix, version: int, antibodies: int = 0) -> None:
    folder.mkdir()
    n_cells, n_genes = counts.shape
    scipy.io.mmwrite(folder / "matrix.mtx", sparse.csc_matrix(counts.T).astype(np.int64))
    kinds = ["Gene Expression"] * (n_genes - antibodies) + ["Antibody Capture"] * antibodies
    genes = [f"ENSG{i:011d}\tGENE{i}" + (f"\t{kinds[i]}" if version == 3 else "") for i in range(n_genes)]
    (folder / ("features.tsv" if version == 3 else "genes.tsv")).write_text("\n".join(genes) + "\n")
    (folder / "barcodes.tsv").write_text("".join(f"AAAC{i}-1\n" for i in range(n_cells)))
    if version == 3:
        for file in list(folder.iterdir()):
            with gzip.open(f"{file}.gz", "wb") as zipped:
                zipped.write(file.read_bytes())
            file.unlink()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_tenx_equals_scanpy(tmp_path, raw, version, kind):
    antibodies = 4 if version == 3 else 0
    path = tmp_path / ("x.h5" if kind == "file" else "filtered")
    (write_tenx_file if kind == "file" else write_tenx_folder)(path, raw.X, version, antibodies)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = scanpy.read_10x_h5(path) if kind == "file" else scanpy.read_10x_mtx(path)
    assert expected.shape == (90, 70 - antibodies)
    with open_source(dataset(path)) as source:
        np.testing.assert_array_equal(read(source), expected.X.toarray())
        assert list(source.obs.index) == list(expected.obs_names)
        assert list(source.var.index) == list(expected.var["gene_ids"])
        assert list(source.var["symbol"]) == list(expected.var_names)
        assert all(file.is_file() for file in source.files())


def test_text_matrix_in_any_order(tmp_path, raw):
    write_tenx_folder(tmp_path / "x", raw.X, 2)
    lines = (tmp_path / "x/matrix.mtx").read_text().splitlines()
    head = next(i for i, line in enumerate(lines) if not line.startswith("%")) + 1
    body = list(np.random.default_rng(0).permutation(lines[head:]))
    (tmp_path / "x/matrix.mtx").write_text("\n".join([*lines[:head], *body]) + "\n")
    with open_source(dataset(tmp_path / "x")) as source:
        np.testing.assert_array_equal(read(source), raw.X.toarray())


def cut_matrix(folder: Path) -> None:
    lines = (folder / "matrix.mtx").read_text().splitlines()
    (folder / "matrix.mtx").write_text("\n".join(lines[:-30]) + "\n")


def gzip_cut(folder: Path) -> None:
    zipped = gzip.compress((folder / "matrix.mtx").read_bytes())
    (folder / "matrix.mtx.gz").write_bytes(zipped[: len(zipped) // 2])
    (folder / "matrix.mtx").unlink()


def fewer_barcodes(folder: Path) -> None:
    (folder / "barcodes.tsv").write_text("A-1\nB-1\n")


def gene_outside(folder: Path) -> None:
    text = (folder / "matrix.mtx").read_text().splitlines()
    (folder / "matrix.mtx").write_text("\n".join([*text[:-1], "71 1 5"]) + "\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut_matrix, r"counts are announced, \d+ came; is it truncated\?"),
        (gzip_cut, "cannot be read after 0 counts"),
        (fewer_barcodes, "the matrix is 70 x 90, but there are 70 features and 2 barcodes"),
        (gene_outside, r"a gene number is outside 1\.\.70"),
        (lambda folder: (folder / "genes.tsv").unlink(), r"features\.tsv or genes\.tsv \(or gzipped\) is missing"),
        (lambda folder: (folder / "matrix.mtx").write_text(""), "no counts; the file is empty or truncated"),
    ],
)
def test_broken_tenx_folder(tmp_path, raw, change, message):
    write_tenx_folder(tmp_path / "x", raw.X, 2)
    change(tmp_path / "x")
    with pytest.raises(UserError, match=message), open_source(dataset(tmp_path / "x")) as source:
        list(source.blocks())


def test_h5_without_a_matrix(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["foo"] = 1
    with (
        pytest.raises(UserError, match="one 10x matrix is expected, found 0; the file holds foo"),
        open_source(dataset(tmp_path / "x.h5")),
    ):
        pass


# --- several files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_joined_files_equal_anndata(tmp_path, raw, raw_file, join):
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
        np.testing.assert_array_equal(read(source), expected[:, source.var.index].X.toarray())


def test_joined_on_a_var_column(raw, raw_file):
    first = raw_file(None, "one.h5ad")
    second = raw_file(lambda data: data[:, ::-1].copy(), "two.h5ad")
    with open_source(dataset([first, second], gene_ids="ensembl")) as source:
        assert list(source.var.index) == list(raw.var["ensembl"]) == list(source.var["ensembl"])
        np.testing.assert_array_equal(read(source), np.vstack([raw.X.toarray()] * 2))


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path, raw_file):
    paths = []
    for sample in ("s1", "s2"):
        (tmp_path / sample).mkdir()
        paths.append(raw_file(None, f"{sample}/counts.h5ad"))
    with open_source(dataset(paths)) as source:
        assert source.obs.index.is_unique and set(source.obs["file"]) == {"s1_counts", "s2_counts"}


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


# --- what cannot be opened ---------------------------------------------------------------------------------------------


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

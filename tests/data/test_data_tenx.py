"""10x files and folders of both versions give the counts that scanpy reads; broken ones are described."""

import gzip
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from scipy import sparse

from sclamp.config.datasets import Dataset
from sclamp.core.errors import UserError
from sclamp.data import h5ad
from sclamp.data.sources import open_source

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import scanpy


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 100)


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
def test_tenx_equals_scanpy(tmp_path, raw, version, kind, dense_of):
    antibodies = 4 if version == 3 else 0
    path = tmp_path / ("x.h5" if kind == "file" else "filtered")
    (write_tenx_file if kind == "file" else write_tenx_folder)(path, raw.X, version, antibodies)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = scanpy.read_10x_h5(path) if kind == "file" else scanpy.read_10x_mtx(path)
    assert expected.shape == (90, 70 - antibodies)
    with open_source(Dataset(path=str(path))) as source:
        np.testing.assert_array_equal(dense_of(source), expected.X.toarray())
        assert list(source.obs.index) == list(expected.obs_names)
        assert list(source.var.index) == list(expected.var["gene_ids"])
        assert list(source.var["symbol"]) == list(expected.var_names)
        assert all(file.is_file() for file in source.files())


def test_text_matrix_in_any_order(tmp_path, raw, dense_of):
    write_tenx_folder(tmp_path / "x", raw.X, 2)
    lines = (tmp_path / "x/matrix.mtx").read_text().splitlines()
    head = next(i for i, line in enumerate(lines) if not line.startswith("%")) + 1
    body = list(np.random.default_rng(0).permutation(lines[head:]))
    (tmp_path / "x/matrix.mtx").write_text("\n".join([*lines[:head], *body]) + "\n")
    with open_source(Dataset(path=str(tmp_path / "x"))) as source:
        np.testing.assert_array_equal(dense_of(source), raw.X.toarray())


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
        (fewer_barcodes, "the matrix is 70 x 90, but there are 70 features in genes.tsv and 2 barcodes in"),
        (gene_outside, r"a gene number is outside 1\.\.70"),
        (lambda folder: (folder / "genes.tsv").unlink(), r"features\.tsv or genes\.tsv \(or gzipped\) is missing"),
        (lambda folder: (folder / "matrix.mtx").write_text(""), "no counts; the file is empty or truncated"),
    ],
)
def test_broken_tenx_folder(tmp_path, raw, change, message):
    write_tenx_folder(tmp_path / "x", raw.X, 2)
    change(tmp_path / "x")
    with pytest.raises(UserError, match=message), open_source(Dataset(path=str(tmp_path / "x"))) as source:
        list(source.blocks())


def test_h5_without_a_matrix(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["foo"] = 1
    with (
        pytest.raises(UserError, match="one 10x matrix is expected, found 0; the file holds foo"),
        open_source(Dataset(path=str(tmp_path / "x.h5"))),
    ):
        pass

"""Files with mapped counts: the oracle is anndata's own reader."""

import errno
import json
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sclamp.core.errors import UserError
from sclamp.data import h5ad
from sclamp.data.h5ad import CountMap, counts_writer, opened, read_cells, read_obsm, read_uns, row_blocks


def matrix(n_cells: int = 50, n_genes: int = 31, largest: int = 9) -> sparse.csr_matrix:
    counts = sparse.random(n_cells, n_genes, 0.2, format="csr", random_state=1)
    counts.data = np.random.default_rng(0).integers(1, largest + 1, counts.nnz).astype(np.float32)
    return counts


def write(path: Path, counts: sparse.csr_matrix, data_type=np.float32, index_type=np.int32, split=(20,), obsm=None):
    obs = pd.DataFrame(
        {"batch": pd.Categorical(["a", "b"] * (counts.shape[0] // 2)), "label": pd.Categorical([None, "x"] * 25)},
        index=[f"c{i}" for i in range(counts.shape[0])],
    )
    var = pd.DataFrame(
        {"symbol": [f"s{i}" for i in range(counts.shape[1])]}, index=[f"g{i}" for i in range(counts.shape[1])]
    )
    uns = {"spec": {"batches": ["a", "b"]}, "provenance": {"seed": 1}}
    with counts_writer(path, obs, var, counts.nnz, data_type, index_type, obsm or {}, uns) as writer:
        start = 0
        for stop in (*split, counts.shape[0]):
            writer.append(counts[start:stop])
            start = stop
    return path


@pytest.mark.parametrize(("data_type", "index_type"), [("float32", "int32"), ("uint8", "uint16"), ("uint16", "uint32")])
def test_anndata_reads_what_was_written(tmp_path, data_type, index_type):
    counts, covariates = matrix(), np.arange(100, dtype=np.float32).reshape(50, 2)
    path = write(tmp_path / "x.h5ad", counts, data_type, index_type, obsm={"covariates": covariates})
    data = anndata.read_h5ad(path)
    assert data.X.dtype == data_type and data.X.indices.dtype == index_type
    np.testing.assert_array_equal(data.X.toarray(), counts.toarray())
    np.testing.assert_array_equal(data[[7, 3], ["g5", "g2"]].X.toarray(), counts[[7, 3]][:, [5, 2]].toarray())
    assert list(data.obs["batch"][:3]) == ["a", "b", "a"] and data.obs["label"].isna().sum() == 25
    np.testing.assert_array_equal(data.obsm["covariates"], covariates)
    assert json.loads(data.uns["sclamp"])["spec"] == {"batches": ["a", "b"]}


def test_pieces_read_back(tmp_path):
    path = write(tmp_path / "x.h5ad", matrix(), obsm={"spatial": np.ones((50, 3))})
    obs, var, spec, covariates = read_cells(path)
    assert list(obs.columns) == ["batch", "label"] and obs.index[1] == "c1"
    assert var.loc["g4", "symbol"] == "s4" and spec == {"batches": ["a", "b"]}
    assert covariates.shape == (50, 0) and covariates.dtype == np.float32
    assert read_uns(path)["provenance"] == {"seed": 1}
    assert list(read_obsm(path)) == ["spatial"]


@pytest.mark.parametrize("data_type", ["uint8", "float32"])
def test_counts_are_mapped(tmp_path, data_type):
    counts = matrix(n_cells=50, n_genes=33)
    mapped = CountMap(write(tmp_path / "x.h5ad", counts, data_type, np.uint16))
    assert mapped.mapped and mapped.shape == (mapped.n_cells, mapped.n_genes) == (50, 33)
    for array in (mapped.data, mapped.indices, mapped.indptr):
        assert isinstance(array, np.memmap) and array.flags.aligned
    np.testing.assert_array_equal(mapped.rows(slice(5, 17)).toarray(), counts[5:17].toarray())
    mapped.data[0] += 1  # copy-on-write: the file stays as it is
    np.testing.assert_array_equal(CountMap(mapped.path).data, counts.data)


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"chunks": (7,)}])
def test_compressed_or_chunked_counts_are_read_instead(tmp_path, options):
    counts = matrix()
    path = write(tmp_path / "x.h5ad", counts)
    with h5py.File(path, "r+") as file:
        for name in ("data", "indices", "indptr"):
            values = file["X"][name][:]
            del file["X"][name]
            file["X"].create_dataset(name, data=values, **options)
    read = CountMap(path)
    assert not read.mapped
    np.testing.assert_array_equal(read.rows(slice(0, 50)).toarray(), counts.toarray())


def test_matrix_without_counts_and_without_cells(tmp_path):
    empty = sparse.csr_matrix((50, 4), dtype=np.float32)
    read = CountMap(write(tmp_path / "x.h5ad", empty))
    assert [block.nnz for _, block in read.blocks()] == [0]


def test_blocks_cover_all_rows_and_stay_small(tmp_path, monkeypatch):
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 20)
    counts = matrix()
    blocks = list(CountMap(write(tmp_path / "x.h5ad", counts)).blocks())
    assert len(blocks) > 10 and all(block.nnz <= 20 for _, block in blocks)
    assert [rows.stop for rows, _ in blocks[:-1]] == [rows.start for rows, _ in blocks[1:]]
    np.testing.assert_array_equal(sparse.vstack([block for _, block in blocks]).toarray(), counts.toarray())


def test_a_row_larger_than_a_block_stands_alone(monkeypatch):
    monkeypatch.setattr(h5ad, "BLOCK_NONZEROS", 5)
    assert list(row_blocks(np.array([0, 2, 4, 40, 41]))) == [slice(0, 2), slice(2, 3), slice(3, 4)]


def test_equal_inputs_give_equal_bytes(tmp_path):
    first, second = (
        write(tmp_path / name, matrix(), split=cut) for name, cut in (("a.h5ad", (3,)), ("b.h5ad", (20, 40)))
    )
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("n", [-1, 1])
def test_other_counts_than_announced_leave_no_file(tmp_path, n):
    counts = matrix()
    frame = pd.DataFrame(index=[str(i) for i in range(50)])
    genes = pd.DataFrame(index=[str(i) for i in range(31)])
    with (
        pytest.raises(RuntimeError, match="announced"),
        counts_writer(tmp_path / "x.h5ad", frame, genes, counts.nnz + n, "f4", "i4", {}, {}) as writer,
    ):
        writer.append(counts)
    assert not list(tmp_path.iterdir())


def test_disk_too_small_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(h5ad.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100})())
    with pytest.raises(UserError, match=r"x\.h5ad: about .* GB are needed, the disk has 1e-07 GB left"):
        write(tmp_path / "x.h5ad", matrix())
    assert not list(tmp_path.iterdir())


def test_disk_that_fills_up_leaves_the_old_file(tmp_path, monkeypatch):
    path = write(tmp_path / "x.h5ad", matrix())
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(h5ad.CountWriter, "_write", full)
    with pytest.raises(UserError, match="the disk is full; nothing was written"):
        write(path, matrix(largest=3))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.h5ad"
    if kind == "truncated":
        path.write_bytes(write(tmp_path / "whole.h5ad", matrix()).read_bytes()[:3000])
    elif kind == "foreign":
        path.write_text("cell,gene\n")
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("folder", "a folder, not a file"),
        ("truncated", "it is truncated: was its copy or download interrupted?"),
        ("foreign", "cannot be opened as HDF5; it is another kind of file"),
    ],
)
def test_broken_files_are_named(tmp_path, kind, message):
    with pytest.raises(UserError, match=message) as error:
        read_cells(broken(tmp_path, kind))
    assert f"{kind}.h5ad" in str(error.value)


def test_damaged_chunk_is_named(tmp_path, raw_file):
    path = raw_file()
    with h5py.File(path, "r+") as file:
        values = np.arange(5000, dtype=np.float32)
        del file["X"]["data"]
        stored = file["X"].create_dataset("data", data=values, compression="gzip", chunks=(5000,))
        offset = stored.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 20 : offset + 400] = bytes(380)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged, part of it cannot be read"), opened(path) as file:
        file["X"]["data"][:]


def test_files_of_others_are_refused_with_what_is_expected(raw_file):
    path = raw_file()
    with pytest.raises(UserError, match=r"uns\['sclamp'\] is missing; expected a file written by prepare_cells"):
        read_cells(path)
    dense = raw_file(lambda data: setattr(data, "X", data.X.toarray()), "dense.h5ad")
    with pytest.raises(UserError, match="X is no CSR matrix"):
        CountMap(dense)


def test_annotation_of_old_anndata_is_refused(tmp_path):
    path = tmp_path / "old.h5ad"
    with h5py.File(path, "w") as file:
        file["obs"] = np.zeros(3, dtype=[("index", "S5")])
    with pytest.raises(UserError, match=r"'obs' has the layout of anndata < 0\.7"), opened(path) as file:
        h5ad.read_frame(file, "obs")
    with pytest.raises(UserError, match="not an AnnData file: group 'var' does not exist"), opened(path) as file:
        h5ad.read_frame(file, "var")

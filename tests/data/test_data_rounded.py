"""Counts that are not whole: rounded where this is asked for, and never where they are normalised values."""

import anndata as ad
import h5py
import numpy as np
import pytest

from sclamp.config.datasets import Dataset
from sclamp.core.errors import UserError
from sclamp.data.check import check_dataset
from sclamp.data.sources import open_source


def values(dataset):
    with open_source(dataset) as source:
        stacked = np.vstack([block.toarray() for block in source.blocks()])
        return stacked, source.n_rounded


@pytest.fixture
def estimated(raw, tmp_path):
    """Half of the cells as a quantifier of reads leaves them: counts of 0.37 and 1041.52."""
    counts = np.asarray(raw.X.todense(), dtype=np.float64) * 8
    rows = counts[::2]
    counts[::2] = np.where(rows > 0, rows + np.random.default_rng(0).uniform(-0.7, 0.7, rows.shape), 0)
    counts[0, 0] = 0.3
    path = tmp_path / "estimated.h5ad"
    ad.AnnData(counts, raw.obs, raw.var).write_h5ad(path)
    return path, counts


def test_estimated_counts_are_rounded(estimated):
    path, counts = estimated
    found, n = values(Dataset(path=str(path), fractions="round"))
    np.testing.assert_array_equal(found, np.rint(counts))
    assert n == int((counts != np.rint(counts)).sum()) > 0


def test_the_check_says_so(estimated):
    path, _ = estimated
    told = check_dataset(Dataset(path=str(path), fractions="round"), {}, {})
    assert any(f.check == "counts" and "were not whole and are rounded" in f.message for f in told.findings)
    assert not told.failed
    refused = check_dataset(Dataset(path=str(path)), {}, {})
    said = next(f.message for f in refused.findings if f.check == "counts")
    assert "fractional" in said and "fractions: round" in said


@pytest.mark.parametrize("kind", ["log-normalised", "scaled"])
def test_normalised_values_are_not_rounded(raw, tmp_path, kind):
    counts = np.asarray(raw.X.todense(), dtype=np.float64)
    logged = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    cells = ad.AnnData(logged if kind == "log-normalised" else (logged - logged.mean(0)) / (logged.std(0) + 1e-6))
    cells.write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(UserError, match=rf"are not estimated counts: they look {kind}.*point counts to the raw"):
        values(Dataset(path=str(tmp_path / "x.h5ad"), fractions="round"))


def test_counts_corrected_for_saturated_umis_are_no_logarithms(raw, tmp_path):
    """-K log(1 - n / K) of whole n lies so near whole numbers that 2^x - 1 does, too."""
    counts = np.asarray(raw.X.todense(), dtype=np.float64) * 3
    ad.AnnData(-4096 * np.log1p(-counts / 4096), raw.obs, raw.var).write_h5ad(tmp_path / "x.h5ad")
    found, _ = values(Dataset(path=str(tmp_path / "x.h5ad"), fractions="round"))
    np.testing.assert_array_equal(found, counts)
    told = check_dataset(Dataset(path=str(tmp_path / "x.h5ad")), {}, {})
    said = next(f.message for f in told.findings if f.check == "counts")
    assert "it looks like counts that were corrected a little" in said and said.endswith("set fractions: round.")


@pytest.mark.parametrize("depth", [0.4, 2.0, 7.3, 100.0])
def test_estimates_at_any_depth_are_no_logarithms(raw, tmp_path, depth):
    counts = np.asarray(raw.X.todense(), dtype=np.float64)
    noise = np.random.default_rng(0).gamma(2.0, 0.5, counts.shape)
    estimated = np.where(counts > 0, counts * 8 * depth * noise, 0)
    estimated[:, 1] += 40  # a gene with many reads: logarithms never get there
    ad.AnnData(estimated, raw.obs, raw.var).write_h5ad(tmp_path / "x.h5ad")
    found, n = values(Dataset(path=str(tmp_path / "x.h5ad"), fractions="round"))
    np.testing.assert_array_equal(found, np.rint(estimated))
    assert n > 0


@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")  # the old form is what is tested
def test_a_file_like_that_of_the_pancreas_benchmark_is_read(tmp_path):
    """As anndata 0.7 wrote it: categories beside obs, a dense packed layer; whole, corrected and estimated counts."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.5, 3, (120, 90))).astype(np.float32)
    counts[:, 0] += 1
    counts[:40] = -4096 * np.log1p(-counts[:40] / 4096)
    counts[40:80] = np.where(counts[40:80] > 0, counts[40:80] * 7.3 + rng.random((40, 90)), 0)
    text = h5py.string_dtype()
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file.create_dataset("X", data=np.log1p(counts))
        file.create_dataset("layers/counts", data=counts, chunks=(50, 60), compression="gzip")
        for name, ids in (("obs", [f"c{i}" for i in range(120)]), ("var", [f"G{i}" for i in range(90)])):
            group = file.create_group(name)
            group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.1.0", "_index": "index"})
            group.create_dataset("index", data=np.array(ids, dtype=text))
            group.attrs.create("column-order", np.array(["tech"] if name == "obs" else [], dtype=object), dtype=text)
        kinds = file.create_dataset("obs/__categories/tech", data=np.array(["celseq2", "inDrop1"], dtype=text))
        kinds.attrs["ordered"] = False
        codes = file["obs"].create_dataset("tech", data=(np.arange(120) >= 40).astype(np.int8))
        codes.attrs["categories"] = kinds.ref
    dataset = Dataset(path=str(tmp_path / "old.h5ad"), counts="layers/counts", fractions="round", batch="tech")
    np.testing.assert_array_equal(values(dataset)[0], np.rint(counts))
    report = check_dataset(dataset, {}, {})
    assert not report.failed, report.findings
    assert any(f.message == "2 batches of 40 to 80 cells" for f in report.findings)

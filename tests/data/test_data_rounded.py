"""Counts that are not whole: rounded where this is asked for, and never where they are normalised values."""

import anndata as ad
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

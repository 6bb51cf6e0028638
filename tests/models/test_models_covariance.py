"""Streamed covariances against numpy, on every path."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sclamp.models import covariance
from sclamp.models.covariance import StreamingCovariance


def cells(n: int, genes: int, density: float, offset: float = 0.0) -> np.ndarray:
    """Cells (n, genes) float32 of two kinds, a share `density` of the values off the gene's smallest."""
    rng = np.random.default_rng(n + genes)
    kind = rng.integers(0, 2, (n, 1)) * rng.random(genes)
    x = np.where(rng.random((n, genes)) < density, rng.gamma(2, 1, (n, genes)) + kind, 0.0)
    return (x * rng.random(genes) - rng.random(genes) + offset).astype(np.float32)


def streamed(x: np.ndarray, size: int = 37) -> StreamingCovariance:
    found = StreamingCovariance(x.shape[1])
    for first in range(0, len(x), size):
        found.add(torch.from_numpy(x[first : first + size]))
    return found


@pytest.mark.parametrize("n_cells", [300, 20], ids=["products", "held"])
@pytest.mark.parametrize("density", [0.05, 0.6])
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_equals_numpy(n_cells, density, ddof, offset):
    x = cells(n_cells, 40, density, offset)
    found, exact = streamed(x), np.cov(x.astype(np.float64).T, ddof=ddof)
    np.testing.assert_allclose(found.mean(), x.astype(np.float64).mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance(ddof), exact, atol=1e-12)
    assert found.total_variance(ddof) == pytest.approx(np.trace(exact), rel=1e-12)
    variances, directions = found.leading(6, ddof)
    np.testing.assert_allclose(variances, np.linalg.eigvalsh(exact)[::-1][:6], rtol=1e-10)
    np.testing.assert_allclose(directions.T @ directions, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(exact @ directions.numpy(), directions.numpy() * variances.numpy(), atol=1e-11)


def test_sparse_and_dense_products_are_the_same_sums(monkeypatch):
    x = cells(400, 60, 0.1)
    sparse = streamed(x)
    monkeypatch.setattr(covariance, "SPARSE_BELOW", 0.0)
    np.testing.assert_allclose(streamed(x).covariance(), sparse.covariance(), atol=1e-13)


def test_more_cells_can_be_added_after_a_look():
    x = cells(200, 30, 0.3)
    found = streamed(x[:100])
    found.leading(3)
    found.add(torch.from_numpy(x[100:]))
    np.testing.assert_allclose(found.covariance(), np.cov(x.astype(np.float64).T), atol=1e-12)

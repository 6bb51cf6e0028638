"""Controls and priors of the data's own: what they keep and what they destroy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclamp.core.errors import UserError
from sclamp.priors.controls import derangement, gaussian, onehot, shuffled
from sclamp.priors.expression import expression_vectors


@given(st.integers(2, 200), st.integers(0, 1000))
def test_derangement_moves_everything(n: int, seed: int) -> None:
    order = derangement(n, seed)
    assert sorted(order) == list(range(n)) and (order != np.arange(n)).all()
    assert np.array_equal(order, derangement(n, seed))


def test_shuffled_keeps_the_vectors_and_none_in_place() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    mixed = shuffled(vectors, 1)
    assert sorted(map(tuple, mixed)) == sorted(map(tuple, vectors))
    assert (mixed != vectors).any(axis=1).all()
    assert not np.array_equal(mixed, shuffled(vectors, 2))
    assert np.array_equal(shuffled(vectors[:1], 0), vectors[:1])


@pytest.mark.parametrize(("n", "width"), [(400, 20), (30, 100), (50, 50)])
def test_gaussian_has_the_same_moments_and_nothing_else(n: int, width: int) -> None:
    rng = np.random.default_rng(3)
    vectors = (rng.gamma(1.0, size=(n, width)) @ rng.normal(size=(width, width)) + 5).astype(np.float32)
    noise = gaussian(vectors, 0)
    assert noise.dtype == np.float32 and np.isfinite(noise).all()
    scale = np.abs(np.cov(vectors.T)).max()
    assert np.allclose(noise.mean(0), vectors.mean(0), atol=1e-4 * np.abs(vectors).max())
    assert np.allclose(np.cov(noise.T), np.cov(vectors.T), atol=1e-4 * scale)
    centred, drawn = vectors - vectors.mean(0), noise - noise.mean(0)
    cosine = (centred * drawn).sum(1) / np.linalg.norm(centred, axis=1) / np.linalg.norm(drawn, axis=1)
    assert abs(cosine.mean()) < 0.2
    assert not np.allclose(noise, gaussian(vectors, 1)) and np.array_equal(noise, gaussian(vectors, 0))


def test_gaussian_of_degenerate_vectors() -> None:
    line = np.outer(np.arange(20.0), [1, 2, 3]).astype(np.float32)  # rank 1
    assert np.allclose(np.cov(gaussian(line, 0).T), np.cov(line.T), rtol=1e-4)
    assert np.allclose(gaussian(np.ones((5, 3), np.float32), 0), 1)


def test_onehot() -> None:
    assert np.array_equal(onehot(3), np.eye(3)) and onehot(3).dtype == np.float32
    with pytest.raises(UserError, match="onehot: 30000 genes are selected, at most 20000"):
        onehot(30_000)


def dense_scaled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Scaled expression of all cells by the file's recipe, without any of our code; mask of the training cells."""
    data = ad.read_h5ad(path)
    size = data.obs["library_size"].to_numpy(dtype=np.float64)[:, None]
    x = np.log1p(data.X.toarray().astype(np.float64) / size * 1e4)
    z = (x - data.var["lognorm_mean"].to_numpy()) / data.var["lognorm_std"].to_numpy()
    return np.clip(z, -10, 10), (data.obs["split"] == "train").to_numpy()


def test_expression_is_the_svd_of_the_training_cells(
    tiny_counts: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_counts(n_cells=150, n_genes=40)
    z, train = dense_scaled(path)
    monkeypatch.setattr("sclamp.priors.expression.BLOCK_VALUES", 40 * 17)  # several blocks, a ragged last one
    ids, vectors = expression_vectors(path, 5)
    assert ids == list(ad.read_h5ad(path).var_names) and vectors.shape == (40, 5)
    _, s, vt = np.linalg.svd(z[train], full_matrices=False)
    expected = vt[:5].T * s[:5] / np.sqrt(train.sum())
    assert np.allclose(np.abs(vectors), np.abs(expected), atol=1e-5)
    full = expression_vectors(path, 1000)[1]
    assert full.shape == (40, 40)
    assert np.allclose(full @ full.T, z[train].T @ z[train] / train.sum(), atol=1e-4)


def test_expression_follows_permuted_genes_and_ignores_other_cells(tiny_counts: Callable[..., Path]) -> None:
    order = np.random.default_rng(0).permutation(60)
    first = dict(zip(*expression_vectors(tiny_counts(name="a.h5ad"), 4), strict=True))
    again = dict(zip(*expression_vectors(tiny_counts(name="b.h5ad", order=order), 4), strict=True))
    assert list(again) == [list(first)[i] for i in order]
    assert all(np.allclose(first[gene], again[gene], atol=1e-4) for gene in first)


def test_expression_without_training_cells(tiny_counts: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="no cell is in the split 'train'"):
        expression_vectors(tiny_counts(splits=(0.0, 0.5, 0.5)), 4)

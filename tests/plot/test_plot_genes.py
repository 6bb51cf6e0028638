"""The gene map keeps neighbours together, and copes with genes that are alike."""

import numpy as np

from sclamp.plot import genes


def test_groups_of_similar_genes_lie_together() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 50)
    embedding = 5 * np.eye(4, 10)[group] + rng.normal(scale=0.5, size=(200, 10))
    embedding *= rng.uniform(0.1, 10, (200, 1))  # cosine neighbours: lengths do not count
    at = genes.layout(embedding)
    distance = np.linalg.norm(at[:, None] - at[None], axis=2) + np.diag(np.full(200, np.inf))
    assert (group[distance.argmin(axis=1)] == group).mean() > 0.97
    np.testing.assert_array_equal(at, genes.layout(embedding))


def test_identical_vectors_and_few_genes() -> None:
    assert np.isfinite(genes.layout(np.vstack([np.ones((30, 4)), np.eye(4)]))).all()
    assert genes.layout(np.eye(3)).shape == (3, 2)
    assert np.isfinite(genes.layout(np.zeros((20, 3)))).all()
    assert genes.layout(np.random.default_rng(0).normal(size=(30, 1))).shape == (30, 2)

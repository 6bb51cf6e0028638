"""The layout keeps neighbours together and pieces apart, whatever the graph looks like."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from sclamp.evaluate.layout import lay_out, shared_neighbors, spectral_start, umap_layout
from sclamp.evaluate.neighbors import Neighbors, find_neighbors


def points(n: int, groups: int, distance: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    codes = np.arange(n) % groups
    return rng.normal(size=(n, 5)) + distance * np.eye(5)[codes], codes


def kept(places: np.ndarray, codes: np.ndarray, k: int = 10) -> float:
    """Share of the k nearest places that are of the same group."""
    near = find_neighbors(places, k).indices
    return float((codes[near] == codes[:, None]).mean())


@pytest.mark.parametrize("distance", [4.0, 40.0])  # one connected graph, then separate pieces
def test_groups_stay_together(distance: float) -> None:
    data, codes = points(400, 4, distance)
    rows, places = lay_out(find_neighbors(data, 30), max_cells=1000)
    np.testing.assert_array_equal(rows, np.arange(400))
    assert places.shape == (400, 2)
    assert kept(places, codes) > 0.95


def test_neighbours_in_the_layout_are_neighbours_in_the_data() -> None:
    """A ring in five dimensions: each cell keeps most of its 15 neighbours, by chance it would keep 4%."""
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    data = np.column_stack([np.cos(angle), np.sin(angle), np.zeros((400, 3))])
    near = find_neighbors(data, 30)
    _, places = lay_out(near, 1000)
    again = find_neighbors(places, 15).indices
    shared = [len(set(a) & set(b)) / 15 for a, b in zip(near.indices[:, :15], again, strict=True)]
    assert np.mean(shared) > 0.5


def test_layouts_are_deterministic() -> None:
    near = find_neighbors(points(200, 3, 5.0)[0], 20)
    np.testing.assert_array_equal(lay_out(near, 1000)[1], lay_out(near, 1000)[1])
    np.testing.assert_array_equal(lay_out(near, 150)[0], lay_out(near, 150)[0])


def test_samples_from_shared_neighbours_keep_groups() -> None:
    data, codes = points(2000, 4, 6.0)
    rows, places = lay_out(find_neighbors(data, 60), max_cells=200)
    assert len(rows) == 200 and (np.diff(rows) > 0).all()
    assert kept(places, codes[rows], k=5) > 0.9


def test_shared_neighbours_against_sets() -> None:
    near = find_neighbors(points(80, 2, 1.0)[0], 12)
    rows = np.arange(0, 80, 3)
    found = shared_neighbors(near, rows, 6)
    members = [set(near.indices[r]) | {r} for r in rows]
    for i, mine in enumerate(members):
        shares = sorted((1 - len(mine & other) / 13 for j, other in enumerate(members) if j != i), reverse=False)
        expected = [s if s < 1 else np.inf for s in shares[:6]]
        np.testing.assert_allclose(found.distances[i], expected, rtol=1e-6)
        linked = found.indices[i][np.isfinite(found.distances[i])]
        assert i not in linked


def test_odd_graphs_are_laid_out() -> None:
    """Empty, without edges, of pairs, of identical cells."""
    assert umap_layout(sparse.csr_matrix((0, 0), dtype=np.float32), 0).shape == (0, 2)
    assert np.isfinite(umap_layout(sparse.csr_matrix((30, 30), dtype=np.float32), 0)).all()
    pairs = sparse.csr_matrix((np.ones(30, np.float32), (np.arange(30), np.arange(30) ^ 1)), shape=(30, 30))
    assert np.isfinite(umap_layout(pairs, 0)).all()
    assert np.isfinite(lay_out(find_neighbors(np.zeros((100, 3)), 20), 1000)[1]).all()
    nothing = Neighbors(np.empty((5, 0), np.int32), np.empty((5, 0), np.float32))
    assert lay_out(nothing, 1000)[1].shape == (0, 2)


def test_start_spreads_connected_points() -> None:
    chain = sparse.diags([np.ones(99), np.ones(99)], [-1, 1], shape=(100, 100)).tocsr()
    start = spectral_start(chain, np.random.default_rng(0))
    assert (np.diff(start[:, 0]) > 0).mean() > 0.9 or (np.diff(start[:, 0]) < 0).mean() > 0.9

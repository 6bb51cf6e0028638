"""Scores beyond the standard panel against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from sclamp.evaluate import cell_cycle, diffusion, graph_lisi, kbet, moran, scgraph, trajectory
from sclamp.evaluate.graph import fuzzy_graph
from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.neighbors import find_neighbors
from sclamp.evaluate.resample import resamples

N = 240
RNG = np.random.default_rng(0)
DRAWS = [np.ones(N), *resamples(N, 3, 0, "all")]


@pytest.mark.parametrize("weights", DRAWS)
def test_weighted_spearman_is_that_of_the_drawn_cells(weights: np.ndarray) -> None:
    first, second = RNG.integers(30, size=N).astype(float), RNG.integers(9, size=N).astype(float)
    second += first / 10
    times = weights.astype(int)
    expected = spearmanr(np.repeat(first, times), np.repeat(second, times)).statistic
    assert trajectory.weighted_spearman(first, second).of(weights) == pytest.approx(expected)


@pytest.mark.parametrize("weights", DRAWS)
def test_explained_share_is_that_of_the_drawn_cells(weights: np.ndarray) -> None:
    points, known = RNG.normal(size=(N, 4)) + np.arange(N)[:, None] % 3, RNG.normal(size=(N, 2)) + np.arange(N)[:, None]
    x, c = np.repeat(points, weights.astype(int), axis=0), np.repeat(known, weights.astype(int), axis=0)
    design = np.column_stack([np.ones(len(c)), c])
    residual = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    expected = 1 - np.square(residual).sum() / np.square(x - x.mean(axis=0)).sum()
    assert cell_cycle.explained_share(points, known).of(weights) == pytest.approx(expected, abs=1e-8)


def test_constant_cycle_scores_explain_nothing() -> None:
    assert cell_cycle.explained_share(RNG.normal(size=(20, 3)), np.ones((20, 2))).value == pytest.approx(0)


def test_morans_i_of_a_chessboard_is_lowest_and_of_blocks_high() -> None:
    ring = sparse.csr_matrix(np.roll(np.eye(40), 1, axis=0) + np.roll(np.eye(40), -1, axis=0))
    alternating, halves = np.arange(40) % 2, np.arange(40) < 20
    assert moran.morans_i(ring, alternating[:, None].astype(float)).value == pytest.approx(0)
    assert moran.morans_i(ring, halves[:, None].astype(float)).value == pytest.approx((1 + 0.9) / 2)
    with pytest.raises(NotApplicable, match="none of the variable genes varies"):
        moran.morans_i(ring, np.ones((40, 2)))


def test_shortest_paths_equal_dijkstra_to_everywhere() -> None:
    from scipy.sparse.csgraph import dijkstra

    graph = fuzzy_graph(find_neighbors(RNG.normal(size=(N, 2)), 20), 6)
    sources = np.arange(0, N, 3)
    indices, distances = graph_lisi.path_neighbors(graph, sources, 25)
    everywhere = dijkstra(graph.astype(float), indices=sources)
    everywhere[np.arange(len(sources)), sources] = np.inf
    expected = np.sort(everywhere, axis=1)[:, :25]
    full = np.isfinite(expected[:, -1])
    np.testing.assert_allclose(distances[full], expected[full])
    np.testing.assert_allclose(np.take_along_axis(everywhere, indices, axis=1)[full], expected[full])
    assert (indices[~full] == -1).all()


def test_cells_that_reach_too_few_others_have_a_lisi_of_one() -> None:
    pairs = sparse.csr_matrix(np.kron(np.eye(100), [[0, 1.0], [1, 0]]))
    indices, distances = graph_lisi.path_neighbors(pairs, np.arange(200), 90)
    assert (indices == -1).all()
    np.testing.assert_array_equal(graph_lisi.graph_lisi(indices, distances, np.arange(200) % 2), np.ones(200))


def test_kbet_accepts_mixed_and_rejects_parted_batches() -> None:
    rng = np.random.default_rng(0)
    labels, batches = np.arange(400) % 2, rng.integers(2, size=400)
    for shift, expected in ((0, (0.8, 1)), (3, (0, 0.1))):
        points = rng.normal(size=(400, 4)) + 20 * labels[:, None] + shift * batches[:, None]
        graph = fuzzy_graph(find_neighbors(points, 60), kbet.GRAPH_NEIGHBORS)
        assert expected[0] <= kbet.accepted(graph, labels, batches).mean() <= expected[1]


def test_kbet_of_a_sample_is_that_of_all_for_the_tested_cells() -> None:
    labels, batches = RNG.integers(2, size=400), RNG.integers(3, size=400)
    points = RNG.normal(size=(400, 4)) + 5 * labels[:, None] + (batches == 2)[:, None] * np.array([0.7, 0, 0, 0])
    graph = fuzzy_graph(find_neighbors(points, 60), kbet.GRAPH_NEIGHBORS)
    whole, sample = kbet.accepted(graph, labels, batches), np.arange(0, 400, 3)
    found = kbet.accepted(graph, labels, batches, sample)
    assert 0 < whole.mean() < 1
    np.testing.assert_array_equal(found[sample], whole[sample])
    assert np.isnan(np.delete(found, sample)).all()


def test_kbet_rejects_a_label_in_many_pieces_and_leaves_out_small_ones() -> None:
    blocks = sparse.csr_matrix(np.kron(np.eye(10), np.ones((12, 12)) - np.eye(12)))
    batches = np.arange(120) % 2
    assert (kbet.accepted(blocks, np.zeros(120, int), batches) == 0).all()
    one_large = sparse.block_diag([np.ones((100, 100)) - np.eye(100), np.ones((20, 20)) - np.eye(20)]).tocsr()
    values = kbet.accepted(one_large, np.zeros(120, int), batches)
    assert np.isnan(values[100:]).all() and np.isfinite(values[:100]).all()
    with pytest.raises(NotApplicable, match="no label has two batches and 10 cells"):
        kbet.accepted(blocks, np.arange(120) // 9, batches)


def test_diffusion_maps_do_not_depend_on_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fuzzy_graph(find_neighbors(RNG.normal(size=(N, 3)), 20), 15)
    dense = diffusion.diffusion_map(graph, 12)
    monkeypatch.setattr(diffusion, "DENSE_CELLS", 10)
    found = diffusion.diffusion_map(graph, 12)
    np.testing.assert_allclose(found[0], dense[0], atol=1e-10)
    np.testing.assert_allclose(np.abs(found[1]), np.abs(dense[1]), atol=1e-7)


def test_scgraph_sees_distorted_geometry() -> None:
    rng = np.random.default_rng(0)
    labels, places = np.arange(400) % 4, np.array([0.0, 1, 2, 10])
    agreed = scgraph.consensus(
        {"x": scgraph.relative_distances(np.column_stack([places, 0 * places]))}, ("A", "B", "C", "D")
    )
    for order, low, high in (([0, 1, 2, 3], 0.99, 1), ([0, 3, 2, 1], -1, 0.5)):
        points = np.column_stack([places[order][labels], np.zeros(400)]) + rng.normal(size=(400, 2)) / 50
        assert low <= scgraph.scgraph(points, labels, agreed.labels, agreed) <= high

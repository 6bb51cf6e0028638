"""Shortcuts of the scores give what the long way gives: every pair, every centre, every edge twice."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import igraph
import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

from sclamp.evaluate import clustering, silhouette
from sclamp.evaluate.cells import stratified_sample
from sclamp.evaluate.graph import fuzzy_graph, leiden, network_of
from sclamp.evaluate.neighbors import find_neighbors

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluate"


def drawn(n: int, width: int, groups: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points in groups that overlap."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(groups, size=n)
    return rng.normal(size=(n, width)) + 1.5 * rng.normal(size=(groups, width))[codes], codes


# --- neighbours -----------------------------------------------------------------------------------------------------


def nearest_of_all_pairs(points: np.ndarray, k: int) -> np.ndarray:
    """By distance, then by position, without the cell itself."""
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("n_cells", [40, 700])
def test_neighbours_at_equal_distances_are_ordered_by_position(n_cells: int) -> None:
    """On a grid most distances occur several times; 8 neighbours leave room among the candidates for all of them."""
    rng = np.random.default_rng(3)
    points = rng.permutation(np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), axis=-1).reshape(-1, 2))[:n_cells]
    np.testing.assert_array_equal(find_neighbors(points, 8).indices, nearest_of_all_pairs(points, 8))


def test_neighbours_do_not_depend_on_threads_or_on_how_many_are_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    points = drawn(2500, 12, 5)[0]
    threads, expected = faiss.omp_get_max_threads(), find_neighbors(points, 30)
    np.testing.assert_array_equal(expected.indices, nearest_of_all_pairs(points, 30))
    try:
        for n_threads, ranked in ((1, 7), (2, 2500)):
            faiss.omp_set_num_threads(n_threads)
            monkeypatch.setattr("sclamp.evaluate.neighbors.RANKED", ranked)
            found = find_neighbors(points, 30)
            np.testing.assert_array_equal(found.indices, expected.indices)
            np.testing.assert_array_equal(found.distances, expected.distances)
    finally:
        faiss.omp_set_num_threads(threads)


# --- distances to groups --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 50, 256, 1000])
@pytest.mark.parametrize("groups", [1, 3, 150])
def test_distance_sums_equal_those_of_all_pairs(block: int, groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sclamp.evaluate.silhouette.BLOCK", block)
    points, codes = drawn(301, 4, groups)
    points[7] = points[100]
    points += 1000
    distances = cdist(points, points)
    expected = np.column_stack([distances[:, codes == group].sum(axis=1) for group in range(groups + 2)])
    found = silhouette.group_distance_sums(points, codes, groups + 2)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-3 if groups == 150 else 1e-5)


def test_memory_of_distance_sums_is_that_of_a_few_columns() -> None:
    """The distance matrix of 3000 cells would take 72 MB."""
    points, codes = drawn(3000, 10, 5)
    tracemalloc.start()
    silhouette.group_distance_sums(points, codes, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6


def test_silhouettes_of_a_stratified_sample_are_close_to_those_of_all() -> None:
    points, codes = drawn(6000, 10, 6)
    rows = stratified_sample(codes, 2000, seed=0)
    assert len(rows) == 2000
    exact = silhouette.silhouette_widths(points, codes).mean()
    assert silhouette.silhouette_widths(points[rows], codes[rows]).mean() == pytest.approx(exact, abs=0.01)


# --- k-means --------------------------------------------------------------------------------------------------------


def lloyd(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    """From the same start, every distance in every round."""
    norms = np.square(points).sum(axis=1)
    centres = clustering._spread_start(points, norms, k, np.random.default_rng(seed))
    clusters = None
    for _ in range(clustering.MAX_ROUNDS):
        distances = cdist(points, centres)
        found = distances.argmin(axis=1)
        if clusters is not None and (found == clusters).all():
            break
        clusters = found
        farthest = iter(np.argsort(-distances.min(axis=1), kind="stable"))
        centres = np.array(
            [points[clusters == c].mean(axis=0) if (clusters == c).any() else points[next(farthest)] for c in range(k)]
        )
    return clusters


@pytest.mark.parametrize(
    ("n_cells", "width", "k"), [(900, 3, 8), (1500, 20, 5), (400, 1, 12), (60, 2, 1), (300, 6, 30)]
)
def test_kmeans_equals_lloyds_algorithm(n_cells: int, width: int, k: int) -> None:
    for seed in range(4):
        points = drawn(n_cells, width, k, seed)[0]
        points -= points.mean(axis=0)
        found = clustering.kmeans(points, k, np.random.default_rng(seed))
        np.testing.assert_array_equal(found, lloyd(points, k, seed))


def test_kmeans_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    points = drawn(500, 5, 6)[0]
    whole = clustering.kmeans(points, 6, np.random.default_rng(1))
    monkeypatch.setattr("sclamp.evaluate.clustering.BLOCK", 33)
    np.testing.assert_array_equal(clustering.kmeans(points, 6, np.random.default_rng(1)), whole)


def test_kmeans_gives_no_cluster_up_that_ran_empty() -> None:
    """Two of three centres start at the same place, far from one group."""
    points = np.concatenate([np.zeros((10, 2)), np.full((10, 2), 5.0), np.full((10, 2), 9.0)]) - 14 / 3
    start = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]]) - 14 / 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustering, "_spread_start", lambda *_: start)
        found = clustering.kmeans(points, 3, np.random.default_rng(0))
    assert len({(group, cluster) for group, cluster in zip(np.arange(30) // 10, found, strict=True)}) == 3
    assert len(set(found)) == 3


# --- Leiden ---------------------------------------------------------------------------------------------------------


def as_scib_metrics(graph: sparse.csr_matrix, resolution: float, seed: int) -> np.ndarray:
    """Each edge in both directions, then as an undirected one."""
    network = igraph.Graph.Weighted_Adjacency(graph, mode="directed")
    network.to_undirected(mode="each")
    igraph.set_random_number_generator(random.Random(seed))
    try:
        return np.asarray(network.community_leiden("modularity", weights="weight", resolution=resolution).membership)
    finally:
        igraph.set_random_number_generator(random)


def graphs() -> dict[str, sparse.csr_matrix]:
    """Graphs of several kinds, one of them with many weights of 1."""
    rng = np.random.default_rng(5)
    points = {
        "groups": drawn(1500, 8, 10)[0],
        "no groups": rng.normal(size=(1000, 20)),
        "dense and sparse regions": rng.normal(size=(1000, 2)) ** 3,
        "identical cells": np.repeat(rng.normal(size=(200, 2)), 5, axis=0),
    }
    with np.load(GOLDEN / "pancreas.npz") as stored:
        points["pancreas"] = stored["after"]
    return {name: fuzzy_graph(find_neighbors(values, 20), 15) for name, values in points.items()}


def test_clusters_are_those_of_edges_given_twice() -> None:
    for name, graph in graphs().items():
        network = network_of(graph)
        for resolution in (0.2, 1.0, 2.0):
            for seed in (0, 42):
                found, expected = leiden(network, resolution, seed), as_scib_metrics(graph, resolution, seed)
                np.testing.assert_array_equal(found, expected, err_msg=f"{name}, {resolution}, {seed}")

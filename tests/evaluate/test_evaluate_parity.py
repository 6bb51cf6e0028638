"""Scores against the values of their reference implementations (tests/golden/evaluate/make_golden.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from sclamp.config.evaluate import Evaluate
from sclamp.evaluate import lisi, partitions, pcr, within_labels
from sclamp.evaluate.cells import CellSet, cell_set
from sclamp.evaluate.connectivity import graph_connectivity
from sclamp.evaluate.graph import fuzzy_graph, leiden, network_of
from sclamp.evaluate.neighbors import Neighbors, find_neighbors
from sclamp.evaluate.panel import METRICS, score_cells
from sclamp.evaluate.statistic import mean_over_groups

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluate"
CASES = ("mixed", "apart", "pancreas")
OF_SCIB_METRICS = (
    "silhouette_label", "silhouette_batch", "bras", "isolated_labels_silhouette", "ilisi_knn", "clisi_knn",
    "graph_connectivity_directed", "pcr_comparison", "nmi_leiden", "ari_leiden", "nmi_leiden_best", "ari_leiden_best",
)  # fmt: skip
OF_SCIB = {
    "silhouette_label": "scib_silhouette_label", "silhouette_batch": "scib_silhouette_batch",
    "isolated_labels_silhouette": "scib_isolated_labels_silhouette", "graph_connectivity": "scib_graph_connectivity",
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def golden(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{request.param}.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def cells(golden: dict[str, np.ndarray]) -> CellSet:
    return cell_set(golden["after"], golden["batches"], golden["labels"], golden["before"], 90, Evaluate(seed=42))


@pytest.fixture(scope="module")
def scores(cells: CellSet) -> dict[str, float]:
    return {score.metric: score.value for score in score_cells(lambda: cells)}


def known(golden: dict[str, np.ndarray]) -> Neighbors:
    return Neighbors(golden["neighbors"], golden["distances"])


@pytest.mark.parametrize("metric", OF_SCIB_METRICS)
def test_equals_scib_metrics(metric: str, golden: dict[str, np.ndarray], scores: dict[str, float]) -> None:
    assert scores[metric] == pytest.approx(float(golden[metric]), abs=1e-5)


@pytest.mark.parametrize("metric", OF_SCIB)
def test_equals_scib(metric: str, golden: dict[str, np.ndarray], scores: dict[str, float]) -> None:
    assert scores[metric] == pytest.approx(float(golden[OF_SCIB[metric]]), abs=1e-5)


def test_isolated_f1_equals_scib_on_the_same_clusters(golden: dict[str, np.ndarray], cells: CellSet) -> None:
    clusterings = [golden[f"leiden_{step}"] for step in range(10)]
    found = partitions.isolated_f1(golden["labels"], cells.isolated_labels, clusterings).value
    assert found == pytest.approx(float(golden["isolated_labels_f1"]), abs=1e-5)


def test_neighbours_are_those_of_all_pairs(golden: dict[str, np.ndarray], cells: CellSet) -> None:
    np.testing.assert_array_equal(cells.neighbors.indices, golden["neighbors"])
    np.testing.assert_allclose(cells.neighbors.distances, golden["distances"], rtol=1e-6)


@pytest.mark.parametrize("groups", ["batches", "labels"])
def test_lisi_of_each_cell_equals_scib_metrics(groups: str, golden: dict[str, np.ndarray]) -> None:
    weights = lisi.neighbor_weights(golden["distances"], 30)
    ours = lisi.lisi(weights, golden["neighbors"], golden[groups])
    # The reference stops its search for the bandwidth in float32, up to 1e-5 away in entropy.
    np.testing.assert_allclose(ours, golden[f"lisi_{groups}"], atol=2e-4)
    assert np.median(np.abs(ours - golden[f"lisi_{groups}"])) < 1e-5


def test_fuzzy_graph_equals_umap_learn(golden: dict[str, np.ndarray]) -> None:
    ours = fuzzy_graph(known(golden), 15)
    shape = ours.shape
    theirs = sparse.csr_matrix((golden["fuzzy_weight"], (golden["fuzzy_row"], golden["fuzzy_col"])), shape=shape)
    assert ours.nnz == theirs.nnz
    assert abs(ours - theirs).max() < 1e-5
    assert abs(ours - ours.T).max() == 0


def test_fuzzy_graph_equals_scanpys_neighbors() -> None:
    """From the same points: scanpy searches the neighbours itself."""
    with np.load(GOLDEN / "pancreas.npz") as stored:
        ours = fuzzy_graph(find_neighbors(stored["after"], 20), 15)
        theirs = (stored["scanpy_weight"], (stored["scanpy_row"], stored["scanpy_col"]))
        assert abs(ours - sparse.csr_matrix(theirs, shape=ours.shape)).max() < 1e-4


def test_leiden_is_as_good_as_scanpys(golden: dict[str, np.ndarray]) -> None:
    """Same objective: only the random numbers differ."""
    network = network_of(fuzzy_graph(known(golden), 15))
    for step in (1, 4, 9):
        resolution = 0.2 * (step + 1)
        ours = network.modularity(leiden(network, resolution, 0), weights="weight", resolution=resolution)
        theirs = network.modularity(golden[f"leiden_{step}"], weights="weight", resolution=resolution)
        assert ours == pytest.approx(theirs, abs=0.01)


def test_directed_connectivity_is_not_scibs(golden: dict[str, np.ndarray], scores: dict[str, float]) -> None:
    """The two definitions bear two names because their values differ."""
    assert scores["graph_connectivity_directed"] <= scores["graph_connectivity"]


def test_every_metric_of_the_panel_that_asks_for_an_embedding_only_has_a_value(scores: dict[str, float]) -> None:
    assert {m.name for m in METRICS} | {"bio", "batch", "total"} == set(scores)
    of_expression = {"cell_cycle", "trajectory", "morans_i", "scgraph"}
    assert {name for name, value in scores.items() if not np.isfinite(value)} == of_expression


def test_scib_metrics_is_wrong_where_no_label_is_isolated(golden: dict[str, np.ndarray]) -> None:
    """scib-metrics then averages over all labels; scib finds none, and so do we."""
    everywhere = np.isin(
        golden["labels"], [label for label in np.unique(golden["labels"]) if _batches_of(golden, label) == 3]
    )
    cells = cell_set(golden["after"][everywhere], golden["batches"][everywhere], golden["labels"][everywhere], None,
                     90, Evaluate())  # fmt: skip
    found = {score.metric: score for score in score_cells(lambda: cells)}["isolated_labels_silhouette"]
    assert (found.status, found.reason) == ("not_applicable", "every label is in all 3 batches")


def _batches_of(golden: dict[str, np.ndarray], label: int) -> int:
    return len(np.unique(golden["batches"][golden["labels"] == label]))


def test_bras_and_pcr_agree_with_their_definitions(golden: dict[str, np.ndarray]) -> None:
    """The shortcuts (sums instead of pairs, traces instead of components) against the definitions, spelt out."""
    points, labels, batches = golden["after"].astype(float), golden["labels"], golden["batches"]
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    means = []
    for label in np.unique(labels):
        x, b = directions[labels == label], batches[labels == label]
        if not 1 < len(np.unique(b)) < len(b):
            continue
        distance = 1 - x @ x.T
        np.fill_diagonal(distance, 0)
        widths = []
        for i in range(len(x)):
            own = (b == b[i]) & (np.arange(len(x)) != i)
            within, between = (distance[i, own].mean() if own.any() else np.nan), distance[i, b != b[i]].mean()
            widths.append((between - within) / max(within, between) if own.any() else 0.0)
        means.append(np.mean(1 - np.abs(widths)))
    ours = mean_over_groups(within_labels.bras_mixing(points, labels, batches), labels).value
    assert ours == pytest.approx(np.mean(means), abs=1e-10)

    centred = points - points.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    components = left * singular
    design = np.eye(3)[batches]
    residual = components - design @ np.linalg.lstsq(design, components, rcond=None)[0]
    r2 = 1 - np.square(residual).sum(axis=0) / np.square(components).sum(axis=0)
    share = (r2 * singular**2).sum() / (singular**2).sum()
    assert pcr.batch_variance_share(points, batches) == pytest.approx(share, abs=1e-10)


def test_connectivity_of_a_chain_and_two_pieces() -> None:
    chain = sparse.csr_matrix(([1.0, 1.0], ([0, 1], [1, 2])), shape=(4, 4))
    labels = np.array([0, 0, 0, 0])
    assert graph_connectivity(chain + chain.T, labels).value == 0.75
    assert graph_connectivity(chain.tocsr(), labels).value == 0.25  # no strong component has two nodes


@pytest.mark.slow
def test_golden_values_are_what_the_references_say(tmp_path: Path) -> None:
    pytest.importorskip("scib_metrics")
    subprocess.run([sys.executable, "-W", "ignore", GOLDEN / "make_golden.py", tmp_path], check=True, timeout=900)
    for case in CASES:
        with np.load(GOLDEN / f"{case}.npz") as stored, np.load(tmp_path / f"{case}.npz") as anew:
            assert sorted(stored) == sorted(anew)
            for name in stored:
                np.testing.assert_allclose(anew[name], stored[name], atol=1e-5, err_msg=f"{case}: {name}")

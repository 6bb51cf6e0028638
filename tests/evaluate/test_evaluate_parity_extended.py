"""Scores beyond the standard panel against their references (tests/golden/evaluate/make_golden_extended.py)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sclamp.evaluate import cell_cycle, graph_lisi, kbet, lisi, moran, scgraph, trajectory
from sclamp.evaluate.graph import fuzzy_graph
from sclamp.evaluate.neighbors import Neighbors, find_neighbors
from sclamp.evaluate.statistic import mean_over_groups

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluate"
CASES = ("mixed", "apart", "pancreas")


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{request.param}.npz") as inputs, np.load(GOLDEN / "graphs.npz") as stored:
        of_case = {k.removeprefix(f"{request.param}_"): stored[k] for k in stored if k.startswith(f"{request.param}_")}
        return {**inputs, **of_case}


@pytest.fixture(scope="module")
def expression() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "expression.npz") as stored:
        return dict(stored)


def known(case: dict[str, np.ndarray]) -> Neighbors:
    return Neighbors(case["neighbors"], case["distances"])


def lognormal(case: dict[str, np.ndarray]) -> np.ndarray:
    counts = case["counts"].astype(float)
    return np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)


def test_the_test_of_kbet_equals_scib_metrics(case: dict[str, np.ndarray]) -> None:
    """On the same neighbours; theirs is in single precision."""
    itself = np.arange(len(case["neighbors"]))[:, None]
    near = np.hstack([itself, case["neighbors"][:, : kbet.GRAPH_NEIGHBORS - 1]])
    found = kbet.p_values(case["batches"][near], case["batches"])
    np.testing.assert_allclose(found, case["kbet_p"], atol=1e-5)
    assert (found >= 0.05).mean() == pytest.approx(float(case["kbet_rate"]), abs=1e-5)


def test_kbet_equals_scib_metrics_label_by_label(case: dict[str, np.ndarray]) -> None:
    accepted = kbet.accepted(fuzzy_graph(known(case), kbet.GRAPH_NEIGHBORS), case["labels"], case["batches"])
    ours = []
    for label in np.unique(case["labels"]):
        values = accepted[case["labels"] == label]
        ours.append(np.nan if np.isnan(values).all() else np.nanmean(values))
    np.testing.assert_allclose(ours, case["kbet_alone"], atol=1e-5)
    score = mean_over_groups(accepted, case["labels"]).value
    assert score == pytest.approx(np.nanmean(case["kbet_alone"]), abs=1e-5)


def test_kbet_of_scib_metrics_depends_on_the_order_of_labels() -> None:
    """A small label cuts the diffusion components of the labels after it; alone, each label scores as ours."""
    with np.load(GOLDEN / "graphs.npz") as stored:
        whole = {name: float(stored[f"{name}_kbet"]) for name in CASES}
        alone = {name: float(np.nanmean(stored[f"{name}_kbet_alone"])) for name in CASES}
    for without_small_labels in ("mixed", "apart"):
        assert whole[without_small_labels] == pytest.approx(alone[without_small_labels], abs=1e-5)
    assert abs(whole["pancreas"] - alone["pancreas"]) > 1e-3  # labels of a few dozen cells come before larger ones


@pytest.mark.parametrize("groups", ["batches", "labels"])
def test_graph_lisi_equals_scib(groups: str, case: dict[str, np.ndarray]) -> None:
    everything = np.arange(len(case["labels"]))
    near = graph_lisi.path_neighbors(fuzzy_graph(known(case), 15), everything, graph_lisi.NEIGHBORS)
    values, theirs = graph_lisi.graph_lisi(*near, case[groups]), case[f"graph_lisi_{groups}"]
    np.testing.assert_allclose(values, theirs, atol=5e-5)  # scib hands distances over as text of six digits
    n_groups = len(np.unique(case[groups]))
    for scale in (lisi.scaled_ilisi, lisi.scaled_clisi):
        assert scale(float(np.median(values)), n_groups) == pytest.approx(
            scale(float(np.median(theirs)), n_groups), abs=1e-5
        )


def test_trajectory_equals_scib(case: dict[str, np.ndarray]) -> None:
    found = trajectory.trajectory_conservation(fuzzy_graph(known(case), 15), case["labels"], case["pseudotime"])
    assert found.value == pytest.approx(float(case["trajectory"]), abs=1e-5)


def test_one_of_the_trajectories_is_there() -> None:
    with np.load(GOLDEN / "graphs.npz") as stored:
        assert stored["mixed_trajectory"] > 0.1


def test_cell_cycle_scores_equal_scanpys(expression: dict[str, np.ndarray]) -> None:
    values, genes = lognormal(expression), cell_cycle.find_cycle_genes(expression["symbols"])
    assert (genes.organism, len(genes.s), len(genes.g2m), genes.reason) == ("mouse", 43, 54, "")
    for batch in range(2):
        rows = expression["batches"] == batch
        for phase, members in enumerate((genes.s, genes.g2m)):
            weights = cell_cycle.score_weights(values[rows].mean(axis=0), members, 43)
            np.testing.assert_allclose(values[rows] @ weights, expression["cycle"][rows, phase], atol=1e-10)


def test_cell_cycle_conservation_equals_scib(expression: dict[str, np.ndarray]) -> None:
    points, batches = expression["embedding"].astype(float), expression["batches"]
    for batch in range(2):
        rows = batches == batch
        after = cell_cycle.explained_share(points[rows], expression["cycle"][rows]).value
        assert after == pytest.approx(expression["after"][batch], abs=1e-5)
    before = {"x": float(expression["before"][0]), "y": float(expression["before"][1])}
    found = cell_cycle.conservation(points, expression["cycle"], batches, ("x", "y"), before)
    assert found.value == pytest.approx(float(expression["cell_cycle"]), abs=1e-5)


def test_morans_i_equals_scanpys(expression: dict[str, np.ndarray]) -> None:
    graph = fuzzy_graph(find_neighbors(expression["embedding"], 90), 15)
    found = moran.morans_i(graph, lognormal(expression)).value
    assert found == pytest.approx((expression["morans"].mean() + 1) / 2, abs=1e-5)


def test_scgraph_equals_scgraph_eval(expression: dict[str, np.ndarray]) -> None:
    values, labels, batches = lognormal(expression), expression["labels"], expression["batches"]
    names = ("a", "b", "c", "d")
    distances = {}
    for batch in ("0", "1"):
        rows = batches == int(batch)
        centred = values[rows] - values[rows].mean(axis=0)
        left, singular, _ = np.linalg.svd(centred, full_matrices=False)
        means = scgraph.trimmed_means((left * singular)[:, :10], labels[rows], 4)
        distances[batch] = scgraph.relative_distances(means)
    agreed = scgraph.consensus(distances, names)
    found = scgraph.scgraph(expression["embedding"].astype(float), labels, names, agreed)
    assert found == pytest.approx(float(expression["scgraph"]), abs=1e-5)


@pytest.mark.slow
def test_extended_golden_values_are_what_the_references_say(tmp_path: Path) -> None:
    pytest.importorskip("scib_metrics")
    if shutil.which("g++") is None:
        pytest.skip("scib's search for shortest paths has to be compiled, and there is no g++")
    script = GOLDEN / "make_golden_extended.py"
    subprocess.run([sys.executable, "-W", "ignore", script, tmp_path], check=True, timeout=900)
    for file in ("graphs", "expression"):
        with np.load(GOLDEN / f"{file}.npz") as stored, np.load(tmp_path / f"{file}.npz") as anew:
            assert sorted(stored) == sorted(anew)
            for name in stored:
                if stored[name].dtype.kind == "U":
                    np.testing.assert_array_equal(anew[name], stored[name])
                else:
                    np.testing.assert_allclose(anew[name], stored[name], atol=1e-5, err_msg=name)

"""What validation notes of the embedding: numbers by hand and by other packages, no trace in the trained model."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from sclamp.evaluate.measure import Unscorable
from sclamp.train import monitor as module
from sclamp.train.monitor import Monitor, batch_silhouette, error_distance, ontology_spearman

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_model.py"
VAE = {"mode": "beta_vae", "latent_dim": 4, "hidden_dims": [16], "max_epochs": 4, "batch_size": 32, "device": "cpu"}
TERMS = ("B cell", "T cell", "monocyte")
NAMES = ("ontology_spearman", "batch_silhouette", "classifier_accuracy", "classifier_error_distance")


@pytest.fixture
def counts(tiny_counts: Callable[..., Path]) -> Callable[..., Path]:
    """Factory of the tiny counts file with other names of its three labels."""

    def make(terms: tuple[str, ...] = TERMS, **more: Any) -> Path:
        path = tiny_counts(**more)
        with h5py.File(path, "r+") as file:
            file["obs/label/categories"][...] = list(terms)
            stored = json.loads(file["uns/sclamp"][()])
            stored["spec"]["labels"] = sorted(terms)
            del file["uns/sclamp"]
            file["uns/sclamp"] = json.dumps(stored)
            file["uns/sclamp"].attrs.update({"encoding-type": "string", "encoding-version": "0.2.0"})
        return path

    return make


def watched(labels: list[int], batches: list[int], names: tuple[str, ...] = TERMS) -> Monitor:
    """A monitor of all cells with these codes."""
    inputs = SimpleNamespace(label=np.array(labels), batch=np.array(batches))
    return Monitor(SimpleNamespace(inputs=inputs), np.arange(len(labels)), names)  # type: ignore[arg-type]


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_spearman_with_equal_sizes_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    centroids, labels = rng.normal(size=(6, 3)), np.repeat(np.arange(6), 4)
    noise = rng.normal(size=(3, 6, 3))
    points = (centroids[None] + np.concatenate([noise, -noise.sum(0, keepdims=True)])).transpose(1, 0, 2).reshape(24, 3)
    steps = rng.integers(1, 5, (6, 6)).astype(float)
    steps = np.maximum(steps, steps.T)
    pairs = np.triu_indices(6, 1)
    gaps = np.linalg.norm(centroids[pairs[0]] - centroids[pairs[1]], axis=1)
    assert ontology_spearman(points, labels, steps) == pytest.approx(spearmanr(gaps, steps[pairs]).statistic)
    steps[0, 1:] = steps[1:, 0] = np.inf  # pairs without a path do not count
    finite = np.isfinite(steps[pairs])
    assert ontology_spearman(points, labels, steps) == pytest.approx(
        spearmanr(gaps[finite], steps[pairs][finite]).statistic
    )


def test_spearman_weights_pairs_by_both_numbers_of_cells() -> None:
    """On a line: a pair of labels counts as often as there are pairs of cells."""
    at, sizes = np.array([0.0, 1.0, 5.0]), [1, 2, 3]
    labels = np.repeat(np.arange(3), sizes)
    steps = np.array([[0, 4, 3], [4, 0, 2], [3, 2, 0]], float)
    found = ontology_spearman(at[labels][:, None], labels, steps)
    gaps, apart = np.array([1, 3, 2]), np.array([3, 2, 1])  # ranks of the pairs 01, 02, 12
    times = [sizes[0] * sizes[1], sizes[0] * sizes[2], sizes[1] * sizes[2]]
    assert found == pytest.approx(np.corrcoef(np.repeat(gaps, times), np.repeat(apart, times))[0, 1])


def test_silhouette_by_hand() -> None:
    """Batches at 0 (spread 1, 2 cells), 4 (spread 1, 2 cells) and 10 (spread 0, 4 cells) on a line."""
    points = np.array([-1.0, 1, 3, 5, 10, 10, 10, 10])[:, None]
    batches = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    assert batch_silhouette(points, batches) == pytest.approx((2 * 3 / 4 + 2 * 3 / 4 + 4 * 1) / 8)
    assert batch_silhouette(np.zeros((8, 2)), batches) == 0
    mixed = np.random.default_rng(0).normal(size=(4000, 5))
    assert batch_silhouette(mixed, np.arange(4000) % 2) < -0.9


def test_distance_of_errors_counts_errors_at_a_finite_distance() -> None:
    steps = np.array([[0, 2, np.inf], [2, 0, 6], [np.inf, 6, 0]])
    assert error_distance(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 1]), steps) == 4
    assert np.isnan(error_distance(np.array([0]), np.array([2]), steps))


def test_the_classifier_learns_from_half_of_each_label_and_is_tested_on_the_other() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    labels[:6] = -1  # unlabelled cells have no part in it
    points = rng.normal(size=(90, 4)) + 1.2 * np.eye(4)[labels]
    first = np.zeros(90, bool)
    for label in range(3):
        first[np.flatnonzero(labels == label)[::2]] = True
    second = (labels >= 0) & ~first
    mean, std = points[first].mean(0), points[first].std(0)
    fitted = linear_model.LogisticRegression(tol=1e-8, max_iter=5000).fit((points[first] - mean) / std, labels[first])
    guess = fitted.predict((points[second] - mean) / std)
    seen = watched(labels.tolist(), [0] * 45 + [1] * 45)
    found = seen.of(points)
    assert found["classifier_accuracy"] == pytest.approx((guess == labels[second]).mean())
    steps = np.array([[0, 3, 5], [3, 0, 4], [5, 4, 0]])  # B (2 below lymphocyte), T (1), monocyte
    assert np.array_equal(seen._distances, steps)
    wrong = guess != labels[second]
    assert wrong.any()
    assert found["classifier_error_distance"] == pytest.approx(steps[labels[second], guess][wrong].mean())


def test_many_cells_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PROBED", 100)
    seen = watched(list(np.arange(1000) % 2), [0] * 1000)
    used = np.sort(np.concatenate([seen._first, seen._second]))
    assert len(used) == 100 and used[0] == 0 and used[-1] == 999 and np.diff(used).max() <= 11


def test_what_these_cells_cannot_have_is_left_out_with_a_reason() -> None:
    seen = watched([0, 1, 0, 1], [0, 0, 0, -1], ("alpha", "T cell"))
    assert seen.names == ("classifier_accuracy",)
    assert list(seen.left_out) == ["ontology_spearman", "batch_silhouette", "classifier_error_distance"]
    said: list[str] = []
    seen.tell(said.append)
    assert "monitor: label 'alpha': no term of Cell Ontology" in said[0]
    assert said[1:] == [
        "monitor: ontology_spearman is left out: fewer than two pairs of labels have a distance in the Cell Ontology",
        "monitor: batch_silhouette is left out: fewer than two batches are known",
        "monitor: classifier_error_distance is left out: no two labels have a distance in the Cell Ontology",
    ]
    assert watched([-1, -1], [0, 1]).names == ("batch_silhouette",)
    assert watched([0, 1], [0, 1]).left_out["classifier_accuracy"] == "fewer than two labels have enough cells"


def test_an_embedding_without_meaning_gives_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched([0, 1, 2] * 4, [0, 1] * 6)
    assert seen.names == NAMES
    points = np.random.default_rng(0).normal(size=(12, 2))
    assert np.isfinite(list(seen.of(points).values())).all()
    points[3, 1] = np.nan
    assert np.isnan(list(seen.of(points).values())).all()

    def fails(*_: Any) -> Any:
        raise Unscorable("no")

    monkeypatch.setattr(module, "fit_probe", fails)
    found = seen.of(np.nan_to_num(points))
    assert np.isnan([found["classifier_accuracy"], found["classifier_error_distance"]]).all()
    assert np.isfinite(found["batch_silhouette"])


# --- in training ------------------------------------------------------------------------------------------------------


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Any]:
    """Train into a folder; returns the history and what was said."""

    def call(path: Path, folder: str, **changed: Any) -> tuple[pd.DataFrame, str]:
        out = tmp_path / folder
        arguments = ["--counts", path, "--settings", json.dumps({**VAE, **changed}), "--seed", 1, "--model",
                     out / "model.pt", "--history", out / "history.parquet"]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["train_model.py", *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return pq.read_table(out / "history.parquet").to_pandas(), capfd.readouterr().err

    return call


def states(tmp_path: Path, *folders: str) -> list[dict[str, np.ndarray]]:
    import torch

    return [
        {
            name: value.numpy()
            for name, value in torch.load(tmp_path / f / "model.pt", weights_only=True)["state"].items()
        }
        for f in folders
    ]


def test_monitoring_changes_no_bit_and_fills_the_history(
    counts: Callable[..., Path], train: Callable[..., Any], tmp_path: Path
) -> None:
    path = counts(n_cells=300)
    plain, _ = train(path, "plain", validate_every=2, input_dropout=0.1)
    seen, said = train(path, "seen", validate_every=2, input_dropout=0.1, monitor=True)
    columns = [f"val_{name}" for name in NAMES]
    assert set(seen.columns) - set(plain.columns) == set(columns)
    assert seen[list(plain.columns)].equals(plain)
    assert seen[columns[:3]].notna().all(axis=1).tolist() == [False, True, False, True]
    assert seen["val_classifier_accuracy"].max() <= 1
    assert "left out" not in said
    one, other = states(tmp_path, "plain", "seen")
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_labels_that_the_ontology_does_not_know_are_no_error(
    tiny_counts: Callable[..., Path], train: Callable[..., Any]
) -> None:
    history, said = train(tiny_counts(), "run", monitor=True)
    assert "monitor: label 'alpha': no term of Cell Ontology" in said
    assert {c for c in history if c.removeprefix("val_") in NAMES} == {
        "val_batch_silhouette",
        "val_classifier_accuracy",
    }


def test_two_processes_monitor_without_waiting_for_each_other(counts: Callable[..., Path], tmp_path: Path) -> None:
    """The first process looks, alone; the other goes on and waits where it would have waited anyway."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
        "--master-port", str(port), str(SCRIPT), "--counts", str(counts()), "--settings",
        json.dumps({**VAE, "max_epochs": 2, "monitor": True}), "--seed", "1", "--model", str(tmp_path / "model.pt"),
        "--history", str(tmp_path / "history.parquet"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(launch, capture_output=True, text=True, timeout=180, env=environment)
    assert done.returncode == 0, done.stderr
    history = pq.read_table(tmp_path / "history.parquet").to_pandas()
    assert history[[f"val_{name}" for name in NAMES[:3]]].notna().all(axis=None)

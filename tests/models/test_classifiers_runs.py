"""Classifiers from the command line: what train_model.py reads, writes and refuses."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sclamp.config.classifiers import LogisticRegressionSettings
from sclamp.core.errors import UserError
from sclamp.core.files import write_embedding
from sclamp.data.batches import Batches
from sclamp.data.inputs import describe, read_cell_embedding, read_inputs
from sclamp.models.logistic_regression import LogisticRegression
from sclamp.train.checkpoint import load_model
from sclamp.types import Progress

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL = {"max_epochs": 3, "batch_size": 32, "device": "cpu"}
REGRESSION = {"mode": "logistic_regression", **SMALL}
PROBE = {**REGRESSION, "embedding_of": "pca"}
SOCAM = {"mode": "socam", **SMALL}
IDS = [f"cell{i}" for i in range(120)]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Any]:
    """Train on a counts file; returns the exit status and what was said on stderr."""

    def call(settings: dict[str, Any], counts: Path, *more: object, folder: str = "run") -> tuple[int, str]:
        paths = ["--model", tmp_path / folder / "model.pt", "--history", tmp_path / folder / "history.parquet"]
        arguments = ["--counts", counts, "--settings", json.dumps(settings), *paths, *more]
        monkeypatch.setattr(sys, "argv", ["train_model.py", *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(SCRIPTS / "train_model.py"), run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
        return status, capfd.readouterr().err

    return call


@pytest.fixture
def embedding(tmp_path: Path) -> Callable[..., Path]:
    """Factory of an embedding (cells, 5) whose dimensions have means and deviations of their own."""

    def make(ids: list[str], name: str = "cell_embedding.parquet", constant: bool = False) -> Path:
        points = {cell: np.random.default_rng(i).normal(3, 10.0 ** np.arange(-2, 3)) for i, cell in enumerate(IDS)}
        matrix = np.array([points[cell] for cell in ids], np.float32)
        if constant:
            matrix[:, 0] = 4
        write_embedding(tmp_path / name, "cell_id", ids, matrix, {})
        return tmp_path / name

    return make


def relabelled(path: Path, labels: list[str], codes: Any = None) -> Path:
    """The counts file with other names of its labels, and with other labels of its cells (-1: none)."""
    with h5py.File(path, "r+") as file:
        stored = json.loads(file["uns/sclamp"][()])
        stored["spec"]["labels"] = labels
        file["uns/sclamp"][()] = json.dumps(stored)
        if "label" in file["obs"]:
            del file["obs/label/categories"]
            file["obs/label/categories"] = np.array(labels, dtype=h5py.string_dtype())
            file["obs/label/categories"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
            if codes is not None:
                file["obs/label/codes"][:] = codes
    return path


def test_a_probe_reads_the_embedding_by_cell_and_standardises_it(train, tiny_counts, embedding, tmp_path):
    counts, table = tiny_counts(), embedding(IDS[::-1], constant=True)
    status, said = train(PROBE, counts, "--embedding", table)
    assert status == 0, said
    model = load_model(tmp_path / "run" / "model.pt").model
    inputs = read_inputs(counts, model.data)
    points = read_cell_embedding(table, inputs.cell_ids)
    teach = points[inputs.rows("train")].astype(np.float64)
    assert model.data.embedding_width == 5
    assert model.embedding_mean.numpy() == pytest.approx(teach.mean(0), rel=1e-5)
    assert model.embedding_std[1:].numpy() == pytest.approx(teach.std(0)[1:], rel=1e-5)
    assert float(model.embedding_std[0]) == 1  # a dimension that never changes
    z = model.z_scored(torch.from_numpy(points))[inputs.rows("train")]
    assert z.mean(0).numpy() == pytest.approx(0, abs=1e-4)
    assert model.wants() == {"embedding", "labels"}
    with pytest.raises(UserError, match="the model reads an embedding by another model"):
        Batches(inputs, model.wants(), torch.device("cpu"))
    in_order = embedding(IDS, "in_order.parquet", constant=True)
    train(PROBE, counts, "--embedding", in_order, folder="again")
    again = load_model(tmp_path / "again" / "model.pt").model
    assert torch.equal(again.linear.weight, model.linear.weight)


def test_embeddings_that_are_missing_or_not_wanted(train, tiny_counts, embedding, tmp_path):
    counts = tiny_counts()
    few = embedding(IDS[:100])
    said = train(PROBE, counts, "--embedding", few)[1]
    assert "20 of 120 cells have no embedding, such as 'cell100'; it holds 100 cells, such as 'cell0'. Expected" in said
    status, said = train(PROBE, counts)
    assert status
    assert "embedding_of: the model reads the embedding by 'pca'; give it with --embedding." in said
    assert (
        f"--embedding: {few} was given, but the settings of mode 'logistic_regression' name no model in"
        in (train(REGRESSION, counts, "--embedding", few)[1])
    )
    assert f"embedding: {tmp_path / 'none'}: no such file" in train(PROBE, counts, "--embedding", tmp_path / "none")[1]


def test_labels_that_the_ontology_does_not_know_stop_the_training(train, tiny_counts):
    counts = tiny_counts()
    status, said = train(SOCAM, counts)
    assert status
    assert "label_terms: 3 of 3 labels have no term yet; give each its CL id, or null to leave its cells" in said
    assert "CL:0000173 (pancreatic D cell)" in said or "label 'delta': no term of Cell Ontology" in said
    relabelled(counts, ["CL:0000171", "type B pancreatic cells", "Pancreatic D cell"])
    status, said = train(SOCAM, counts)
    assert status == 0
    assert "\nlabel 'Pancreatic D cell': CL:0000173 (pancreatic D cell)\nmodel: socam on cpu" in said
    assert train({**SOCAM, "label_terms": {"Pancreatic D cell": None}}, counts)[0] == 0


def test_a_dataset_without_labels_is_refused(train, tiny_counts):
    said = train(REGRESSION, relabelled(tiny_counts(), [], -1))[1]
    assert (
        "label: mode 'logistic_regression' learns the labels of cells, and the dataset has no labels; name the" in said
    )


def test_cells_without_a_label_are_left_out_of_the_loss(train, tiny_counts, tmp_path):
    counts = tiny_counts()
    codes = np.arange(120) % 3
    codes[np.random.default_rng(0).random(120) < 0.5] = -1
    relabelled(counts, ["alpha", "beta", "delta"], codes)
    status, said = train(REGRESSION, counts)
    assert status == 0, said
    model = load_model(tmp_path / "run" / "model.pt").model
    inputs = read_inputs(counts, model.data)
    shares = [(inputs.label[inputs.rows(split)] >= 0).mean() for split in ("train", "val")]
    assert 0 < min(shares) < max(shares) < 1
    assert model.labelled_share.numpy() == pytest.approx(np.array(shares), rel=1e-6)
    last = pq.read_table(tmp_path / "run" / "history.parquet").to_pylist()[-1]
    assert 0 <= last["val_accuracy"] <= 1 + 1e-6
    assert last["train_loss"] == pytest.approx(last["train_cross_entropy"] + last["train_prior"], rel=1e-5)


def test_codes_of_labels_do_not_depend_on_the_batch(tiny_counts):
    """The reference codes the categories of each minibatch anew, so that a batch of one type calls it 0."""
    counts = tiny_counts()
    data = describe(counts, {})
    inputs = read_inputs(counts, data)
    batches = Batches(inputs, frozenset({"scaled", "labels"}), torch.device("cpu"))
    model = LogisticRegression(LogisticRegressionSettings(), data)
    with h5py.File(counts) as file:
        names = file["obs/label/categories"].asstr()[:][file["obs/label/codes"][:]]
    for name in ("alpha", "beta", "delta"):
        rows = np.flatnonzero(names == name)
        (batch,) = batches.of([rows])
        assert {data.labels[i] for i in batch.label.tolist()} == {name}
        with torch.no_grad():
            found = float(model.loss(batch, Progress(0, 1))["cross_entropy"])
            wanted = -model.logits(batch).log_softmax(1)[:, data.labels.index(name)].mean()
        assert found == pytest.approx(float(wanted), rel=1e-5)

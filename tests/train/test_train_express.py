"""express_cells.py from the command line: its values are the model's own, wrong requests are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sclamp.core.files import provenance_of
from sclamp.data.batches import Batches
from sclamp.train.apply import measure
from sclamp.train.checkpoint import load_model
from sclamp.train.embed import inputs_of

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SETTINGS = {"mode": "scvi", "latent_dim": 3, "hidden_dims": [8], "max_epochs": 3, "batch_size": 32, "device": "cpu",
            "kl_warmup_epochs": 1}  # fmt: skip


@pytest.fixture
def model(run: Callable[..., Any], tiny_counts: Callable[..., Path], tmp_path: Path) -> Path:
    status, said = run(
        "train_model.py", "--counts", tiny_counts(), "--settings", json.dumps(SETTINGS), "--seed", 1,
        "--model", tmp_path / "model.pt", "--history", tmp_path / "history.parquet",
    )  # fmt: skip
    assert status == 0, said
    return tmp_path / "model.pt"


@pytest.fixture
def express(run: Callable[..., Any], model: Path, tmp_path: Path) -> Callable[..., Any]:
    def call(*more: object, output: str = "out.parquet") -> tuple[int, str]:
        where = ("--model", model, "--counts", tmp_path / "tiny.h5ad", "--output", tmp_path / output)
        return run("express_cells.py", *where, *more)

    return call


def values(path: Path) -> np.ndarray:
    return pq.read_table(path).drop_columns(["cell_id"]).to_pandas().to_numpy()


def test_values_are_the_models_and_batches_average(express: Callable[..., Any], model: Path, tmp_path: Path):
    everything = [f"G{i:04d}" for i in range(60)]
    assert express("--genes", *everything)[0] == 0
    loaded = load_model(model)
    batches = Batches(inputs_of(loaded, tmp_path / "tiny.h5ad"), loaded.model.wants(), torch.device("cpu"))
    with torch.no_grad():
        counts = torch.cat([loaded.model.reconstruct(batch) for batch in batches.batches(None)]).numpy()
    own = values(tmp_path / "out.parquet")
    assert own == pytest.approx(1e4 * counts / counts.sum(1, keepdims=True), rel=1e-4)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["cell_id", *everything]
    assert table["cell_id"].to_pylist() == list(batches.inputs.cell_ids)
    names = loaded.model.data.batches
    for name in names:
        express("--genes", "G0007", "G0003", "--in-batches", name, "--library-size", 1, output=f"{name}.parquet")
    express("--genes", "G0007", "G0003", "--in-all-batches", "--library-size", 1, output="all.parquet")
    single = np.stack([values(tmp_path / f"{name}.parquet") for name in names])
    assert values(tmp_path / "all.parquet") == pytest.approx(single.mean(0), rel=1e-5)
    assert np.abs(single[0] - single[1]).max() > 0
    how = provenance_of(pq.read_table(tmp_path / "all.parquet"))["settings"]
    assert (how["library_size"], how["genes"]) == (1.0, ["G0007", "G0003"])


def test_samples_bring_likelihoods_the_same_each_time(express: Callable[..., Any], tmp_path: Path):
    asked = ("--genes", "G0001", "--samples", 5, "--importance", "--seed", 3)
    for output in ("one.parquet", "two.parquet"):
        assert express(*asked, output=output)[0] == 0
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    table = pq.read_table(tmp_path / "one.parquet")
    assert table.column_names == ["cell_id", "log_likelihood", "G0001"]
    likelihood = table["log_likelihood"].to_numpy()
    assert np.isfinite(likelihood).all()
    assert likelihood.max() < 0
    express("--genes", "G0001", "--samples", 5, "--seed", 3, output="plain.parquet")
    assert not np.allclose(values(tmp_path / "plain.parquet")[:, 1], values(tmp_path / "one.parquet")[:, 1])


def test_apply_tells_elbo_and_likelihood_of_held_out_cells(model: Path, tmp_path: Path):
    loaded = load_model(model)
    batches = Batches(inputs_of(loaded, tmp_path / "tiny.h5ad"), loaded.model.wants(), torch.device("cpu"))
    numbers = {number.name: number.value for number in measure(loaded.model, batches, "test", 0)}
    assert numbers["elbo"] < numbers["log_likelihood"] < 0
    assert numbers["elbo"] == pytest.approx(-numbers["loss"], rel=0.1)  # the loss is taken at posterior means


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--genes", "G0001", "G99"), "gene of the model 'G99'"),
        (("--genes", "G0001", "--in-batches", "nowhere"), "batch 'nowhere'"),
        (("--genes", "G0001", "--importance"), "importance weights are of samples; found 0 samples"),
        (("--genes", "G0001", "--samples", -1), "--samples -1, --library-size 10000.0: expected 0 or more"),
        (("--genes", "G0001", "--settings", '{"batch": "x"}'), "--settings: says how to read --data"),
    ],
)
def test_wrong_requests(express: Callable[..., Any], tmp_path: Path, arguments: tuple[object, ...], message: str):
    status, said = express(*arguments)
    assert status != 0
    assert message in said
    assert not (tmp_path / "out.parquet").exists()


def test_a_model_without_counts_is_refused(run: Callable[..., Any], tiny_counts: Callable[..., Path], tmp_path: Path):
    counts = tiny_counts()
    run(
        "train_model.py", "--counts", counts, "--settings", '{"mode": "pca", "latent_dim": 3}', "--seed", 1,
        "--model", tmp_path / "pca.pt", "--history", tmp_path / "pca.parquet",
    )  # fmt: skip
    status, said = run(
        "express_cells.py", "--model", tmp_path / "pca.pt", "--counts", counts, "--genes", "G0001",
        "--output", tmp_path / "out.parquet",
    )  # fmt: skip
    assert status != 0
    assert "mode 'pca' has no counts to expect; expected a model of counts" in said

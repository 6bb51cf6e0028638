"""apply_model.py from the command line: predictions, numbers about held-out cells, new cells, wrong requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from sclamp.core.files import provenance_of, read_embedding
from sclamp.data.batches import Batches
from sclamp.models.scilama import BetaVAE
from sclamp.train import apply
from sclamp.train.checkpoint import load_model
from sclamp.train.embed import inputs_of
from sclamp.types import Progress

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
VAE = {"mode": "beta_vae", "latent_dim": 4, "hidden_dims": [16], "max_epochs": 4, "batch_size": 32, "device": "cpu",
       "epochs_before_beta_warmup": 0, "beta_warmup_rate": 0.0}  # fmt: skip
LOGISTIC = {"mode": "logistic_regression", "max_epochs": 4, "batch_size": 32, "device": "cpu"}


@pytest.fixture
def train(run: Callable[..., Any], tiny_counts: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Train into tmp_path/NAME.pt, on tmp_path/tiny.h5ad."""

    def call(settings: dict[str, Any], *more: object, name: str = "model", **counts: Any) -> Path:
        status, said = run(
            "train_model.py", "--counts", tiny_counts(**counts), "--settings", json.dumps(settings), "--seed", 1,
            "--model", tmp_path / f"{name}.pt", "--history", tmp_path / f"{name}.history.parquet", *more,
        )  # fmt: skip
        assert status == 0, said
        return tmp_path / f"{name}.pt"

    return call


@pytest.fixture
def applied(run: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Run apply_model.py and read what it wrote; with `fails`, what it said."""

    def call(task: str, *more: object, fails: bool = False, model: str = "model", counts: bool = True) -> Any:
        own = ("--counts", tmp_path / "tiny.h5ad") if counts else ()
        out = tmp_path / "out.parquet"
        status, said = run(
            "apply_model.py", "--task", task, "--model", tmp_path / f"{model}.pt", *own, "--output", out, *more
        )
        if fails:
            assert status != 0 and "Traceback" not in said
            return said
        assert status == 0, said
        return pq.read_table(out)

    return call


# --- predict ----------------------------------------------------------------------------------------------------------


def test_a_model_of_cells_predicts_their_embedding(
    train: Callable[..., Path], applied: Callable[..., Any], run: Callable[..., Any], tmp_path: Path
) -> None:
    model = train(VAE)
    table = applied("predict")
    assert table.column_names == ["cell_id", "split", "embedding"]
    assert pa.types.is_fixed_size_list(table.schema.field("embedding").type)
    file = anndata.read_h5ad(tmp_path / "tiny.h5ad")
    assert table["cell_id"].to_pylist() == list(file.obs_names)
    assert table["split"].to_pylist() == file.obs["split"].tolist()
    out = tmp_path / "cells.parquet"
    rest = ("--genes", tmp_path / "g.parquet", "--reconstruction", tmp_path / "r.parquet")
    run("export_embeddings.py", "--model", model, "--counts", tmp_path / "tiny.h5ad", "--cells", out, *rest)
    assert np.array_equal(read_embedding(tmp_path / "out.parquet", "cell_id")[1], read_embedding(out, "cell_id")[1])
    first = (tmp_path / "out.parquet").read_bytes()
    applied("predict")
    assert (tmp_path / "out.parquet").read_bytes() == first
    origin = provenance_of(table)
    assert origin["settings"] == {"task": "predict", "seed": 0}
    assert set(origin["inputs"]) == {"model.pt", "tiny.h5ad"}


def test_a_classifier_names_labels_and_probabilities(train: Callable[..., Path], applied: Callable[..., Any]) -> None:
    train(LOGISTIC)
    table = applied("predict").to_pandas()
    names = ["alpha", "beta", "delta"]
    probabilities = table[[f"probability:{name}" for name in names]].to_numpy()
    assert probabilities.sum(1) == pytest.approx(np.ones(len(table)), abs=1e-5)
    assert table["label"].tolist() == [names[i] for i in probabilities.argmax(1)]
    order = np.argsort(-probabilities, axis=1)
    assert [list(row) for row in table["top_label"]] == [[names[i] for i in row] for row in order]


def test_every_kind_of_result_has_its_columns(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Classes of the labels and of other names, none of them, numbers with and without names, truth values."""
    loaded = load_model(train(VAE))

    def says(self: Any, batch: Any) -> dict[str, torch.Tensor]:
        n = len(batch)
        return {
            "label": torch.arange(n) % 4 - 1,
            "term": torch.arange(n) % 2,
            "top": torch.stack([torch.arange(n) % 3, torch.full((n,), -1)], 1),
            "sure": torch.linspace(0, 1, n).double(),
            "odds": torch.ones(n, 2).to(torch.bfloat16),
            "vector": torch.zeros(n, 3),
            "odd": torch.arange(n) % 2 == 1,
        }

    monkeypatch.setattr(BetaVAE, "predict", says)
    monkeypatch.setattr(BetaVAE, "prediction_columns", lambda self: {"term": ("x", "y"), "odds": ("x", "y")})
    inputs = inputs_of(loaded, tmp_path / "tiny.h5ad")
    table = apply.predict(loaded.model, Batches(inputs, loaded.model.wants(), torch.device("cpu")))
    assert table.column_names == [
        "cell_id", "split", "label", "term", "top", "sure", "odds:x", "odds:y", "vector", "odd",
    ]  # fmt: skip
    (row,) = table.slice(2, 1).to_pylist()
    assert {k: row[k] for k in ("label", "term", "top")} == {"label": "beta", "term": "x", "top": ["delta", None]}
    assert table["label"][0].as_py() is None
    assert str(table.schema.field("sure").type) == "float" and str(table.schema.field("odds:y").type) == "float"
    assert row["vector"] == [0.0] * 3 and row["odd"] is False


# --- validate and test ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [VAE, LOGISTIC], ids=["beta_vae", "logistic_regression"])
def test_validation_repeats_what_training_saw(
    train: Callable[..., Path], applied: Callable[..., Any], tmp_path: Path, settings: dict[str, Any]
) -> None:
    train({**settings, "monitor": True})
    table = applied("validate").to_pandas()
    history = pq.read_table(tmp_path / "model.history.parquet").to_pandas()
    (best,) = history[history["is_best"]].to_dict("records")
    values = table.dropna(subset=["value"]).set_index("name")["value"]
    noted = {name.removeprefix("val_"): value for name, value in best.items() if name.startswith("val_")}
    assert set(values.index) == set(noted)
    assert "loss" in noted and "batch_silhouette" in noted
    assert values[list(noted)].to_numpy() == pytest.approx(np.array(list(noted.values())), rel=1e-5, abs=1e-6)
    assert set(table["split"]) == {"val"} and set(table["cells"]) == {12}
    reasons = table[table["value"].isna()].set_index("name")["reason"]
    assert "labels have a distance in the Cell Ontology" in reasons["ontology_spearman"]
    assert (table["reason"] == "").tolist() == table["value"].notna().tolist()


def test_the_test_cells_have_the_loss_of_all_of_them(
    train: Callable[..., Path], applied: Callable[..., Any], tmp_path: Path
) -> None:
    loaded = load_model(train(VAE))
    table = applied("test").to_pandas().set_index("name")
    assert set(table["split"]) == {"test"} and set(table["cells"]) == {24}
    inputs = inputs_of(loaded, tmp_path / "tiny.h5ad")
    (batch,) = Batches(inputs, loaded.model.wants(), torch.device("cpu")).batches("test")
    with torch.no_grad():
        expected = loaded.model.loss(batch, Progress(3, 4, validation=True))
    for name in ("loss", "reconstruction", "kl_cells"):
        assert table["value"][name] == pytest.approx(float(expected[name]), rel=1e-6)
    assert "beta" not in table.index


def test_what_a_model_adds_is_in_the_table(
    train: Callable[..., Path], applied: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(VAE)
    monkeypatch.setattr(
        BetaVAE,
        "evaluate",
        lambda self, batches, seed: {"cells_seen": float(sum(map(len, batches))), "drawn": float(seed)},
    )
    table = applied("test", "--seed", 7).to_pandas().set_index("name")
    assert table["value"][["cells_seen", "drawn"]].tolist() == [24, 7]


def test_a_model_without_loss_and_a_split_without_cells_say_so(
    train: Callable[..., Path], applied: Callable[..., Any]
) -> None:
    train({"mode": "pca", "latent_dim": 4}, splits=(0.8, 0.2, 0.0))
    table = applied("validate").to_pandas().set_index("name")
    assert table["reason"]["loss"] == "mode 'pca' is solved directly, without a loss for each cell"
    assert np.isfinite(table["value"]["batch_silhouette"])
    (row,) = applied("test").to_pylist()
    assert row == {"split": "test", "name": "loss", "value": None, "cells": 0,
                   "reason": "there are no cells of split 'test'"}  # fmt: skip


def test_a_classifier_without_errors_is_no_fault() -> None:
    assert apply._number("classifier_error_distance", float("nan")).reason.startswith("the classifier makes no error")
    assert apply._number("elbo", float("-inf")).reason == "not defined for these cells (the value is -inf)"
    assert apply._number("elbo", -3.0) == apply.Number("elbo", -3.0, "")


# --- new cells --------------------------------------------------------------------------------------------------------


@pytest.fixture
def new_file(tmp_path: Path) -> Callable[..., Path]:
    """Factory: the tiny file's test cells as a plain AnnData, genes in another order, with a gene more."""

    def make(**columns: Any) -> Path:
        file = anndata.read_h5ad(tmp_path / "tiny.h5ad")
        file = file[file.obs["split"] == "test"]
        x = np.asarray(file.X.todense(), dtype=np.float32)
        order = np.random.default_rng(3).permutation(x.shape[1])
        extra = (file.obs["library_size"].to_numpy() - x.sum(1))[:, None]  # keeps the library sizes
        obs = pd.DataFrame({name: file.obs[name].astype(str) for name in ("batch", "label")}).assign(**columns)
        var = pd.DataFrame(index=[*file.var_names[order], "EXTRA"])
        new = anndata.AnnData(np.concatenate([x[:, order], extra], 1).astype(np.float32), obs, var)
        new.write_h5ad(tmp_path / "new.h5ad")
        return tmp_path / "new.h5ad"

    return make


SETTINGS = ("--settings", '{"batch": "batch", "label": "label"}')


@pytest.mark.parametrize("settings", [VAE, LOGISTIC], ids=["beta_vae", "logistic_regression"])
def test_new_cells_are_treated_as_the_model_treats_its_own(
    train: Callable[..., Path], applied: Callable[..., Any], new_file: Callable[..., Path], settings: dict[str, Any]
) -> None:
    train(settings)
    own, numbers = applied("predict").to_pandas(), applied("test").to_pandas()
    path = new_file()
    new = applied("predict", "--data", path, *SETTINGS, counts=False).to_pandas()
    assert "split" not in new
    own = own[own["split"] == "test"].drop(columns="split").reset_index(drop=True)
    assert list(own.columns) == list(new.columns) and own["cell_id"].equals(new["cell_id"])
    for name in own.columns.drop("cell_id"):
        a, b = own[name].to_list(), new[name].to_list()
        if own[name].dtype.kind == "f" or (isinstance(a[0], np.ndarray) and a[0].dtype.kind == "f"):
            assert np.array(b) == pytest.approx(np.array(a), abs=1e-5)
        else:
            assert [list(x) for x in a] == [list(x) for x in b]
    again = applied("test", "--data", path, *SETTINGS, counts=False).to_pandas()
    assert set(again["split"]) == {"new"} and set(again["cells"]) == {24}
    assert again["name"].equals(numbers["name"])
    assert again["value"].to_numpy() == pytest.approx(numbers["value"].to_numpy(), abs=1e-4, nan_ok=True)


def test_labels_are_demanded_where_the_loss_reads_them(
    train: Callable[..., Path], applied: Callable[..., Any], new_file: Callable[..., Path]
) -> None:
    train(LOGISTIC)
    path = new_file()
    said = applied("validate", "--data", path, "--settings", '{"batch": "batsh"}', fails=True, counts=False)
    assert "2 problems" in said
    assert "--settings.batch: obs column 'batsh' does not exist; did you mean 'batch'?" in said
    assert "--settings.label: is missing; the loss of mode 'logistic_regression' needs the obs column" in said
    assert "obs columns: batch, label." in said
    assert "label" in applied("predict", "--data", path, counts=False).column_names


def test_a_loss_that_reads_no_labels_needs_none(
    train: Callable[..., Path], applied: Callable[..., Any], new_file: Callable[..., Path]
) -> None:
    train(VAE)
    table = applied("validate", "--data", new_file(), counts=False).to_pandas().set_index("name")
    assert np.isfinite(table["value"]["loss"])
    assert table["reason"]["classifier_accuracy"] == "fewer than two labels have enough cells"
    assert table["reason"]["batch_silhouette"] == "fewer than two batches are known"


def test_cells_without_a_known_label_have_no_part_in_a_loss_of_labels(
    train: Callable[..., Path], applied: Callable[..., Any], new_file: Callable[..., Path]
) -> None:
    train({**LOGISTIC, "prior_scale": None})
    path = new_file()
    file = anndata.read_h5ad(path)
    named = file.obs["label"].astype(str).to_numpy()
    table = applied("predict", "--data", path, *SETTINGS, counts=False).to_pandas()
    known = np.arange(len(named)) % 3 > 0
    file.obs["label"] = np.where(known, named, "another")
    file.write_h5ad(path)
    found = applied("test", "--data", path, *SETTINGS, counts=False).to_pandas().set_index("name")["value"]
    own = np.array([row[f"probability:{name}"] for row, name in zip(table.to_dict("records"), named, strict=True)])
    assert found["cross_entropy"] == pytest.approx(-np.log(own[known]).mean(), rel=1e-5)
    file.obs["label"] = "another"
    file.write_h5ad(path)
    (row,) = [r for r in applied("test", "--data", path, *SETTINGS, counts=False).to_pylist() if r["name"] == "loss"]
    assert row["value"] is None and "no cell has a label that the model knows" in row["reason"]


def test_unlabelled_test_cells_have_no_part_in_a_loss_of_labels(
    train: Callable[..., Path], applied: Callable[..., Any], tmp_path: Path
) -> None:
    """All validation cells are labelled, half of the test cells are not: their number must not scale the loss."""
    train({**LOGISTIC, "prior_scale": None})
    table = applied("predict").to_pandas()
    with h5py.File(tmp_path / "tiny.h5ad", "r+") as file:
        codes = file["obs/label/codes"][:]
        test = np.flatnonzero(table["split"] == "test")
        labelled = test[::2]
        own = np.array([table[f"probability:{('alpha', 'beta', 'delta')[codes[i]]}"][i] for i in labelled])
        codes[np.setdiff1d(test, labelled)] = -1
        file["obs/label/codes"][...] = codes
    found = applied("test").to_pandas().set_index("name")["value"]
    assert found["cross_entropy"] == pytest.approx(-np.log(own).mean(), rel=1e-5)


# --- models that read an embedding ------------------------------------------------------------------------------------


@pytest.fixture
def probe(train: Callable[..., Path], run: Callable[..., Any], tmp_path: Path) -> Path:
    """A VAE, its embedding, and a classifier trained on it."""
    base = train(VAE, name="base")
    rest = ("--genes", tmp_path / "g.parquet", "--reconstruction", tmp_path / "r.parquet")
    cells = tmp_path / "cells.parquet"
    status, said = run(
        "export_embeddings.py", "--model", base, "--counts", tmp_path / "tiny.h5ad", "--cells", cells, *rest
    )
    assert status == 0, said
    return train({**LOGISTIC, "embedding_of": "base"}, "--embedding", cells)


@pytest.mark.usefixtures("probe")
def test_a_probe_reads_an_embedding_or_the_model_that_makes_it(
    applied: Callable[..., Any], new_file: Callable[..., Path], tmp_path: Path
) -> None:
    by_table = applied("predict", "--embedding", tmp_path / "cells.parquet")
    assert set(provenance_of(by_table)["inputs"]) == {"model.pt", "tiny.h5ad", "cells.parquet"}
    by_model = applied("predict", "--embedding-model", tmp_path / "base.pt")
    assert by_table.equals(by_model)
    new = applied("predict", "--data", new_file(), *SETTINGS, "--embedding-model", tmp_path / "base.pt", counts=False)
    own = by_table.filter(pc.equal(by_table["split"], "test"))
    assert new["label"].equals(own["label"])
    numbers = applied("test", "--embedding-model", tmp_path / "base.pt").to_pandas()
    assert np.isfinite(numbers.set_index("name")["value"]["loss"])


@pytest.mark.usefixtures("probe")
def test_embeddings_that_do_not_fit_are_refused(
    train: Callable[..., Path], applied: Callable[..., Any], new_file: Callable[..., Path], tmp_path: Path
) -> None:
    said = applied("predict", fails=True)
    assert "mode 'logistic_regression' reads an embedding of width 4 by another model" in said
    said = applied("predict", "--embedding", tmp_path / "cells.parquet", model="base", fails=True)
    assert "cells.parquet: the model in" in said and "(mode 'beta_vae') reads expression, not an embedding" in said
    train({**VAE, "latent_dim": 3}, name="narrow")
    said = applied("predict", "--embedding-model", tmp_path / "narrow.pt", fails=True)
    assert "the embedding has 3 dimensions" in said and "reads 4; expected that of the model it was trained on" in said
    train({"mode": "harmony", "latent_dim": 4}, name="harmony")
    said = applied(
        "predict", "--data", new_file(), "--embedding-model", tmp_path / "harmony.pt", counts=False, fails=True
    )
    assert "harmony.pt: mode 'harmony' is transductive" in said


# --- wrong requests ---------------------------------------------------------------------------------------------------


def test_a_transductive_model_refuses_new_cells_and_takes_its_own(
    train: Callable[..., Path], applied: Callable[..., Any], new_file: Callable[..., Path]
) -> None:
    train({"mode": "harmony", "latent_dim": 4})
    assert applied("predict").num_rows == 120
    said = applied("predict", "--data", new_file(), counts=False, fails=True)
    assert "mode 'harmony' is transductive: it knows only the cells it was fitted to" in said


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--settings", '{"label": "x"}'), "--settings: says how to read --data; --counts needs none."),
        (("--data", "x.h5ad"), "argument --data: not allowed with argument --counts"),
        (("--embedding", "a", "--embedding-model", "b"), "not allowed with argument --embedding"),
    ],
)
def test_requests_that_contradict_themselves(applied: Callable[..., Any], more: tuple[str, ...], words: str) -> None:
    assert words in applied("predict", *more, fails=True)


def test_files_that_are_not_there_are_named(train: Callable[..., Path], applied: Callable[..., Any]) -> None:
    assert "model.pt: no such file" in applied("predict", fails=True)
    train(VAE)
    assert "nowhere.h5ad" in applied("predict", "--data", "nowhere.h5ad", counts=False, fails=True)


# --- likelihood of held-out cells -------------------------------------------------------------------------------------


def test_models_of_counts_estimate_the_likelihood_of_held_out_cells(
    train: Callable[..., Path], applied: Callable[..., Any], tmp_path: Path
) -> None:
    """With one latent dimension the integral over it can be computed on a grid."""
    settings = {"mode": "scvi", "latent_dim": 1, "hidden_dims": [8], "max_epochs": 3, "batch_size": 32, "device": "cpu"}
    loaded = load_model(train(settings))
    found, again, other = (
        applied("test", "--seed", seed).to_pandas().set_index("name")["value"]["log_likelihood"] for seed in (1, 1, 2)
    )
    model: Any = loaded.model
    grid = torch.linspace(-8, 8, 801)
    with torch.no_grad():
        (batch,) = Batches(inputs_of(loaded, tmp_path / "tiny.h5ad"), model.wants(), torch.device("cpu")).batches(
            "test"
        )
        conditions = model.conditions(batch.covariates)
        rows = [model.log_likelihood(batch, torch.full((24, 1), float(z)), conditions) for z in grid]
    joint = torch.stack(rows).double() + torch.distributions.Normal(0.0, 1.0).log_prob(grid).double()[:, None]
    exact = float((joint.logsumexp(0) + np.log(16 / 800)).mean())
    assert found == again != other
    assert found == pytest.approx(exact, abs=0.5)
    assert exact < -50

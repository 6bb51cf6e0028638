"""train_model.py, export_embeddings.py and embed_cells.py from the command line, in this process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import pearsonr, spearmanr

from sclamp.config.registry import MODES
from sclamp.core.files import provenance_of, read_embedding

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
VAE = {"mode": "beta_vae", "latent_dim": 4, "hidden_dims": [16], "max_epochs": 3, "batch_size": 32, "device": "cpu"}


@pytest.fixture
def train(run: Callable[..., Any], tiny_counts: Callable[..., Path], tmp_path: Path) -> Callable[..., Any]:
    def call(settings: dict[str, Any], *more: object, folder: str = "run", **counts: Any) -> tuple[int, str]:
        return run(
            "train_model.py", "--counts", tiny_counts(**counts), "--settings", json.dumps(settings), "--seed", 1,
            "--model", tmp_path / folder / "model.pt", "--history", tmp_path / folder / "history.parquet", *more,
        )  # fmt: skip

    return call


@pytest.fixture
def export(run: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def call(*more: object, folder: str = "run", counts: str = "tiny.h5ad", layout: str = "sclamp") -> tuple[int, str]:
        out = tmp_path / folder
        return run(
            "export_embeddings.py", "--model", out / "model.pt", "--counts", tmp_path / counts, "--cells",
            out / "cell_embedding.parquet", "--genes", out / "gene_embedding.parquet", "--reconstruction",
            out / "reconstruction.parquet", "--layout", layout, *more,
        )  # fmt: skip

    return call


def _succeed(result: tuple[int, str]) -> str:
    assert result[0] == 0, result[1]
    return result[1]


# --- training ---------------------------------------------------------------------------------------------------------


def test_modes_are_listed_one_a_line():
    done = subprocess.run([sys.executable, SCRIPTS / "train_model.py", "--modes"], capture_output=True, text=True)
    assert done.stdout.splitlines() == list(MODES)


@pytest.mark.parametrize("script", ["train_model.py", "export_embeddings.py", "embed_cells.py"])
def test_help_costs_less_than_a_cpu_second(script: str):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, SCRIPTS / script, "--help"], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_training_writes_model_and_history_and_says_what_it_did(train: Callable[..., Any], tmp_path: Path):
    said = _succeed(train(VAE))
    for words in ("beta_vae on cpu; 84 training cells, 60 genes", "parameters", "data: resident", "trained 3 epochs"):
        assert words in said
    table = pq.read_table(tmp_path / "run" / "history.parquet")
    assert table.num_rows == 3
    assert {"epoch", "train_loss", "val_loss", "beta", "learning_rate", "is_best"} <= set(table.column_names)
    origin = provenance_of(table)
    assert origin["seed"] == 1
    assert origin["settings"]["latent_dim"] == 4
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["history.parquet", "model.pt"]


def test_a_closed_form_model_has_one_row_of_history(train: Callable[..., Any], tmp_path: Path):
    _succeed(train({"mode": "pca", "latent_dim": 4}))
    (row,) = pq.read_table(tmp_path / "run" / "history.parquet").to_pylist()
    assert 0 < row["explained_variance_ratio"] < 1


def test_a_joint_model_aligns_its_priors_by_gene_id(
    train: Callable[..., Any], tiny_prior: Callable[..., Path], tmp_path: Path
):
    """The order of rows in the prior's file must not matter; the reference silently trains on shuffled priors."""
    genes = [f"G{i:04d}" for i in range(58)]
    order = np.random.default_rng(0).permutation(60)
    settings = {**VAE, "mode": "direct", "gene_priors": ["text"]}
    losses = []
    for folder, listed in (("sorted", genes), ("shuffled", list(np.random.default_rng(1).permutation(genes)))):
        prior = tiny_prior(listed, name=folder)
        said = _succeed(train(settings, "--gene-prior", f"text={prior}", folder=folder, order=order))
        assert "2 of 60 genes lack a gene prior and are left out: " in said
        losses.append(pq.read_table(tmp_path / folder / "history.parquet")["val_loss"].to_pylist())
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("settings", "more", "words"),
    [
        ({}, [], "--settings.mode: is missing"),
        ({"mode": "pcaa"}, [], "mode 'pcaa' does not exist; did you mean 'pca'"),
        ({"mode": "pca", "latentdim": 3}, [], "--settings.latentdim: unknown key; did you mean 'latent_dim'"),
        ({"mode": "pca", "latent_dim": 61}, [], "latent_dim: 61 components were asked for, but there are 60 genes"),
        ({"mode": "direct"}, [], "gene_priors: mode 'direct' needs at least one gene prior"),
        (
            {"mode": "beta_vae", "activation": "LeakyRelu"},
            [],
            "'LeakyRelu' is not an activation .* nearest is 'LeakyReLU'",
        ),
        ({"mode": "pca"}, ["--gene-prior", "text"], "--gene-prior: 'text' is not NAME=PATH"),
        ({"mode": "pca"}, ["--gene-prior", "a=nowhere.parquet"], "gene prior a: nowhere.parquet: no such file"),
        ({"mode": "beta_vae"}, ["--warm-start", "nowhere.pt"], "warm start: nowhere.pt: no such file"),
        ({"mode": "beta_vae", "device": "cuda"}, [], "device: 'cuda' was asked for, but this machine has none"),
    ],
)
def test_wrong_requests_end_with_words(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], more: list[str], words: str
):
    import re

    import sclamp.train.run as module
    from sclamp.train.devices import lease_gpu

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(module, "lease_gpu", lambda wanted: lease_gpu(wanted, list))
    status, said = train(settings, *more)
    assert status == 1
    assert re.search(words, said), said
    assert "Traceback" not in said


def test_harmony_of_one_batch_ends_with_words(train: Callable[..., Any]):
    status, said = train({"mode": "harmony", "latent_dim": 4}, one_batch=True)
    assert status == 1
    assert "all cells are of one batch" in said


def test_a_bad_loss_keeps_the_best_model(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from sclamp.models.scilama import BetaVAE
    from sclamp.train.checkpoint import load_model

    plain = BetaVAE.loss

    def poisoned(self: Any, batch: Any, progress: Any) -> Any:
        parts = plain(self, batch, progress)
        return {**parts, "loss": parts["loss"] * float("nan")} if progress.epoch == 2 else parts

    monkeypatch.setattr(BetaVAE, "loss", poisoned)
    status, said = train({**VAE, "epochs_before_beta_warmup": 0, "beta_warmup_rate": 0.0})
    assert status == 1
    assert "not finite in epoch 2, step 0" in said
    assert "The best model so far, of epoch 1, is kept in" in said
    assert not (tmp_path / "run" / "model.pt").exists()
    load_model(tmp_path / "run" / "best_before_failure.pt")


# --- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"mode": "pca", "latent_dim": 4}, VAE], ids=["pca", "beta_vae"])
def test_export_of_cells_and_reconstruction(
    train: Callable[..., Any], export: Callable[..., Any], tmp_path: Path, settings: dict[str, Any]
):
    _succeed(train(settings))
    _succeed(export())
    cells, embedding = read_embedding(tmp_path / "run" / "cell_embedding.parquet", "cell_id")
    file = anndata.read_h5ad(tmp_path / "tiny.h5ad")
    assert cells.tolist() == file.obs_names.tolist()
    assert embedding.shape == (120, 4)
    table = pq.read_table(tmp_path / "run" / "reconstruction.parquet").to_pandas()
    assert table.groupby("scope").size().to_dict() == {"all": 1, "cell": 24, "gene": 60}
    assert table[table["scope"] == "cell"]["id"].tolist() == file.obs_names[file.obs["split"] == "test"].tolist()
    assert table[table["scope"] == "gene"]["id"].tolist() == file.var_names.tolist()


def test_reconstruction_scores_equal_scipy(train: Callable[..., Any], export: Callable[..., Any], tmp_path: Path):
    _succeed(train({"mode": "pca", "latent_dim": 4}))
    _succeed(export())
    file = anndata.read_h5ad(tmp_path / "tiny.h5ad")
    x = np.log1p(np.asarray(file.X.todense(), float) / file.obs["library_size"].to_numpy()[:, None] * 1e4)
    x = ((x - file.var["lognorm_mean"].to_numpy()) / file.var["lognorm_std"].to_numpy()).clip(-10, 10)
    split = file.obs["split"].to_numpy()
    mean = x[split == "train"].mean(0)
    components = np.linalg.svd(x[split == "train"] - mean, full_matrices=False)[2][:4]
    test = x[split == "test"]
    again = (test - mean) @ components.T @ components + mean
    table = pq.read_table(tmp_path / "run" / "reconstruction.parquet").to_pandas().set_index(["scope", "id"])
    pairs = {("all", ""): (test.ravel(), again.ravel())}
    pairs |= {("gene", gene): (test[:, i], again[:, i]) for i, gene in enumerate(file.var_names[:10])}
    pairs |= {("cell", cell): (test[i], again[i]) for i, cell in enumerate(file.obs_names[split == "test"])}
    for key, (a, b) in pairs.items():
        row = table.loc[key]
        assert row["n"] == len(a)
        assert row["mse"] == pytest.approx(np.square(a - b).mean(), rel=1e-3)
        if np.ptp(a) > 0:
            assert row["pearson"] == pytest.approx(pearsonr(a, b).statistic, abs=1e-4)
            assert row["spearman"] == pytest.approx(spearmanr(a, b).statistic, abs=2e-2)


ON_REQUEST = {"imputation": "imputation", "pairs": "reconstruction_pairs", "variability": "gene_variability"}


def on_request(folder: Path) -> list[object]:
    return [part for option, name in ON_REQUEST.items() for part in (f"--{option}", folder / f"{name}.parquet")]


def test_export_on_request_hides_entries_samples_pairs_and_corrects(
    train: Callable[..., Any], export: Callable[..., Any], tmp_path: Path
):
    _succeed(train(VAE))
    out = tmp_path / "run"
    hiding = (*on_request(out), "--masked-share", 0.2, "--seed", 3)
    _succeed(export(*hiding))
    tables = {name: pq.read_table(out / f"{name}.parquet").to_pandas() for name in ON_REQUEST.values()}
    whole = pq.read_table(out / "reconstruction.parquet").to_pandas().set_index(["scope", "id"])
    hidden = tables["imputation"].set_index(["scope", "id"])
    assert whole.index.equals(hidden.index)
    assert hidden.loc[("all", ""), "n"] == 24 * 12
    assert hidden.loc[("all", ""), "mse"] != pytest.approx(whole.loc[("all", ""), "mse"], rel=1e-3)
    pairs = tables["reconstruction_pairs"]
    assert pairs["masked"].value_counts().to_dict() == {False: 24 * 60, True: 24 * 12}
    shown = pairs[pairs["masked"]]
    assert np.square(shown["measured"] - shown["reconstructed"]).mean() == pytest.approx(
        hidden["mse"].iloc[0], rel=1e-5
    )
    assert set(tables["gene_variability"]["batch"]) == {"one", "two"}
    assert len(tables["gene_variability"]) == 2 * 60
    assert provenance_of(pq.read_table(out / "imputation.parquet"))["settings"]["masked_share"] == 0.2
    before = {path.name: path.read_bytes() for path in out.glob("*.parquet")}
    _succeed(export(*hiding))
    assert before == {path.name: path.read_bytes() for path in out.glob("*.parquet")}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_hides_nothing_or_all_is_refused(export: Callable[..., Any], share: float):
    status, said = export("--masked-share", share)
    assert status == 2
    assert f"--masked-share: {share} is not between 0 and 1" in said


def test_without_test_cells_the_validation_cells_are_measured(
    train: Callable[..., Any], export: Callable[..., Any], tmp_path: Path
):
    _succeed(train({"mode": "pca", "latent_dim": 4}, splits=(0.8, 0.2, 0.0)))
    assert "measured on the validation cells" in _succeed(export())
    table = pq.read_table(tmp_path / "run" / "reconstruction.parquet").to_pandas()
    assert (table["scope"] == "cell").sum() == 24


def test_a_model_without_gene_side_or_decoder_writes_no_rows(
    train: Callable[..., Any], export: Callable[..., Any], tmp_path: Path
):
    _succeed(train({"mode": "harmony", "latent_dim": 4}))
    _succeed(export(*on_request(tmp_path / "run")))
    columns_of = {
        "gene_embedding": ["gene_id", "embedding"],
        "reconstruction": None,
        **dict.fromkeys(ON_REQUEST.values()),
    }
    for name, columns in columns_of.items():
        table = pq.read_table(tmp_path / "run" / f"{name}.parquet")
        assert table.num_rows == 0
        assert columns is None or table.column_names == columns
    assert str(pq.read_table(tmp_path / "run" / "gene_embedding.parquet").schema.field("gene_id").type) == "string"


def test_a_transductive_model_refuses_another_file(
    train: Callable[..., Any], export: Callable[..., Any], tiny_counts: Callable[..., Path]
):
    _succeed(train({"mode": "harmony", "latent_dim": 4}))
    tiny_counts(name="other.h5ad", seed=9)
    status, said = export(counts="other.h5ad")
    assert status == 1
    assert "is not the file that the model was fitted to" in said


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("beta_vae", {"sample_embeddings_beta_vae.parquet": 120}),
        ("direct", {"sample_embeddings_direct_sciLaMA.parquet": 120, "feature_embeddings_direct_sciLaMA.parquet": 60}),
        ("stepwise_genes", {"feature_embeddings_intermediate.parquet": 60}),
        (
            "stepwise",
            {"sample_embeddings_stepwise_sciLaMA.parquet": 120, "feature_embeddings_stepwise_sciLaMA.parquet": 60},
        ),
    ],
)
def test_layout_of_the_reference(
    train: Callable[..., Any], export: Callable[..., Any], tiny_prior: Callable[..., Path], tmp_path: Path, mode: str,
    expected: dict[str, int],
):  # fmt: skip
    chain = [*MODES[mode].after, mode]
    prior = tiny_prior([f"G{i:04d}" for i in range(60)])
    before: list[object] = []
    for each in chain:
        joint = each != "beta_vae"
        settings = {**VAE, "mode": each, **({"gene_priors": ["text"]} if joint else {})}
        _succeed(train(settings, *(["--gene-prior", f"text={prior}"] if joint else []), *before, folder=each))
        before = ["--warm-start", tmp_path / each / "model.pt"]
    _succeed(export(folder=mode, layout="scilama"))
    written = {path.name: path for path in (tmp_path / mode).glob("*_embeddings_*.parquet")}
    assert {name: pq.read_metadata(path).num_rows for name, path in written.items()} == expected
    for name, path in written.items():
        schema = pq.read_schema(path)
        assert schema.names == ["sample_id" if name.startswith("sample") else "gene_id", "embedding"]
        assert str(schema.field("embedding").type) == "list<element: double>"
        ours = "cell" if name.startswith("sample") else "gene"
        _, matrix = read_embedding(tmp_path / mode / f"{ours}_embedding.parquet", f"{ours}_id")
        assert np.array_equal(np.array(pq.read_table(path)["embedding"].to_pylist(), np.float32), matrix)


# --- new cells --------------------------------------------------------------------------------------------------------


@pytest.fixture
def new_file(tmp_path: Path) -> Callable[..., Path]:
    """Factory: the tiny file's counts as a plain AnnData, with the genes given by position, an extra gene, a batch."""

    def make(genes: Any, batch: str | None = None, name: str = "new.h5ad", rename: Any = None) -> Path:
        file = anndata.read_h5ad(tmp_path / "tiny.h5ad")
        x = np.asarray(file.X.todense(), dtype=np.float32)
        extra = (file.obs["library_size"].to_numpy() - x[:, genes].sum(1))[:, None]  # keeps the library sizes
        ids = [*file.var_names[genes], "EXTRA"]
        obs = pd.DataFrame({"batch": file.obs["batch"].astype(str).to_numpy()}, index=file.obs_names)
        if batch is not None:
            obs["batch"] = batch
        var = pd.DataFrame({"name": [rename(i) for i in ids] if rename else ids}, index=ids)
        anndata.AnnData(np.concatenate([x[:, genes], extra], 1).astype(np.float32), obs, var).write_h5ad(
            tmp_path / name
        )
        return tmp_path / name

    return make


@pytest.fixture
def embed(run: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def call(data: Path, *more: object) -> tuple[int, str]:
        return run("embed_cells.py", "--model", tmp_path / "run" / "model.pt", "--data", data, "--output",
                   tmp_path / "new.parquet", *more)  # fmt: skip

    return call


def test_new_cells_embed_as_in_training_whatever_the_order_of_genes(
    train: Callable[..., Any], export: Callable[..., Any], embed: Callable[..., Any], new_file: Callable[..., Path],
    tmp_path: Path,
):  # fmt: skip
    _succeed(train(VAE))
    _succeed(export())
    data = new_file(np.random.default_rng(3).permutation(60))
    said = _succeed(embed(data, "--h5ad", tmp_path / "copy.h5ad"))
    assert "60 of the model's 60 genes (100.0%) are there by gene ids, 1 further ones are not read" in said
    _, expected = read_embedding(tmp_path / "run" / "cell_embedding.parquet", "cell_id")
    cells, found = read_embedding(tmp_path / "new.parquet", "cell_id")
    assert found == pytest.approx(expected, abs=1e-5)
    copy = anndata.read_h5ad(tmp_path / "copy.h5ad")
    assert copy.obs_names.tolist() == cells.tolist()
    assert np.array_equal(copy.obsm["X_beta_vae"], found)
    assert "X_beta_vae" not in anndata.read_h5ad(data).obsm


def test_missing_genes_are_reported_and_too_few_refused(
    train: Callable[..., Any], embed: Callable[..., Any], new_file: Callable[..., Path]
):
    _succeed(train({"mode": "pca", "latent_dim": 4}))
    said = _succeed(embed(new_file(np.arange(40))))
    assert "40 of the model's 60 genes (66.7%)" in said
    assert "the others were not measured: G0040, G0041" in said
    said = _succeed(embed(new_file(np.arange(40)), "--settings", '{"absent_genes": "zero"}'))
    assert "the others count as zero: G0040, G0041" in said
    status, said = embed(new_file(np.arange(20)))
    assert status == 1
    assert "(33.3%) are there by gene ids, at least 50% are needed (--min-genes-share)" in said
    _succeed(embed(new_file(np.arange(20)), "--min-genes-share", 0.3))


def test_unseen_batches_get_zeros_and_are_reported(
    train: Callable[..., Any], embed: Callable[..., Any], new_file: Callable[..., Path], tmp_path: Path
):
    _succeed(train(VAE))
    said = _succeed(embed(new_file(np.arange(60), batch="three")))
    assert "covariate 'batch': training did not see three; 120 cells get zeros" in said


def test_values_that_are_no_counts_are_refused(
    train: Callable[..., Any], embed: Callable[..., Any], new_file: Callable[..., Path]
):
    _succeed(train({"mode": "pca", "latent_dim": 4}))
    path = new_file(np.arange(60))
    file = anndata.read_h5ad(path)
    file.X = np.log1p(file.X)
    file.write_h5ad(path)
    status, said = embed(path)
    assert status == 1
    assert "does not hold counts" in said and "Name the raw counts by --settings" in said


def test_repeated_genes_are_refused(
    train: Callable[..., Any], embed: Callable[..., Any], new_file: Callable[..., Path], tmp_path: Path
):
    _succeed(train({"mode": "pca", "latent_dim": 4}))
    path = new_file(np.arange(60), rename=lambda gene: "G0007" if gene == "G0008" else gene)
    status, said = embed(path, "--settings", '{"gene_ids": "name"}')
    assert status == 1
    assert "1 of the model's genes occur more than once, such as 'G0007'" in said


def test_a_transductive_model_cannot_embed_new_cells(
    train: Callable[..., Any], embed: Callable[..., Any], new_file: Callable[..., Path]
):
    _succeed(train({"mode": "harmony", "latent_dim": 4}))
    status, said = embed(new_file(np.arange(60)))
    assert status == 1
    assert "mode 'harmony' is transductive" in said


@pytest.mark.parametrize(("data", "copy"), [("cells.h5", "copy.h5ad"), ("tiny.h5ad", "tiny.h5ad")])
def test_a_copy_needs_an_h5ad_and_another_name(embed: Callable[..., Any], tmp_path: Path, data: str, copy: str):
    status, said = embed(tmp_path / data, "--h5ad", tmp_path / copy)
    assert status == 1
    assert "--h5ad: a copy needs an .h5ad as --data and another name" in said

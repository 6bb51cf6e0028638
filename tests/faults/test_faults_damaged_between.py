"""Damaged files between rules: counts, tables, embeddings, models, checks."""

from __future__ import annotations

import json

import pytest
from damage import KIND, Case, damages, equal, read_result, try_damages
from small_files import prepared_with_prior, succeed
from trial_worker import worker

TINY = {
    "latent_dim": 3,
    "hidden_dims": [8],
    "max_epochs": 2,
    "batch_size": 16,
    "epochs_before_beta_warmup": 0,
    "mode": "beta_vae",
}
pytestmark = pytest.mark.xdist_group("trial worker")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Counts, genes, a matched prior, a trained model and its exports."""
    folder = prepared_with_prior(tmp_path_factory.mktemp("files"))
    succeed(*train(folder / "genes.h5ad", folder))
    succeed(*export(folder / "model.pt", folder / "genes.h5ad", folder))
    return folder


def train(counts, folder, **more):
    settings = ["--settings", json.dumps(TINY | more)]
    files = ["--model", folder / "model.pt", "--history", folder / "history.parquet"]
    return "train_model.py", "--counts", counts, *files, *settings


def export(model, counts, folder):
    outputs = ["--cells", folder / "cell_embedding.parquet", "--genes", folder / "gene_embedding.parquet"]
    more = ["--reconstruction", folder / "reconstruction.parquet"]
    return "export_embeddings.py", "--model", model, "--counts", counts, *outputs, *more


def test_damaged_cells(trials, tmp_path, files):
    def command(cells, out):
        settings = ["--settings", json.dumps({"n_genes": 60, "flavor": "all"})]
        tables = ["--table", out / "genes.parquet", "--counts", out / "genes.h5ad"]
        return "select_genes.py", "--cells", cells, *settings, *tables

    case = Case("cells.h5ad", files / "cells.h5ad", command, ("genes.parquet", "genes.h5ad"))
    try_damages(case, trials, tmp_path, trials.number(3, 20), trials.number(12, 250))


@pytest.mark.parametrize("mode", ["pca", "scvi"])
def test_damaged_counts_of_a_training(trials, tmp_path, files, mode):
    def command(counts, out):
        settings = {"mode": mode, "latent_dim": 3} | ({"max_epochs": 1} if mode == "scvi" else {})
        files = ["--model", out / "model.pt", "--history", out / "history.parquet"]
        return "train_model.py", "--counts", counts, *files, "--settings", json.dumps(settings)

    case = Case(f"genes.h5ad, read by {mode}", files / "genes.h5ad", command, ("model.pt",))
    try_damages(case, trials, tmp_path, trials.number(1, 10), trials.number(2, 60), others=False)


def test_damaged_model(trials, tmp_path, files):
    case = Case(
        "model.pt", files / "model.pt", lambda model, out: export(model, files / "genes.h5ad", out),
        ("cell_embedding.parquet", "gene_embedding.parquet", "reconstruction.parquet"),
    )  # fmt: skip
    try_damages(case, trials, tmp_path, trials.number(3, 20), trials.number(12, 200))


def test_damaged_table_of_genes(trials, tmp_path, files):
    def command(genes, out):
        own = ["--settings", json.dumps({"source": "onehot"}), "--counts", files / "genes.h5ad"]
        outputs = ["--output", out / "matched.parquet", "--report", out / "coverage.json"]
        return "match_gene_prior.py", "--genes", genes, *own, *outputs

    case = Case("genes.parquet", files / "genes.parquet", command, ("matched.parquet", "coverage.json"))
    try_damages(case, trials, tmp_path, trials.number(3, 15), trials.number(12, 200))


def test_damaged_matched_prior(trials, tmp_path, files):
    def command(prior, out):
        own = {"mode": "direct", "gene_priors": ["p"], "max_epochs": 1, "hidden_dims": [8], "latent_dim": 3}
        files_of = ["--model", out / "model.pt", "--history", out / "history.parquet"]
        own_settings = ["--settings", json.dumps(own), "--gene-prior", f"p={prior}"]
        return "train_model.py", "--counts", files / "genes.h5ad", *files_of, *own_settings

    case = Case("matched prior", files / "matched.parquet", command, ("model.pt",))
    try_damages(case, trials, tmp_path, trials.number(1, 10), trials.number(2, 60), others=False)


def test_damaged_embedding(trials, tmp_path, files):
    def command(embedding, out):
        settings = ["--settings", json.dumps({"neighbors": 20, "graph_neighbors": 10})]
        return "find_neighbors.py", "--embedding", embedding, "--output", out / "neighbors.parquet", *settings

    case = Case("cell_embedding.parquet", files / "cell_embedding.parquet", command, ("neighbors.parquet",))
    try_damages(case, trials, tmp_path, trials.number(3, 15), trials.number(12, 200))


def test_damaged_history(trials, tmp_path, files):
    def command(history, out):
        return "damaged_readers:history", history, out / "result.json"

    case = Case("history.parquet", files / "history.parquet", command, ("result.json",), function=True)
    try_damages(case, trials, tmp_path, trials.number(3, 15), trials.number(12, 200))


def test_damaged_checks(trials, tmp_path, files):
    succeed(
        "check_dataset.py", "--name", "one", "--settings", json.dumps({"path": str(files / "raw.h5ad")}),
        "--output", files / "checks.json", "--table", files / "checks.txt",
    )  # fmt: skip

    def command(checks, out):
        return "damaged_readers:checks", checks, out / "result.json"

    case = Case("checks.json", files / "checks.json", command, ("result.json",), function=True)
    try_damages(case, trials, tmp_path, trials.number(3, 15), trials.number(12, 200))


def test_damaged_resume(trials, tmp_path, files):
    """A training never stops for it: it starts anew, says so, and ends with the same model."""
    folder = tmp_path / "run"
    folder.mkdir()
    outcome = worker().call("damaged_readers:interrupted_training", *map(str, train(files / "genes.h5ad", folder)))
    assert outcome.status == 128 + 15, outcome.said
    whole, target = (folder / "resume.pt").read_bytes(), folder / "resume.pt"
    outcome = worker().script(*train(files / "genes.h5ad", folder))
    assert outcome.status == 0 and "going on at epoch" in outcome.said, outcome.said
    expected = read_result(folder / "model.pt")
    for what, content, _ in damages(trials, whole, trials.number(1, 20), trials.number(2, 60), trials.number(0, 1)):
        (folder / "model.pt").unlink()
        target.write_bytes(content)
        outcome = worker().script(*train(files / "genes.h5ad", folder))
        anew = "training starts anew" in outcome.said and "resume.pt" in outcome.said
        same = outcome.status == 0 and equal(read_result(folder / "model.pt"), expected)
        if same and (anew or "going on at epoch" in outcome.said) and not outcome.death:
            trials.survived(KIND, f"resume.pt {what}: " + ("training starts anew" if anew else "resumed"))
        else:
            trials.lost(KIND, f"resume.pt {what}", outcome.death or f"same: {same}: {outcome.said[-400:]}")
            train_again = worker().script(*train(files / "genes.h5ad", folder))
            assert train_again.status == 0, train_again.said

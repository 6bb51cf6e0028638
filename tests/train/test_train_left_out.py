"""Genes that training never saw: left out, predicted and scored from the command line, and that nothing leaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from sclamp.core.files import provenance_of, read_embedding, read_table, write_embedding
from sclamp.train.checkpoint import load_model
from sclamp.train.left_out import predict_left_out, prior_vectors, unseen_genes

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
GENES = [f"G{i:04d}" for i in range(60)]
SMALL = {"latent_dim": 4, "hidden_dims": [16], "max_epochs": 3, "batch_size": 32, "device": "cpu"}
CPU = torch.device("cpu")


@pytest.fixture
def project(run: Callable[..., Any], tiny_counts: Any, tiny_prior: Any, tmp_path: Path) -> Callable[..., Path]:
    """Factory of a run trained without a fifth of the genes; returns its folder."""

    def make(mode: str = "direct", share: float = 0.2, **settings: Any) -> Path:
        counts, prior, out = tiny_counts(), tiny_prior(GENES), tmp_path / "left_out"
        reduced = out / "text.parquet"
        assert run("leave_genes_out.py", gene_prior=prior, counts=counts, share=share, output=reduced)[0] == 0
        names = {} if mode == "beta_vae" else {"gene_priors": ["text"]}
        status, said = run(
            "train_model.py", counts=counts, gene_prior=f"text={reduced}", model=out / "model.pt", seed=1,
            history=out / "history.parquet", settings=json.dumps(SMALL | {"mode": mode} | names | settings),
        )  # fmt: skip
        assert status == 0, said
        return out

    return make


@pytest.fixture
def score(run: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    def call(prior: str = "text", path: str = "text.parquet", counts: str = "tiny.h5ad", **more: Any) -> Any:
        return run(
            "score_left_out_genes.py", model=tmp_path / "left_out" / "model.pt", counts=tmp_path / counts,
            gene_prior=f"{prior}={tmp_path / path}", dataset="d", model_name="m", seed=1,
            output=tmp_path / "s.parquet", genes=tmp_path / "g.parquet", **more,
        )  # fmt: skip

    return call


def test_left_out_genes_are_scored(project: Callable[..., Path], score: Callable[..., Any], tmp_path: Path) -> None:
    out = project()
    status, said = score()
    assert status == 0, said
    kept, _ = read_embedding(out / "text.parquet", "gene_id")
    model = load_model(out / "model.pt").model
    assert list(model.data.gene_ids) == kept.tolist()  # training saw no other gene
    genes = pd.read_parquet(tmp_path / "g.parquet")
    assert genes["gene_id"].tolist() == [gene for gene in GENES if gene not in set(kept)]
    assert len(genes) == 12 and set(genes["n"]) == {24}
    file = anndata.read_h5ad(tmp_path / "tiny.h5ad")
    test = file[(file.obs["split"] == "test").to_numpy(), genes["gene_id"].to_list()]
    assert genes["share_expressed"].to_numpy() == pytest.approx((test.X.toarray() > 0).mean(0))
    x = np.log1p(test.X.toarray() / test.obs["library_size"].to_numpy()[:, None] * 1e4)
    z = (x - test.var["lognorm_mean"].to_numpy()) / test.var["lognorm_std"].to_numpy()
    assert genes["mse_mean"].to_numpy() == pytest.approx(np.square(z.clip(-10, 10)).mean(0), rel=1e-4)
    table = pd.read_parquet(tmp_path / "s.parquet").set_index("metric")
    assert set(table["status"]) == {"ok"} and set(table["task"]) == {"left_out_genes"}
    assert table["value"]["pearson_gene"] == pytest.approx(genes["pearson"].mean())
    assert table["value"]["mse"] == pytest.approx(genes["mse"].mean())
    assert table["value"]["ridge_pearson_gene"] == pytest.approx(genes["ridge_pearson"].mean())
    assert set(provenance_of(read_table(tmp_path / "s.parquet"))["inputs"]) == {"model.pt", "tiny.h5ad", "text.parquet"}


def edited(path: Path, genes: list[str], new: Path) -> Path:
    """The same file with other counts of some genes."""
    file = anndata.read_h5ad(path)
    x = np.asarray(file.X.todense())
    for gene in genes:
        column = file.var_names.get_loc(gene)
        x[:, column] = np.roll(x[:, column], 1) + 1
    file.X = sparse.csr_matrix(x)
    file.write_h5ad(new)
    return new


def test_their_counts_change_the_truth_and_no_prediction(project: Callable[..., Path], tmp_path: Path) -> None:
    """The leak test: nothing of a left-out gene reaches the prediction but its vector (and the library size)."""
    loaded = load_model(project() / "model.pt")
    priors = {"text": read_embedding(tmp_path / "text.parquet", "gene_id")}
    genes = unseen_genes(loaded.model, priors, np.array(GENES, dtype=object))
    other = edited(tmp_path / "tiny.h5ad", list(genes), tmp_path / "other.h5ad")
    one, two = (predict_left_out(loaded, path, priors, genes, CPU) for path in (tmp_path / "tiny.h5ad", other))
    assert np.array_equal(one.predicted, two.predicted)
    assert np.array_equal(one.known, two.known) and np.array_equal(one.tuning, two.tuning)
    assert not np.array_equal(one.truth, two.truth)


def test_predictions_follow_the_vectors_not_the_order_of_files(project: Callable[..., Path], tmp_path: Path) -> None:
    loaded = load_model(project() / "model.pt")
    ids, vectors = read_embedding(tmp_path / "text.parquet", "gene_id")
    order = np.random.default_rng(0).permutation(60)
    plain, moved = {"text": (ids, vectors)}, {"text": (ids[order], vectors[order])}
    genes = unseen_genes(loaded.model, moved, np.array(GENES, dtype=object))
    found = [predict_left_out(loaded, tmp_path / "tiny.h5ad", p, g, CPU)
             for p, g in ((plain, genes), (moved, genes[::-1]))]  # fmt: skip
    assert found[1].predicted == pytest.approx(found[0].predicted[:, ::-1], abs=1e-6)
    assert np.array_equal(found[1].truth, found[0].truth[:, ::-1])
    own = prior_vectors(loaded.model, moved, loaded.model.data.gene_ids)
    assert own == pytest.approx(loaded.model.gene_prior("text").numpy(), abs=1e-5)
    # Standardised by the genes that training saw, not by those that are new.
    assert own.mean(0) == pytest.approx(np.zeros(8), abs=1e-5)
    assert np.abs(prior_vectors(loaded.model, moved, genes).mean(0)).max() > 0.01


@pytest.mark.parametrize("scale", ["scaled", "lognorm"])
def test_the_mean_to_beat_is_that_of_the_training_cells(
    project: Callable[..., Path], tmp_path: Path, scale: str
) -> None:
    loaded = load_model(project(input=scale) / "model.pt")
    priors = {"text": read_embedding(tmp_path / "text.parquet", "gene_id")}
    genes = unseen_genes(loaded.model, priors, np.array(GENES, dtype=object))
    found = predict_left_out(loaded, tmp_path / "tiny.h5ad", priors, genes, CPU)
    means = anndata.read_h5ad(tmp_path / "tiny.h5ad").var["lognorm_mean"][genes].to_numpy()
    assert found.mean == pytest.approx(np.zeros(12) if scale == "scaled" else means, rel=1e-5)
    assert len(found.tuning) == 12 and len(found.truth) == 24


def not_applicable(tmp_path: Path) -> set[str]:
    table = pd.read_parquet(tmp_path / "s.parquet")
    assert len(table) == 6 and set(table["status"]) == {"not_applicable"}
    assert pd.read_parquet(tmp_path / "g.parquet").empty
    return set(table["reason"])


def test_models_that_cannot_say_why(
    project: Callable[..., Path], run: Callable[..., Any], score: Callable[..., Any], tmp_path: Path
) -> None:
    out = project("beta_vae")
    assert len(load_model(out / "model.pt").model.data.gene_ids) == 48  # reads no prior, but keeps to its genes
    assert score()[0] == 0
    assert not_applicable(tmp_path) == {"mode 'beta_vae' cannot predict genes that it was not trained on"}
    settings = '{"mode": "pca", "latent_dim": 4}'
    run("train_model.py", counts=tmp_path / "tiny.h5ad", model=out / "model.pt", history=out / "h.parquet",
        settings=settings)  # fmt: skip
    assert score()[0] == 0
    assert not_applicable(tmp_path) == {
        "mode 'pca' cannot predict genes that it was not trained on: it reads no gene prior"
    }


def test_a_model_of_all_genes_has_nothing_to_predict(
    project: Callable[..., Path], score: Callable[..., Any], tmp_path: Path
) -> None:
    project()
    assert score(path="left_out/text.parquet")[0] == 0
    assert not_applicable(tmp_path) == {"the model was trained on every gene that has a vector; no gene was left out"}


def test_other_priors_than_those_of_training_are_refused(
    project: Callable[..., Path], score: Callable[..., Any], tiny_prior: Callable[..., Path]
) -> None:
    project()
    for words, prior, path in (
        ("'text' is missing; the model reads it.", "txt", tiny_prior(GENES)),
        ("gene prior 'txt' does not exist; did you mean 'text'?", "txt", tiny_prior(GENES)),
        ("'text' has vectors of 3 values, the model read 8.", "text", tiny_prior(GENES, width=3, name="narrow")),
        ("'text' lacks 46 of the model's genes, such as 'G0000'.", "text", tiny_prior(GENES[-3:], name="few")),
        ("in 'text' is not the one that the model was trained with.", "text", tiny_prior(GENES, seed=9, name="other")),
    ):
        status, said = score(prior, path.name)
        assert status == 1
        assert words in said, said
    status, said = score("", "text.parquet")
    assert status == 2
    assert "is not NAME=PATH" in said


def test_a_prior_that_tells_of_expression_predicts_unseen_genes(
    run: Callable[..., Any], tiny_counts: Callable[..., Path], score: Callable[..., Any], tmp_path: Path
) -> None:
    """Vectors that hold each gene's profile over cell types beat the same vectors on the wrong genes, and the mean."""
    counts = tiny_counts(n_cells=600)
    file = anndata.read_h5ad(counts)
    x = np.log1p(file.X.toarray() / file.obs["library_size"].to_numpy()[:, None] * 1e4)
    train = (file.obs["split"] == "train").to_numpy()
    profile = np.stack(
        [x[train & (file.obs["label"] == kind).to_numpy()].mean(0) for kind in ("alpha", "beta", "delta")]
    )
    profile = ((profile - x[train].mean(0)) / x[train].std(0)).T
    values = {}
    for name, vectors in (("true", profile), ("wrong", np.roll(profile, 7, axis=0))):
        write_embedding(tmp_path / "text.parquet", "gene_id", GENES, vectors, {})
        reduced = tmp_path / "left_out" / "text.parquet"
        run("leave_genes_out.py", gene_prior=tmp_path / "text.parquet", counts=counts, share=0.2, output=reduced)
        settings = SMALL | {"mode": "direct", "gene_priors": ["text"], "max_epochs": 40, "gene_residual": None}
        run("train_model.py", counts=counts, gene_prior=f"text={reduced}", settings=json.dumps(settings), seed=1,
            model=tmp_path / "left_out" / "model.pt", history=tmp_path / "left_out" / "h.parquet")  # fmt: skip
        assert score()[0] == 0
        values[name] = pd.read_parquet(tmp_path / "s.parquet").set_index("metric")["value"]
    assert values["true"]["pearson_gene"] > values["wrong"]["pearson_gene"] + 0.15
    assert values["true"]["mse"] < min(values["true"]["mse_of_mean"], values["wrong"]["mse"])
    assert values["true"]["ridge_pearson_gene"] > values["wrong"]["ridge_pearson_gene"] + 0.15


def test_predictions_of_counts_are_differences_from_the_mean_of_each_gene(
    project: Callable[..., Path], tmp_path: Path
) -> None:
    """A model of counts also guesses the level of a new gene, to which z-scores do not refer."""
    out = project("gene_nb")
    priors = {"text": read_embedding(tmp_path / "text.parquet", "gene_id")}
    loaded = load_model(out / "model.pt")
    genes = unseen_genes(loaded.model, priors, np.array(GENES, dtype=object))
    predicted = predict_left_out(loaded, tmp_path / "tiny.h5ad", priors, genes, CPU).predicted
    assert predicted is not None
    assert predicted.std(0).min() > 0
    assert predicted.mean(0) == pytest.approx(np.zeros(len(genes)), abs=1e-5)

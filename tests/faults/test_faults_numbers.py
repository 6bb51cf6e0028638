"""NaN and Inf: in training, where step, cells and the best model so far are told and kept; and in every input."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from small_files import GENES, N_CELLS, annotated, counts, prepared_with_prior, settings, vectors
from trial_worker import worker

from sclamp.config.registry import MODES

pytestmark = pytest.mark.xdist_group("trial worker")
KIND = "not a number"
GRADIENT = [name for name, mode in MODES.items() if mode.gradient and not mode.after]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return prepared_with_prior(tmp_path_factory.mktemp("numbers"))


def _settings(mode: str) -> dict:
    own = {"mode": mode, "batch_size": 16, "max_epochs": 6}
    if MODES[mode].without_prior == "beta_vae" or MODES[mode].own_prior:
        own |= {"gene_priors": ["p"]}
    return own


@pytest.mark.parametrize("mode", GRADIENT)
def test_training_stops_with_step_cells_and_the_best_model(trials, tmp_path, files, mode):
    """A NaN reaches the loss after some steps, by every mode's own way to compute it."""
    if trials.number(0, 1) == 0 and mode not in {"scvi", "direct", "ppca"}:
        pytest.skip("tried with --all-trials")
    own = _settings(mode)
    arguments = ["--counts", files / "genes.h5ad", "--model", tmp_path / "model.pt"]
    arguments += ["--history", tmp_path / "history.parquet", "--settings", json.dumps(own)]
    if "gene_priors" in own:
        arguments += ["--gene-prior", f"p={files / 'matched.parquet'}"]
    outcome = worker().call("damaged_readers:poisoned_training", 3, "train_model.py", *map(str, arguments), seconds=120)
    told = ["loss: not finite in epoch 3, step ", "for the cells cell_", "best_before_failure.pt", "learning_rate"]
    missing = [words for words in told if words not in outcome.said]
    if outcome.death or outcome.status != 1 or missing or (tmp_path / "model.pt").exists():
        trials.lost(KIND, f"{mode}: NaN in a batch", outcome.death or f"{missing}: {outcome.said[-500:]}")
        return
    trials.survived(KIND, f"{mode}: NaN in a batch")
    kept = tmp_path / "best_before_failure.pt"
    apply = [
        "--task",
        "validate",
        "--model",
        kept,
        "--counts",
        files / "genes.h5ad",
        "--output",
        tmp_path / "v.parquet",
    ]
    outcome = worker().script("apply_model.py", *apply, seconds=120)
    if outcome.status == 0 and not outcome.death:
        trials.survived(KIND, f"{mode}: best_before_failure.pt is used")
    else:
        trials.lost(KIND, f"{mode}: best_before_failure.pt is used", outcome.said[-500:])


@pytest.mark.parametrize("mode", ["scvi", "beta_vae"])
def test_learning_rates_that_explode(trials, tmp_path, files, mode):
    for rate in (1e4, 1e20)[: trials.number(1, 2)]:
        own = {"mode": mode, "learning_rate": rate, "max_epochs": 3, "batch_size": 16}
        outputs = ["--model", tmp_path / "model.pt", "--history", tmp_path / "history.parquet"]
        given = ["--counts", files / "genes.h5ad", *outputs, "--settings", json.dumps(own)]
        outcome = worker().script("train_model.py", *given, seconds=120)
        said = outcome.status == 0 or ("loss:" in outcome.said and "lower learning_rate" in outcome.said)
        if outcome.death or not said:
            trials.lost(KIND, f"{mode}, learning rate {rate:g}", outcome.death or outcome.said[-500:])
        else:
            trials.survived(KIND, f"{mode}, learning rate {rate:g}: status {outcome.status}")
        (tmp_path / "model.pt").unlink(missing_ok=True)


def spoilt_counts():
    """What may stand in a matrix of counts: what the message must say."""
    yield from ((math.nan, "NaN or infinite"), (math.inf, "NaN or infinite"), (-1, "negative"))
    yield from ((0.5, "fractional"), (2.0**25, "above 16777216"), (-math.inf, "NaN or infinite"))


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_counts(trials, tmp_path, form):
    for value, word in spoilt_counts():
        matrix = counts()
        matrix[41, 7] = value
        path = tmp_path / "user.h5ad"
        annotated(form(matrix)).write_h5ad(path)
        given = ["--settings", settings(path), "--output", tmp_path / "cells.h5ad"]
        outcome = worker().script("prepare_cells.py", *given)
        words = ["user.h5ad", word, "cell number 42, gene number 8"]
        _told(trials, f"{form.__name__}, count {value}", outcome, words)


def test_columns(trials, tmp_path):
    path = tmp_path / "user.h5ad"
    age = np.linspace(20, 60, N_CELLS)
    nan, inf = age.copy(), age.copy()
    nan[5], inf[6] = math.nan, math.inf
    holes = pd.Categorical([None if n == 3 else f"d{n % 2}" for n in range(N_CELLS)])
    nothing = pd.Categorical([None] * N_CELLS, categories=["a"])
    cases = {
        "NaN in a covariate": (
            {"age": nan},
            {"covariates": {"continuous": ["age"]}},
            "'age' has 1 missing or infinite",
        ),
        "Inf in a covariate": (
            {"age": inf},
            {"covariates": {"continuous": ["age"]}},
            "'age' has 1 missing or infinite",
        ),
        "NaN in the batch": ({"donor": holes}, {}, "'donor' is missing (NaN) for 1 of"),
        "no label at all": ({"kind": nothing}, {}, "'kind' tells no two labels apart"),
    }
    for name, (columns, more, words) in cases.items():
        annotated(sparse.csr_matrix(counts()), **columns).write_h5ad(path)
        given = ["--settings", settings(path, **more), "--output", tmp_path / "cells.h5ad"]
        _told(trials, name, worker().script("prepare_cells.py", *given), ["user.h5ad", words])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_priors(trials, tmp_path, value):
    matrix = vectors()
    matrix[9, 3] = value
    frame = pd.DataFrame(matrix, columns=[f"v{n}" for n in range(matrix.shape[1])])
    frame.insert(0, "gene_id", GENES)
    frame.to_csv(tmp_path / "prior.csv", index=False)
    np.savez(tmp_path / "prior.npz", gene_id=np.array(GENES), embedding=matrix)
    pd.DataFrame({"gene_id": GENES, "embedding": list(matrix)}).to_parquet(tmp_path / "prior.parquet")
    for name in ("prior.csv", "prior.npz", "prior.parquet"):
        path = tmp_path / name
        given = ["--settings", json.dumps({"source": "file", "path": str(path)}), "--cache", tmp_path / "cache"]
        outputs = ["--output", tmp_path / "o.parquet", "--sidecar", tmp_path / "o.json"]
        _told(trials, f"{name}: {value}", worker().script("build_gene_prior.py", *given, *outputs), [name, "'GENE9'"])


def _told(trials, what, outcome, words):
    missing = [word for word in words if word not in outcome.said]
    if outcome.death or outcome.status != 1 or missing:
        trials.lost(KIND, what, outcome.death or f"{missing} in: {outcome.said[-500:]}")
    else:
        trials.survived(KIND, what)

"""Scores of reconstruction, imputation and corrected expression, from tables; HVG overlap against scib."""

from __future__ import annotations

import math
import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sclamp.evaluate.measure import NotApplicable
from sclamp.evaluate.reconstruction import SCORES
from sclamp.evaluate.variability import hvg_overlap

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "score_reconstruction.py"
NAN = math.nan


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the script on tables given by option; returns the scores, or what it said when it fails."""

    def call(fails: bool = False, **tables: dict[str, Any]) -> Any:
        arguments = []
        for name, columns in tables.items():
            pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
            arguments += [f"--{name}", tmp_path / f"{name}.parquet"]
        out = tmp_path / "s.parquet"
        arguments += ["--dataset", "d", "--model", "m", "--seed", 3, "--output", out]
        monkeypatch.setattr(sys, "argv", ["score_reconstruction.py", *map(str, arguments)])
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as end:
            assert fails and end.code == 1
            return capfd.readouterr().err
        assert not fails
        return pd.read_parquet(out)

    return call


def agreement(**columns: list[float]) -> dict[str, Any]:
    scope = ["all", "gene", "gene", "gene", "cell", "cell"]
    plain = {name: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] for name in SCORES}
    return {"scope": scope, "id": list("abcdef"), "n": [9] * 6, **plain, **columns}


def test_scores_are_the_whole_and_the_means_of_genes_and_of_cells(score: Callable[..., Any]) -> None:
    table = score(
        reconstruction=agreement(
            pearson=[0.5, 0.1, 0.3, NAN, 0.6, 0.8], spearman=[0.4] + [NAN] * 5, mse=[1.0, 2.0, 3.0, 4.0, 5.0, math.inf]
        ),
        imputation=agreement(pearson=[0.3, 0.1, 0.2, 0.3, 0.5, 0.7]),
    )
    assert set(table["cells"]) == {"held_out"} and set(table["seed"]) == {3}
    parts = {task: part.set_index("metric") for task, part in table.groupby("task", sort=False)}
    assert list(parts) == ["reconstruction", "imputation"]
    assert len(parts["reconstruction"]) == len(parts["imputation"]) == 18
    values = parts["reconstruction"]["value"].dropna().round(6).to_dict()
    assert values == {
        "pearson": 0.5, "pearson_gene": 0.2, "pearson_cell": 0.7, "spearman": 0.4, "mse": 1.0, "mse_gene": 3.0,
        **{f"{name}{part}": value for name in ("rmse", "mae", "cosine")
           for part, value in (("", 1.0), ("_gene", 3.0), ("_cell", 5.5))},
    }  # fmt: skip
    assert parts["imputation"]["value"]["pearson_cell"] == pytest.approx(0.6)
    assert "hidden from the model" in parts["imputation"]["implementation"]["pearson_cell"]
    reasons = parts["reconstruction"]["reason"]
    assert "no gene or cell has a defined value" in reasons["spearman_gene"]
    assert (parts["reconstruction"]["status"]["mse_cell"], reasons["mse_cell"]) == ("failed", "the value is inf")


def test_a_model_without_reconstruction(score: Callable[..., Any]) -> None:
    empty = {"scope": pa.array([], pa.string()), **{c: pa.array([], pa.float64()) for c in SCORES}}
    none = variability([]).iloc[:0]
    table = score(reconstruction=empty, imputation=empty, variability=dict(none))
    assert len(table) == 37
    assert set(table["status"]) == {"not_applicable"}
    assert all("does not reconstruct" in reason for reason in table["reason"])


def test_missing_columns_are_named(score: Callable[..., Any]) -> None:
    wrong = agreement()
    wrong["pearsn"] = wrong.pop("pearson")
    said = score(fails=True, reconstruction=wrong)
    assert "reconstruction.parquet: column 'pearson' does not exist; did you mean 'pearsn'?" in said
    said = score(fails=True, reconstruction=agreement(), variability={"batch": ["a"], "gene_id": ["g"], "mean": [1.0]})
    assert "column 'variance' does not exist" in said and "column 'n' does not exist" in said


# --- highly variable genes --------------------------------------------------------------------------------------------


def variability(batches: list[tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """The table of corrected.variability_table, computed here from (before, after) matrices of each batch."""
    columns = ["batch", "gene_id", "n", "mean", "variance", "mean_before", "variance_before"]
    frames = [
        pd.DataFrame(
            {
                "batch": f"b{number}", "gene_id": [f"g{i}" for i in range(before.shape[1])], "n": len(before),
                "mean": after.mean(0), "variance": after.var(0, ddof=1),
                "mean_before": before.mean(0), "variance_before": before.var(0, ddof=1),
            }
        )
        for number, (before, after) in enumerate(batches)
    ]  # fmt: skip
    return pd.concat(frames) if frames else pd.DataFrame({name: pd.Series(dtype=float) for name in columns})


def simulated(n_cells: int, n_genes: int, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rates = rng.gamma(0.4, 2.0, n_genes) * rng.lognormal(0, rng.uniform(0.05, 1.2, n_genes), (n_cells, n_genes))
    before = np.log1p(rng.poisson(rates) * rng.lognormal(0, 0.3, (n_cells, 1)))  # as normalised: no genes are equal
    after = np.maximum(before + noise * rng.normal(size=before.shape), 0)
    after[:, before.sum(0) == 0] = 0
    return before, after


@pytest.mark.parametrize(("n_genes", "noise"), [(300, 0.3), (300, 1.0), (1300, 0.5)])
def test_hvg_overlap_equals_scib(n_genes: int, noise: float) -> None:
    """Batches of other sizes, genes that a batch lacks; the top is 500, or half of fewer than 1,000 genes."""
    metrics = pytest.importorskip("scib.metrics")
    anndata = pytest.importorskip("anndata")
    batches = [simulated(n, n_genes, seed, noise) for seed, n in enumerate((80, 50, 120))]
    for x in batches[1]:
        x[:, ::7] = 0
    batches[2][1][:, 5:25] = 0  # seen before, not after
    names = np.concatenate([[f"b{i}"] * len(before) for i, (before, _) in enumerate(batches)])
    obs = pd.DataFrame({"batch": pd.Categorical(names)}, index=[f"c{i}" for i in range(len(names))])
    var = pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])
    pre, post = (anndata.AnnData(np.concatenate([pair[i] for pair in batches]), obs, var) for i in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the reference, on newer pandas
        expected = metrics.hvg_overlap(pre, post, "batch")
    found = hvg_overlap(variability(batches))
    assert 0.1 < expected < 1
    assert found == pytest.approx(float(expected), abs=1e-9)


def test_hvg_overlap_of_the_same_expression_is_one_and_ignores_the_order_of_genes() -> None:
    pair = simulated(60, 200, 0, 0.6)
    assert hvg_overlap(variability([(pair[0], pair[0])])) == 1.0
    frame = variability([pair])
    assert hvg_overlap(frame.sample(frac=1, random_state=1)) == hvg_overlap(frame) < 1


def test_small_batches_do_not_count_and_expression_that_vanished_scores_zero() -> None:
    pair, gone = simulated(60, 200, 0, 0.6), simulated(60, 200, 1, 0.6)
    alone = (pair[0][:1], pair[1][:1])
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the variance of one cell, made here
        frame = variability([pair, alone])
    assert hvg_overlap(frame) == hvg_overlap(variability([pair]))
    half = hvg_overlap(variability([pair, (gone[0], np.zeros_like(gone[1]))]))
    assert half == pytest.approx(hvg_overlap(variability([pair])) / 2)
    few = variability([(pair[0][:, :40], pair[1][:, :40])])
    with pytest.raises(NotApplicable, match="no batch has 2 cells and 50 genes with a count"):
        hvg_overlap(few)

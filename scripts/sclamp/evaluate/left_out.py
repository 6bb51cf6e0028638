"""Scores of genes that a model never saw and predicted from their gene prior alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sclamp.evaluate import ridge as baselines
from sclamp.evaluate.measure import NotApplicable, measure
from sclamp.evaluate.ridge import correlations, mean_defined
from sclamp.evaluate.rows import Row

EXPRESSED = 0.2
"""A gene with a count in more than this share of the test cells counts as expressed."""

METRICS = {
    "pearson_gene": "correlation over test cells, mean over the left-out genes that have one",
    "pearson_gene_expressed": f"pearson_gene of the genes with a count in more than {EXPRESSED:.0%} of the test cells",
    "pearson_cell": "correlation over the left-out genes, mean over the test cells that have one",
    "mse": "mean squared error over all entries, in the model's input space",
    "mse_of_mean": "mse of each gene's mean in the training cells; nothing was learned unless mse is lower",
    "ridge_pearson_gene": "pearson_gene of a ridge regression of each test cell's known genes on their gene prior",
}
"""Metric -> how it is computed."""


@dataclass(frozen=True)
class Prediction:
    """Left-out genes on test cells. truth, predicted, ridge: (cells, genes). mean, expressed: (genes,).

    truth: NaN where a cell was not measured for a gene; such entries are not judged.
    mean: of the training cells. expressed: share of the cells with a count. ridge: the baseline's prediction, or the
    reason why there is none.
    """

    gene_ids: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    mean: np.ndarray
    expressed: np.ndarray
    ridge: np.ndarray | str


def baseline(known: np.ndarray, tuning: np.ndarray, vectors: np.ndarray, new_vectors: np.ndarray) -> np.ndarray | str:
    """Ridge prediction of new genes, or why there is none; the penalty is chosen on the cells `tuning`."""
    try:
        return baselines.ridge(known, vectors, new_vectors, baselines.chosen_penalty(tuning, vectors))
    except NotApplicable as finding:
        return str(finding)


def gene_columns(found: Prediction | None) -> dict[str, np.ndarray]:
    """One row per left-out gene: gene_id, n (test cells), share_expressed, pearson, mse, mse_mean, ridge_pearson."""
    if found is None:
        names = ("share_expressed", "pearson", "mse", "mse_mean", "ridge_pearson")
        return {"gene_id": np.array([], str), "n": np.array([], np.int64), **{name: np.array([]) for name in names}}
    ridge = np.full(found.truth.shape, np.nan) if isinstance(found.ridge, str) else found.ridge
    return {
        "gene_id": found.gene_ids.astype(str),
        "n": (~np.isnan(found.truth)).sum(0),
        "share_expressed": found.expressed.astype(np.float64),
        "pearson": correlations(found.truth, found.predicted),
        "mse": _squares(found.truth, found.predicted),
        "mse_mean": _squares(found.truth, found.mean),
        "ridge_pearson": correlations(found.truth, ridge),
    }


def score_left_out(found: Prediction | None, why_not: str = "") -> list[Row]:
    """Scores of one run (see `METRICS`). found: None where there is nothing to score, for the reason `why_not`."""

    def of(metric: str) -> Callable[[], float]:
        return lambda: _value(metric, found, why_not)

    return [Row("held_out", "left_out_genes", measure(name, how, of(name))) for name, how in METRICS.items()]


def _value(metric: str, found: Prediction | None, why_not: str) -> float:
    if found is None:
        raise NotApplicable(why_not)
    if metric == "ridge_pearson_gene" and isinstance(found.ridge, str):
        raise NotApplicable(found.ridge)
    if metric == "pearson_cell":
        return _mean(correlations(found.truth.T, found.predicted.T))
    columns = gene_columns(found)
    if metric == "pearson_gene_expressed":
        return _mean(columns["pearson"][columns["share_expressed"] > EXPRESSED])
    column = {"pearson_gene": "pearson", "ridge_pearson_gene": "ridge_pearson", "mse_of_mean": "mse_mean"}
    return _mean(columns[column.get(metric, metric)])


def _mean(values: np.ndarray) -> float:
    value = mean_defined(values)
    if np.isnan(value):
        raise NotApplicable("no left-out gene or test cell has a defined value: too few, or constant")
    return value


def _squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean squared difference of each column, over what is not NaN in x."""
    squares, known = np.square(x.astype(np.float64) - y), ~np.isnan(x)
    if known.all():
        return squares.mean(0)
    n = known.sum(0)
    return np.where(n > 0, np.where(known, squares, 0.0).sum(0) / np.maximum(n, 1), np.nan)

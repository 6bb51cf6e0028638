"""Scores of a reconstruction: how well test cells' expression is given back."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from sclamp.evaluate.measure import NotApplicable, measure
from sclamp.evaluate.rows import Row

SCORES = ("pearson", "spearman", "mse")
SCOPES = {
    "all": "over all entries of the test cells",
    "gene": "mean over the genes that have a value, each over test cells",
    "cell": "mean over the test cells that have a value, each over genes",
}


def score_reconstruction(table: Any) -> list[Row]:
    """Scores pearson, spearman, mse over all entries, and their means per gene and per cell (pearson_gene, ...).

    table: the columns scope ("all" | "gene" | "cell"), pearson, spearman, mse of reconstruction.parquet, as arrays.
    A gene or cell without a value (constant in the data or in the reconstruction) is left out of the mean.
    """
    scope = np.asarray(table["scope"])
    rows = []
    for name in SCORES:
        values = np.asarray(table[name], dtype=np.float64)
        for part, how in SCOPES.items():
            metric = name if part == "all" else f"{name}_{part}"
            rows.append(Row("held_out", "reconstruction", measure(metric, how, partial(_mean, values[scope == part]))))
    return rows


def _mean(values: np.ndarray) -> float:
    if not len(values):
        raise NotApplicable("the model does not reconstruct expression, or there are no test cells")
    defined = values[~np.isnan(values)]  # infinite values stay: they make the score fail
    if not len(defined):
        raise NotApplicable("no gene or cell has a defined value: the reconstruction or the data are constant")
    return float(defined.mean())

"""Scores of a reconstruction and of imputed entries: how well test cells' expression is given back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from sclamp.core.errors import UserError, unknown
from sclamp.core.files import read_table
from sclamp.evaluate.measure import NotApplicable, measure
from sclamp.evaluate.rows import Row

SCORES = ("pearson", "spearman", "mse", "rmse", "mae", "cosine")
SCOPES = {
    "all": "over all {entries} of the test cells",
    "gene": "mean over the genes that have a value, each over {entries} of the test cells",
    "cell": "mean over the test cells that have a value, each over its {entries}",
}
ENTRIES = {"reconstruction": "entries", "imputation": "entries that were hidden from the model"}
"""Task -> what is compared."""


def read_agreement(path: str | Path) -> dict[str, np.ndarray]:
    """The columns scope and `SCORES` of a reconstruction.parquet or imputation.parquet."""
    table = read_table(path)
    needed = ("scope", *SCORES)
    if missing := [name for name in needed if name not in table.column_names]:
        raise UserError(*(f"{path}: " + unknown("column", name, table.column_names) for name in missing))
    return {name: table[name].to_numpy(zero_copy_only=False) for name in needed}


def score_agreement(table: Mapping[str, np.ndarray], task: str) -> list[Row]:
    """Each of `SCORES` over all entries, and its mean over genes and over cells (pearson_gene, pearson_cell, ...).

    table: see `read_agreement`. task: one of `ENTRIES`. A gene or cell without a value (constant in the data or in the
    reconstruction) is left out of the mean.
    """
    scope = np.asarray(table["scope"])
    rows = []
    for name in SCORES:
        values = np.asarray(table[name], dtype=np.float64)
        for part, how in SCOPES.items():
            metric = name if part == "all" else f"{name}_{part}"
            compute = partial(_mean, values[scope == part])
            rows.append(Row("held_out", task, measure(metric, how.format(entries=ENTRIES[task]), compute)))
    return rows


def _mean(values: np.ndarray) -> float:
    if not len(values):
        raise NotApplicable("the model does not reconstruct expression, or there are no test cells")
    defined = values[~np.isnan(values)]  # infinite values stay: they make the score fail
    if not len(defined):
        raise NotApplicable("no gene or cell has a defined value: the reconstruction or the data are constant")
    return float(defined.mean())

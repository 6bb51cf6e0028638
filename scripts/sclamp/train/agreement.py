"""How well a reconstruction agrees with what was measured: correlations, squared error; per gene, per cell, in all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

SCHEMA = pa.schema(
    [("scope", pa.string()), ("id", pa.string()), ("n", pa.int64())]
    + [(name, pa.float64()) for name in ("pearson", "spearman", "mse")]
)

MAX_ENTRIES = 20_000_000
"""Cells x genes that are held and ranked at once; of more cells an evenly spaced sample is taken."""


def spaced(rows: np.ndarray, n_genes: int, max_entries: int = MAX_ENTRIES) -> np.ndarray:
    """All rows, or as many as fit, evenly spaced."""
    most = max(2, max_entries // max(n_genes, 1))
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def agreement_table(
    measured: np.ndarray, reconstructed: np.ndarray, cell_ids: np.ndarray, gene_ids: tuple[str, ...]
) -> pa.Table:
    """Columns scope ("all", "gene", "cell"), id, n, pearson, spearman, mse of two (cells, genes) arrays.

    Correlations are NaN where one side is constant. Spearman: ranks with ties averaged.
    """
    scopes = {
        "all": (measured.reshape(1, -1), reconstructed.reshape(1, -1), [""]),
        "gene": (measured.T, reconstructed.T, list(gene_ids)),
        "cell": (measured, reconstructed, [str(cell) for cell in cell_ids]),
    }
    columns: dict[str, list[Any]] = {name: [] for name in ("scope", "id", "n", "pearson", "spearman", "mse")}
    for scope, (x, y, ids) in scopes.items():
        columns["scope"] += [scope] * len(ids)
        columns["id"] += ids
        columns["n"] += [x.shape[1]] * len(ids)
        columns["pearson"] += pearson(x, y).tolist()
        columns["spearman"] += pearson(_ranks(x), _ranks(y)).tolist()
        columns["mse"] += [float(np.square(a.astype(np.float64) - b).mean()) for a, b in zip(x, y, strict=True)]
    return pa.table(columns, SCHEMA)


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlation of each row of x with the same row of y, (rows,) float64; NaN for constant rows."""
    result = np.full(len(x), np.nan)
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        a, b = a.astype(np.float64), b.astype(np.float64)
        a, b = a - a.mean(), b - b.mean()
        scale = np.sqrt((a @ a) * (b @ b))
        if scale > 1e-12 * len(a):
            result[i] = (a @ b) / scale
    return result


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks within each row, ties averaged; scipy.stats has this too, for half a second of imports."""
    ranks = np.empty(x.shape)
    for row, values in zip(ranks, x, strict=True):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        row[:] = (counts.cumsum() - (counts - 1) / 2)[inverse]
    return ranks
